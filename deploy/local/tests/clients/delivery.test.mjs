// A message posted over REST on any api pod is heard on any gateway: once, in order, as the 201 showed it.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Ears, ask, api, cluster, connect, data, directChat, groupChat, has, join, once, only, people, say, transports } from './parley.mjs';

/** Joined before anything is said. */
async function listenIn(t, url, who, chat, options) {
  const socket = await connect(t, url, who, options);
  const ears = new Ears(socket);
  await join(socket, chat._id);
  return { socket, ears };
}

/** One message through this api pod arrives as the event that the contract describes. */
async function arrives(ears, author, chat, content, base) {
  const message = await say(author, chat, content, base);
  const event = await ears.until(content);
  assert.equal(event.chatId, chat._id);
  assert.equal(event.version, message.version);
  assert.ok(event.epoch !== undefined && event.epoch !== null, 'a durable event has an epoch');
  has(event.message, 'message');
  assert.deepEqual(only(event.message, 'message'), only(message, 'message'));
  return message;
}

for (const gateway of cluster.gateway) {
  for (const [name, transport] of Object.entries(transports)) {
    test(`${gateway.name}, ${name}: bob hears what alice posts through each api pod, once`, async (t) => {
      const [alice, bob] = await people('alice', 'bob');
      const chat = await directChat(alice, bob);
      const { socket, ears } = await listenIn(t, gateway.url, bob, chat, transport ? { transports: transport } : {});
      const sent = [];
      for (const pod of cluster.api) sent.push(await arrives(ears, alice, chat, `through ${pod.name}`, pod.url));
      if (!transport) {
        if (socket.io.engine.transport.name !== 'websocket') await once(socket.io.engine, 'upgrade');
        sent.push(await arrives(ears, alice, chat, 'after the upgrade'));
      }
      assert.equal(socket.io.engine.transport.name, transport?.[0] ?? 'websocket');
      // Whatever came twice has come by the time that a later message is there.
      sent.push(await arrives(ears, alice, chat, 'the last one'));
      assert.deepEqual(ears.contents, sent.map(({ content }) => content));
      assert.deepEqual(ears.heard.map(({ message }) => message.seq), sent.map((_, index) => index + 1));
      assert.equal(new Set(sent.map(({ version, seq }) => version - seq)).size, 1, 'each message takes one version and one seq');
    });
  }
}

test('through the balancer, over websocket, a message arrives from whichever pods were picked', async (t) => {
  const [alice, bob] = await people('alice', 'bob');
  const chat = await directChat(alice, bob);
  const sockets = await Promise.all([0, 1, 2, 3].map(() => listenIn(t, cluster.url, bob, chat, { transports: ['websocket'] })));
  for (const content of ['one', 'two', 'three', 'four']) await say(alice, chat, content, cluster.url);
  for (const { ears } of sockets) {
    await ears.until('four');
    assert.deepEqual(ears.contents, ['one', 'two', 'three', 'four']);
  }
});

test('the balancer uses every api pod and every gateway', async (t) => {
  const [alice, bob] = await people('alice', 'bob');
  const chat = await directChat(alice, bob);
  const rounds = [...Array(2 * Math.max(cluster.api.length, cluster.gateway.length)).keys()];
  const pods = [];
  const gateways = [];
  for (const _ of rounds) {
    const answer = await ask(cluster.url, 'GET', '/api/chat', { token: bob.token });
    data(answer);
    pods.push(answer.headers.get('x-parley-pod'));
    const socket = await connect(t, cluster.url, bob, { transports: ['websocket'] });
    gateways.push((await join(socket, chat._id)).pod);
  }
  assert.deepEqual([...new Set(pods)].sort(), cluster.api.map(({ name }) => name).sort());
  assert.deepEqual([...new Set(gateways)].sort(), cluster.gateway.map(({ name }) => name).sort());
});

