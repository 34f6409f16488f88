// No sticky sessions: any request of a session may come to any gateway, and the stock client notices nothing.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NodeXHR } from 'engine.io-client';
import { Ears, acked, cluster, connect, groupChat, inTime, join, once, people, say } from './parley.mjs';

/** The stock client's polling, but for where each request goes: to one gateway after the other, by address. */
class Alternating extends NodeXHR {
  static turn = 0;

  uri() {
    const { hostname, port } = new URL(cluster.gateway[Alternating.turn % cluster.gateway.length].url);
    Alternating.turn += 1;
    Object.assign(this.opts, { hostname, port });
    return super.uri();
  }
}

/** An end that the client sees is a session lost. */
function uninterrupted(socket) {
  const ends = [];
  socket.on('disconnect', (reason) => ends.push(reason));
  return () => assert.deepEqual(ends, []);
}

const numbers = (count) => [...Array(count).keys()].map(String);

/** A chat of a listener and of so many others that none of them says more than a user may. */
async function crowd(listener, count) {
  const authors = await people(...Array(Math.ceil(count / 15)).fill('author'));
  return { authors, chat: await groupChat(authors[0], [...authors.slice(1), listener]) };
}

/** Says numbers through all api pods, one after the other. */
async function stream({ authors, chat }, count) {
  for (const content of numbers(count)) {
    await say(authors[content % authors.length], chat, content, cluster.api[content % cluster.api.length].url);
  }
}

for (const [name, url, transports] of [
  ['through the balancer', cluster.url, ['polling']],
  ['at alternating gateways', cluster.gateway[0].url, [Alternating]],
]) {
  test(`polling only, ${name}: everything arrives, once, on one session`, async (t) => {
    const [bob] = await people('bob');
    const { authors, chat } = await crowd(bob, 60);
    const socket = await connect(t, url, bob, { transports, upgrade: false });
    const whole = uninterrupted(socket);
    const ears = new Ears(socket);
    await join(socket, chat._id);
    await stream({ authors, chat }, 60);
    await ears.until('59');
    assert.deepEqual(ears.contents, numbers(60));
    assert.equal(socket.io.engine.transport.name, 'polling');
    whole();
  });
}

test('default transports, through the balancer: all end on a WebSocket, in the middle of a stream', async (t) => {
  const [bob] = await people('bob');
  const { authors, chat } = await crowd(bob, 150);
  const streaming = stream({ authors, chat }, 150);
  const clients = await Promise.all(numbers(20).map(async () => {
    const socket = await connect(t, cluster.url, bob);
    const whole = uninterrupted(socket);
    const ears = new Ears(socket);
    await join(socket, { chatId: chat._id, since: chat.version });
    return { socket, whole, ears };
  }));
  await streaming;
  for (const { socket, whole, ears } of clients) {
    await ears.until('149');
    assert.deepEqual(ears.contents, numbers(150), 'nothing lost, nothing doubled');
    if (socket.io.engine.transport.name !== 'websocket') await once(socket.io.engine, 'upgrade');
    whole();
  }
  // What it asks for after the move is answered where it is now.
  const { socket } = clients[0];
  assert.equal((await acked(socket, 'leave-chat-room', chat._id)).success, true);
  await join(socket, chat._id);
});

test('a session that nobody knows any more is opened anew by the stock client', async (t) => {
  const [bob] = await people('bob');
  const socket = await connect(t, cluster.url, bob, { transports: ['polling'], upgrade: false });
  const again = once(socket, 'connect', 'the client comes back');
  // As if its gateway had died: no gateway has this name.
  socket.io.engine.transport.query.sid = `gone.${socket.io.engine.id}`;
  socket.emit('leave-chat-room', 'x');
  await inTime(again, 'a new session');
  assert.ok(!socket.io.engine.id.startsWith('gone.'));
});
