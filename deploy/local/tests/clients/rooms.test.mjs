// Connecting, joining, leaving, and coming back.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ears, UNKNOWN_ID, acked, badTokens, cluster, connect, connectError, data, directChat, get, inTime, join, once, people, say, socketTo } from './parley.mjs';

const gateway = cluster.gateway[0].url;

async function aliceAndBob() {
  const [alice, bob] = await people('alice', 'bob');
  return { alice, bob, chat: await directChat(alice, bob) };
}

const forms = {
  'the id': (id) => id,
  'the room’s name': (id) => `chat-${id}`,
  'an object': (id) => ({ chatId: id }),
};

for (const [name, form] of Object.entries(forms)) {
  test(`join and leave by ${name}`, async (t) => {
    const { alice, bob, chat } = await aliceAndBob();
    const socket = await connect(t, gateway, bob);
    const ears = new Ears(socket);
    const ack = await join(socket, form(chat._id));
    const missing = ['success', 'chatId', 'version', 'epoch', 'resync', 'readPointers', 'typing', 'pod'].filter((field) => ack[field] === undefined || ack[field] === null);
    assert.deepEqual(missing, [], JSON.stringify(ack));
    assert.equal(ack.chatId, chat._id);
    assert.equal(ack.version, chat.version);
    assert.equal(typeof ack.resync, 'boolean');
    assert.equal(ack.pod, cluster.gateway[0].name);
    await say(alice, chat, 'inside');
    await ears.until('inside');

    socket.emit('leave-chat-room', form(chat._id));
    // A connection's events are handled in order: the next answer comes after the leaving.
    const other = await directChat(bob, (await people('carol'))[0]);
    await join(socket, other._id);
    await say(alice, chat, 'outside');
    await join(socket, chat._id);
    await say(alice, chat, 'inside again');
    await ears.until('inside again');
    assert.deepEqual(ears.contents, ['inside', 'inside again']);
  });
}

test('a join is answered with the version of its moment', async (t) => {
  const { alice, bob, chat } = await aliceAndBob();
  const message = await say(alice, chat, 'before');
  const socket = await connect(t, gateway, bob);
  assert.equal((await join(socket, chat._id)).version, message.version);
  assert.equal(data(await get(bob, `/api/chat/${chat._id}/messages`)).version, message.version);
});

test('refused joins say why, and leave the connection as it was', async (t) => {
  const { alice, bob, chat } = await aliceAndBob();
  const [carol] = await people('carol');
  const hers = await directChat(alice, carol);
  const socket = await connect(t, gateway, bob);
  const ears = new Ears(socket);
  const cases = [
    [hers._id, 'not_participant'],
    [{ chatId: hers._id, since: hers.version }, 'not_participant'],
    [UNKNOWN_ID, 'chat_not_found'],
    [`chat-${UNKNOWN_ID}`, 'chat_not_found'],
    ['not-an-id', 'invalid_chat_id'],
    ['', 'invalid_chat_id'],
    [{ chatId: 42 }, 'invalid_chat_id'],
    [{}, 'invalid_chat_id'],
    [null, 'invalid_chat_id'],
  ];
  for (const [argument, code] of cases) {
    const ack = await acked(socket, 'join-chat-room', argument);
    assert.equal(ack.success, false, `${JSON.stringify(argument)}: ${JSON.stringify(ack)}`);
    assert.equal(ack.error.code, code, JSON.stringify(argument));
    assert.ok(ack.error.message, JSON.stringify(ack));
  }
  await join(socket, chat._id);
  await say(alice, hers, 'not for bob');
  await say(alice, chat, 'for bob');
  await ears.until('for bob');
  assert.deepEqual(ears.contents, ['for bob']);
});

test('without a callback a refusal comes as the event `error`', async (t) => {
  const { alice, bob } = await aliceAndBob();
  const hers = await directChat(alice, (await people('carol'))[0]);
  const socket = await connect(t, gateway, bob);
  for (const [argument, code] of [[hers._id, 'not_participant'], [UNKNOWN_ID, 'chat_not_found'], ['nonsense', 'invalid_chat_id']]) {
    const refusal = once(socket, 'error', `the event error for ${argument}`);
    socket.emit('join-chat-room', argument);
    const event = await refusal;
    assert.equal((event.error ?? event).code, code, JSON.stringify(event));
  }
  assert.ok(socket.connected);
});

test('joining twice brings nothing twice', async (t) => {
  const { alice, bob, chat } = await aliceAndBob();
  const socket = await connect(t, gateway, bob);
  const ears = new Ears(socket);
  await Promise.all([join(socket, chat._id), join(socket, `chat-${chat._id}`)]);
  await join(socket, { chatId: chat._id });
  await say(alice, chat, 'one');
  await say(alice, chat, 'two');
  await ears.until('two');
  assert.deepEqual(ears.contents, ['one', 'two']);
});

