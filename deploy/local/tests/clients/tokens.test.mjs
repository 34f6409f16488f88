// A connection lives as long as its token; an unmodified client comes back with a newer one, or says it before.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ears, TIME, acked, cluster, connect, connectError, directChat, join, once, people, say, sign, socketTo, transports } from './parley.mjs';

const gateway = cluster.gateway[0].url;
/** By so many seconds clocks may differ: `PARLEY_JWT_LEEWAY_SECONDS`. */
const LEEWAY_SECONDS = 5;
const now = () => Math.floor(Date.now() / 1000);

/** A token that counts for four seconds more. */
const ending = ({ id }) => sign({ sub: id, exp: now() + 4 - LEEWAY_SECONDS });

for (const [name, list] of Object.entries(transports)) {
  test(`a client whose token ends comes back by itself and misses nothing, ${name}`, async (t) => {
    const [alice, bob] = await people('alice', 'bob');
    const chat = await directChat(alice, bob);
    const tokens = [ending(bob), bob.token];
    const socket = socketTo(t, gateway, { auth: (give) => give({ token: tokens.shift() }), transports: list });
    const ears = new Ears(socket);
    const closed = once(socket, 'disconnect', 'the end of the token');
    const back = closed.then(() => once(socket, 'connect', 'it comes back'));
    socket.connect();
    await once(socket, 'connect');
    await join(socket, chat._id);
    await say(alice, chat, 'before');
    const { version } = await ears.until('before');
    const reason = await closed;
    assert.ok(['transport close', 'transport error'].includes(reason), `${reason}: a client stays away after that`);
    await say(alice, chat, 'meanwhile');
    await back;
    assert.deepEqual(tokens, [], 'with the newer token');
    await join(socket, { chatId: chat._id, since: version });
    await say(alice, chat, 'after');
    await ears.until('after');
    assert.deepEqual(ears.contents, ['before', 'meanwhile', 'after']);
  });

  test(`a client that says its newer token stays, ${name}`, async (t) => {
    const [alice, bob] = await people('alice', 'bob');
    const chat = await directChat(alice, bob);
    const socket = await connect(t, gateway, { ...bob, token: ending(bob) }, { transports: list });
    const witness = await connect(t, gateway, { ...alice, token: ending(alice) }, { transports: list, reconnection: false });
    const ears = new Ears(socket);
    let closed = null;
    socket.once('disconnect', (reason) => { closed = reason; });
    await join(socket, chat._id);
    const ack = await acked(socket, 'refresh-token', { token: bob.token });
    assert.equal(ack.success, true, JSON.stringify(ack));
    assert.match(ack.expiresAt, TIME);
    await once(witness, 'disconnect', 'the end of a token that was as old');
    await say(alice, chat, 'still there');
    await ears.until('still there');
    assert.equal(closed, null);
  });
}

test('a newer token of somebody else is refused, and nothing changes', async (t) => {
  const [alice, bob] = await people('alice', 'bob');
  const chat = await directChat(alice, bob);
  const socket = await connect(t, gateway, bob);
  const ack = await acked(socket, 'refresh-token', alice.token);
  assert.equal(ack.success, false);
  assert.equal(ack.error.code, 'other_user');
  const ears = new Ears(socket);
  await join(socket, chat._id);
  await say(alice, chat, 'to bob');
  await ears.until('to bob');
});

test('without a newer token it is refused where it comes back', async (t) => {
  const [bob] = await people('bob');
  const error = await connectError(t, gateway, { auth: { token: sign({ sub: bob.id, exp: now() - LEEWAY_SECONDS - 1 }) } });
  assert.equal(error.message, 'unauthorized');
  assert.equal(error.data.code, 'token_expired');
});