test('every gateway hears one message', async (t) => {
  const [alice, bob] = await people('alice', 'bob');
  const chat = await directChat(alice, bob);
  const ears = [];
  for (const gateway of cluster.gateway) {
    for (const transport of ['websocket', 'polling']) {
      ears.push((await listenIn(t, gateway.url, bob, chat, { transports: [transport] })).ears);
    }
  }
  const message = await say(alice, chat, 'to all of them');
  await say(alice, chat, 'the last one');
  for (const each of ears) {
    await each.until('the last one');
    assert.deepEqual(each.contents, ['to all of them', 'the last one']);
    assert.deepEqual(only(each.heard[0].message, 'message'), only(message, 'message'));
  }
});

test('200 messages posted in parallel through every api pod arrive once each, in order, on every gateway', { timeout: 60_000 }, async (t) => {
  const authors = await people(...Array.from({ length: 10 }, (_, index) => `author-${index}`));
  const bob = (await people('bob'))[0];
  const chat = await groupChat(bob, authors);
  const listeners = await Promise.all(cluster.gateway.map(({ url }) => listenIn(t, url, bob, chat)));
  const sent = await Promise.all(Array.from({ length: 200 }, (_, index) => say(authors[index % authors.length], chat, `message ${index}`, api(index))));
  const wanted = sent.map((message) => only(message, 'message')).sort((one, other) => one.seq - other.seq);
  assert.deepEqual(wanted.map(({ seq }) => seq), wanted.map((_, index) => index + 1), 'seq is dense');
  for (const { ears } of listeners) {
    await ears.count(sent.length);
    // A message after them all: what would come twice has come before it.
    await Promise.all([ears.until('the last one'), listeners[0].ears === ears ? say(bob, chat, 'the last one') : null]);
    assert.equal(ears.heard.length, sent.length + 1);
    const versions = ears.heard.map(({ version }) => version);
    assert.ok(versions.every((version, index) => index === 0 || version > versions[index - 1]), `versions rise: ${versions}`);
    assert.deepEqual(ears.heard.slice(0, -1).map(({ message }) => only(message, 'message')), wanted);
  }
});

test('the author hears the own message too', async (t) => {
  const [alice, bob] = await people('alice', 'bob');
  const chat = await directChat(alice, bob);
  const { ears } = await listenIn(t, cluster.gateway[0].url, alice, chat);
  await arrives(ears, alice, chat, 'do I hear myself?');
  await say(alice, chat, 'the last one');
  await ears.until('the last one');
  assert.deepEqual(ears.contents, ['do I hear myself?', 'the last one']);
});

test('who is in another chat hears nothing of this one', async (t) => {
  const [alice, bob, carol] = await people('alice', 'bob', 'carol');
  const secret = await directChat(alice, bob);
  const other = await directChat(alice, carol);
  for (const gateway of cluster.gateway) {
    const { ears } = await listenIn(t, gateway.url, carol, other);
    const inside = await listenIn(t, gateway.url, bob, secret);
    await say(alice, secret, `not for carol, at ${gateway.name}`);
    await inside.ears.until(`not for carol, at ${gateway.name}`);
    await say(alice, other, `for carol, at ${gateway.name}`);
    await ears.until(`for carol, at ${gateway.name}`);
    assert.deepEqual(ears.contents, [`for carol, at ${gateway.name}`]);
  }
});

test('who is connected and has joined nothing hears nothing', async (t) => {
  const [alice, bob] = await people('alice', 'bob');
  const chat = await directChat(alice, bob);
  const socket = await connect(t, cluster.gateway[0].url, bob);
  const ears = new Ears(socket);
  const inside = await listenIn(t, cluster.gateway[0].url, bob, chat);
  await say(alice, chat, 'before the join');
  await inside.ears.until('before the join');
  await join(socket, chat._id);
  await say(alice, chat, 'after the join');
  await ears.until('after the join');
  assert.deepEqual(ears.contents, ['after the join']);
});
