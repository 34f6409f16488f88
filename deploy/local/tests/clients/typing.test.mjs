// Who writes and who is there, between people on different gateways.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { acked, cluster, connect, data, DEADLINE_MS, directChat, get, join, once, people, say } from './parley.mjs';

const [first, second] = [cluster.gateway[0].url, cluster.gateway.at(-1).url];

async function both(t) {
  const [alice, bob] = await people('alice', 'bob');
  const chat = await directChat(alice, bob);
  const [hers, his] = [await connect(t, first, alice), await connect(t, second, bob)];
  await join(hers, chat._id);
  await join(his, chat._id);
  return { alice, bob, chat, hers, his };
}

test('typing is heard on the other gateway, and ends with the message', async (t) => {
  const { alice, chat, hers, his } = await both(t);
  let heard = once(his, 'user-typing');
  hers.emit('typing-start', chat._id);
  const begun = await heard;
  assert.deepEqual({ ...begun, name: null }, { chatId: chat._id, userId: alice.id, name: null, isTyping: true });
  heard = once(his, 'user-typing');
  await say(alice, chat, 'said');
  assert.equal((await heard).isTyping, false);
});

test('typing ends by itself, and with the connection', async (t) => {
  const { chat, hers, his } = await both(t);
  let heard = once(his, 'user-typing');
  hers.emit('typing-start', { chatId: chat._id });
  assert.equal((await heard).isTyping, true);
  const begun = performance.now();
  assert.equal((await once(his, 'user-typing')).isTyping, false);
  assert.ok(performance.now() - begun > 4_000, 'not before its time');
  heard = once(his, 'user-typing');
  hers.emit('typing-start', `chat-${chat._id}`);
  assert.equal((await heard).isTyping, true);
  heard = once(his, 'user-typing');
  hers.disconnect();
  assert.equal((await heard).isTyping, false);
});

test('whoever has not joined tells nobody', async (t) => {
  const [alice, bob] = await people('alice', 'bob');
  const chat = await directChat(alice, bob);
  const socket = await connect(t, first, alice);
  const ack = await acked(socket, 'typing-start', chat._id);
  assert.equal(ack.error.code, 'not_joined');
});

test('a participant is online while one of their connections is', async (t) => {
  const { alice, bob, chat, his } = await both(t);
  const presence = async () => {
    const { participants } = data(await get(alice, `/api/chat/${chat._id}/info`)).chat;
    return participants.find(({ userId }) => userId === bob.id);
  };
  const becomes = async (online) => {
    const deadline = performance.now() + DEADLINE_MS;
    for (;;) {
      const shown = await presence();
      if (shown.online === online) return shown;
      assert.ok(performance.now() < deadline, JSON.stringify(shown));
    }
  };
  await becomes(true);
  his.disconnect();
  const { lastSeenAt } = await becomes(false);
  assert.ok(Math.abs(Date.now() - Date.parse(lastSeenAt)) < 60_000, lastSeenAt);
});