test('one leaves, the other one on the same gateway stays', async (t) => {
  const { alice, bob, chat } = await aliceAndBob();
  const [going, staying] = await Promise.all([connect(t, gateway, bob), connect(t, gateway, bob)]);
  const [goingEars, stayingEars] = [new Ears(going), new Ears(staying)];
  await join(going, chat._id);
  await join(staying, chat._id);
  going.emit('leave-chat-room', chat._id);
  const own = await directChat(bob, (await people('carol'))[0]);
  await join(going, own._id);
  await say(alice, chat, 'for one of them');
  await stayingEars.until('for one of them');
  await say(bob, own, 'for the other');
  await goingEars.until('for the other');
  assert.deepEqual(goingEars.contents, ['for the other']);
  assert.deepEqual(stayingEars.contents, ['for one of them']);
});

test('i4: after a lost connection, `since` brings what was missed, once and in order', async (t) => {
  const { alice, bob, chat } = await aliceAndBob();
  const socket = await connect(t, gateway, bob);
  const ears = new Ears(socket);
  const before = await join(socket, chat._id);
  assert.equal((await join(socket, { chatId: chat._id, since: before.version })).resync, false);

  const gone = once(socket, 'disconnect');
  const back = once(socket, 'connect', 'the connection coming back');
  socket.io.engine.close();
  await gone;
  const missed = await say(alice, chat, 'while away');
  await back;

  const again = await join(socket, { chatId: chat._id, since: before.version, epoch: before.epoch });
  assert.equal(again.resync, false);
  assert.equal(again.version, missed.version);
  await ears.until('while away');
  await say(alice, chat, 'live again');
  await ears.until('live again');
  assert.deepEqual(ears.contents, ['while away', 'live again']);

  // Where a position leads nowhere, nothing is told, and an app asks over REST.
  const page = data(await get(bob, `/api/chat/${chat._id}/messages`));
  assert.deepEqual(page.messages.map(({ content }) => content), ['live again', 'while away']);
  assert.equal((await join(socket, { chatId: chat._id, since: page.version })).resync, false);
  assert.equal((await join(socket, { chatId: chat._id, since: page.version + 100 })).resync, true, 'a position from the future');
  const other = { chatId: chat._id, since: page.version, epoch: '0000000000000001' };
  assert.equal((await join(socket, other)).resync, true, 'another history');
});

test('a room does not survive its connection', async (t) => {
  const { alice, bob, chat } = await aliceAndBob();
  const socket = await connect(t, gateway, bob);
  const ears = new Ears(socket);
  await join(socket, chat._id);
  const back = once(socket, 'connect', 'the connection coming back');
  socket.io.engine.close();
  await back;
  const witness = await connect(t, gateway, bob);
  const witnessEars = new Ears(witness);
  await join(witness, chat._id);
  await say(alice, chat, 'not joined');
  await witnessEars.until('not joined');
  await join(socket, chat._id);
  await say(alice, chat, 'joined');
  await ears.until('joined');
  assert.deepEqual(ears.contents, ['joined']);
});

// ---- who may connect

for (const transport of ['websocket', 'polling']) {
  test(`over ${transport}, bad tokens are refused with their code`, async (t) => {
    const { bob } = await aliceAndBob();
    const cases = { 'none at all': [undefined, 'missing_token'], ...badTokens(bob.id) };
    for (const [name, [token, code]] of Object.entries(cases)) {
      const error = await connectError(t, gateway, { transports: [transport], ...(token === undefined ? {} : { auth: { token } }) });
      assert.equal(error.message, 'unauthorized', name);
      assert.equal(error.data?.code, code, name);
    }
  });

  test(`over ${transport}, the token may come as a header or in the query`, async (t) => {
    const { alice, bob, chat } = await aliceAndBob();
    const ways = {
      header: { extraHeaders: { Authorization: `Bearer ${bob.token}` } },
      query: { query: { token: bob.token } },
    };
    for (const [name, options] of Object.entries(ways)) {
      const socket = socketTo(t, gateway, { transports: [transport], ...options });
      const outcome = new Promise((resolve, reject) => {
        socket.once('connect', resolve);
        socket.once('connect_error', (error) => reject(new Error(`${name}: ${error.message}`)));
      });
      socket.connect();
      await inTime(outcome, `connect by ${name}`);
      const ears = new Ears(socket);
      await join(socket, chat._id);
      await say(alice, chat, `by ${name}`);
      await ears.until(`by ${name}`);
    }
  });
}

test('a token in `auth` of the wrong kind is refused, not followed', async (t) => {
  const { bob } = await aliceAndBob();
  for (const token of [42, { token: bob.token }, [bob.token], '']) {
    const error = await connectError(t, gateway, { transports: ['websocket'], auth: { token } });
    assert.equal(error.message, 'unauthorized', JSON.stringify(token));
    assert.match(error.data?.code ?? '', /^(missing|invalid)_token$/u, JSON.stringify(token));
  }
});
