// A chat's and a connection's life on a real cluster: what is told, what ends, and what a token is good for.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { ParleyError } from '@parley/client';
import { Listener, Wires, clientOf, cluster, expired, frame, inTime, people, rising, sign } from './stage.mjs';

async function chatOf(t, creator, others) {
  const parley = clientOf(creator, {}, t);
  const { _id } = await parley.createChat({ participantIds: others.map(({ id }) => id), type: 'group', title: 'A group' });
  return parley.chat(_id);
}

/** Opened by this person, with everything that it tells. */
async function listenIn(t, who, id, options = {}) {
  const parley = clientOf(who, options, t);
  const chat = parley.chat(id);
  const listener = new Listener(chat);
  await inTime(chat.open(), () => 'an opening');
  return { parley, chat, listener };
}

const state = (parley, wanted) => inTime(new Promise((resolve) => {
  const check = (change) => {
    if (change.state !== wanted) return;
    off();
    resolve(change);
  };
  const off = parley.on('state', check);
  queueMicrotask(() => check(parley.state));
}), () => `the state ${wanted}, instead of ${parley.state.state}`);

test('what was there comes as a reset; sends, edits, deletes, receipts, comings and goings follow in order', async (t) => {
  const [alice, bob, carol] = await people('alice', 'bob', 'carol');
  const own = await chatOf(t, alice, [bob]);
  for (const content of ['one', 'two']) await own.send({ content });
  const { chat, listener } = await listenIn(t, bob, own.id);
  assert.deepEqual(listener.contents, ['one', 'two']);
  const three = await own.send({ content: 'three' });
  await own.edit(three._id, 'three and a half');
  await own.delete(three._id);
  const { unreadCount } = await chat.markRead();
  assert.equal(unreadCount, 0);
  const rest = clientOf(alice, {}, t).rest;
  await rest.call('addParticipant', { path: { id: own.id }, body: { userId: carol.id } });
  await rest.call('removeParticipant', { path: { id: own.id, userId: carol.id } });
  await listener.until(() => listener.events.includes('participant-removed') && listener.events.includes('messages-read'), 'all of it');
  assert.deepEqual(listener.events.filter((name) => name !== 'messages-read'),
    ['reset opened', 'joined', 'new-message', 'message-edited', 'message-deleted', 'participants-added', 'participant-removed']);
  assert.ok(rising(listener.versions));
  assert.equal(chat.position.version, listener.versions.at(-1));
});

test('a position kept over a reload of the page brings what came after it, and loads nothing', async (t) => {
  const [alice, bob] = await people('alice', 'bob');
  const own = await chatOf(t, alice, [bob]);
  const first = await listenIn(t, bob, own.id);
  await own.send({ content: 'before' });
  await first.listener.hears('before');
  const since = first.chat.position;
  first.parley.close();
  await own.send({ content: 'while away' });
  const again = clientOf(bob, {}, t).chat(own.id);
  const listener = new Listener(again);
  await again.open({ since });
  await listener.hears('while away');
  assert.deepEqual(listener.events, ['joined', 'new-message']);
});

test('where a position leads nowhere, the chat is reloaded and live', async (t) => {
  const [alice, bob] = await people('alice', 'bob');
  const own = await chatOf(t, alice, [bob]);
  const { version } = await own.send({ content: 'there' });
  for (const [since, reason] of [[{ version: version + 100, epoch: null }, 'gap'], [{ version, epoch: '00000000deadbeef' }, 'history']]) {
    const chat = clientOf(bob, {}, t).chat(own.id);
    const listener = new Listener(chat);
    await chat.open({ since });
    await listener.hears('there');
    const next = `after a ${reason}`;
    await own.send({ content: next });
    await listener.hears(next);
    assert.ok(listener.events.includes(`reset ${reason}`), `${listener.events}`);
    assert.equal(new Set(listener.contents).size, listener.contents.length);
    assert.ok(rising(listener.versions));
  }
});

test('i6: who is removed is told so, hears nothing more, and is refused; added again, hears again', async (t) => {
  const [alice, bob] = await people('alice', 'bob');
  const own = await chatOf(t, alice, [bob]);
  const { parley, chat, listener } = await listenIn(t, bob, own.id);
  const { rest } = clientOf(alice, {}, t);
  const gone = parley.once('chat-removed');
  await rest.call('removeParticipant', { path: { id: own.id, userId: bob.id } });
  await listener.until(() => listener.events.includes('closed'), 'the end of the chat');
  assert.equal((await inTime(gone, () => 'chat-removed')).chatId, own.id);
  assert.deepEqual([chat.isOpen, chat.isLive], [false, false]);
  await own.send({ content: 'among ourselves' });
  await assert.rejects(chat.open(), { code: 'not_participant' });
  const created = parley.once('chat-created');
  await rest.call('addParticipant', { path: { id: own.id }, body: { userId: bob.id } });
  await inTime(created, () => 'chat-created');
  assert.ok(!listener.contents.includes('among ourselves'));
  await chat.open();
  await own.send({ content: 'welcome back' });
  await listener.hears('welcome back');
});

test('a chat that does not exist, and an id of the wrong form, are refused with their code', async (t) => {
  const [bob] = await people('bob');
  const parley = clientOf(bob, {}, t);
  await assert.rejects(parley.chat('01900000-0000-7000-8000-000000000000').open(), { code: 'chat_not_found', status: 404 });
  await assert.rejects(parley.chat('no id').open(), { code: 'invalid_id', status: 400 });
  await assert.rejects(parley.chat('no id').open({ since: { version: 0, epoch: null } }), { code: 'invalid_chat_id' });
});

test('after a lost connection the list of chats may have changed, and that is said', async (t) => {
  const [bob] = await people('bob');
  const parley = clientOf(bob, {}, t);
  parley.connect();
  await state(parley, 'connected');
  const changed = parley.once('chats-changed');
  parley.dropConnection();
  assert.deepEqual(await inTime(changed, () => 'chats-changed'), { reason: 'reconnected' });
});

test('a token that was refused is replaced by the app’s next one, for requests and for the connection', async (t) => {
  const [bob] = await people('bob');
  const tokens = [expired({ sub: bob.id }), sign({ sub: bob.id })];
  let asked = 0;
  const parley = clientOf(bob, { getToken: () => tokens[Math.min(asked++, 1)] }, t);
  assert.equal((await parley.listChats()).chats.length, 0);
  assert.equal(asked, 2);
  // The same for a connection that comes first.
  asked = 0;
  const other = clientOf(bob, { getToken: () => tokens[Math.min(asked++, 1)] }, t);
  const refused = state(other, 'reconnecting');
  other.connect();
  assert.equal((await refused).error.code, 'token_expired');
  await state(other, 'connected');
  assert.equal(asked, 2);
});

test('where no token counts it stops and says so; once there is one, it connects', async (t) => {
  const [bob] = await people('bob');
  let token = sign({ sub: bob.id }, 'another secret, long enough for HS256');
  const parley = clientOf(bob, { getToken: () => token }, t);
  parley.connect();
  const { error } = await state(parley, 'unauthorized');
  assert.ok(error instanceof ParleyError);
  assert.equal(error.code, 'invalid_token');
  await assert.rejects(parley.listChats(), { status: 401, code: 'invalid_token' });
  token = sign({ sub: bob.id });
  parley.connect();
  await state(parley, 'connected');
});

test('an app that has no token for a moment is asked again', async (t) => {
  const [bob] = await people('bob');
  let asked = 0;
  const parley = clientOf(bob, {
    getToken: () => {
      asked += 1;
      if (asked < 3) throw new Error('the backend is away');
      return sign({ sub: bob.id });
    },
  }, t);
  parley.connect();
  assert.match((await state(parley, 'reconnecting')).error.message, /no token/u);
  await state(parley, 'connected');
  assert.equal(asked, 3);
});

test('a token is renewed before its end, and the chat stays live beyond it', async (t) => {
  const [alice, bob] = await people('alice', 'bob');
  const own = await chatOf(t, alice, [bob]);
  const given = [];
  let second;
  const renewed = new Promise((resolve) => { second = resolve; });
  const getToken = () => {
    given.push(Date.now());
    if (given.length === 2) second();
    // The first one is good for a few seconds.
    return sign({ sub: bob.id, exp: Math.floor(Date.now() / 1000) + (given.length === 1 ? 4 : 3600) });
  };
  const { listener } = await listenIn(t, bob, own.id, { getToken });
  const end = (Math.floor(given[0] / 1000) + 4) * 1000;
  await inTime(renewed, () => 'the second token');
  assert.ok(Date.now() < end, 'before the end of the first');
  // Beyond the first one's end, which is a moment of the clock.
  await setTimeout(end + 1_000 - Date.now());
  await own.send({ content: 'beyond it' });
  await listener.hears('beyond it');
});

test('while the network is away it says so; once it is back, what was missed comes', async (t) => {
  const [alice, bob] = await people('alice', 'bob');
  const own = await chatOf(t, alice, [bob]);
  const wires = await Wires.before(t, cluster.url);
  const { parley, listener } = await listenIn(t, bob, own.id, { socketUrl: wires.url });
  wires.dead = true;
  wires.cut();
  await state(parley, 'reconnecting');
  await own.send({ content: 'while away' });
  wires.dead = false;
  await listener.hears('while away');
  assert.deepEqual(listener.events, ['reset opened', 'joined', 'joined', 'new-message']);
});

test('a server that says goodbye, after which a stock client stays away, is come back to', async (t) => {
  const [alice, bob] = await people('alice', 'bob');
  const own = await chatOf(t, alice, [bob]);
  const wires = await Wires.before(t, cluster.url);
  const { parley, listener } = await listenIn(t, bob, own.id, { socketUrl: wires.url });
  wires.inject('41');
  await state(parley, 'reconnecting');
  await own.send({ content: 'while away' });
  await listener.hears('while away');
});

test('a connection that is refused for now, whatever for, is tried again', async (t) => {
  const [bob] = await people('bob');
  const wires = await Wires.before(t, cluster.url);
  let refusals = 0;
  wires.alters = (bytes) => {
    // The answer to Socket.IO's CONNECT.
    const at = bytes.indexOf('40{"sid"');
    if (at < 0 || refusals === 2) return bytes;
    refusals += 1;
    const head = bytes.subarray(0, at - 2);
    return Buffer.concat([head, frame('44{"message":"busy","data":{"code":"too_many_connections","message":"Later"}}')]);
  };
  const parley = clientOf(bob, { socketUrl: wires.url }, t);
  parley.connect();
  assert.equal((await state(parley, 'reconnecting')).error.code, 'too_many_connections');
  await state(parley, 'connected');
  assert.equal(refusals, 2);
});

test('i3: what a gateway tells twice is heard once, and a reload in the middle of a stream loses nothing', async (t) => {
  const [alice, bob] = await people('alice', 'bob');
  const own = await chatOf(t, alice, [bob]);
  const wires = await Wires.before(t, cluster.url);
  const { chat, listener } = await listenIn(t, bob, own.id, { socketUrl: wires.url });
  let told = null;
  chat.on('new-message', (event) => { told ??= event; });
  await own.send({ content: 'first' });
  await listener.hears('first');
  wires.inject(`42${JSON.stringify(['new-message', told])}`);
  await own.send({ content: 'second' });
  await listener.hears('second');
  wires.inject(`42${JSON.stringify(['resync', { chatId: own.id, reason: 'gap' }])}`);
  for (let number = 0; number < 10; number += 1) await own.send({ content: `after ${number}` });
  await listener.until(() => listener.events.includes('reset gap') && listener.contents.includes('after 9'), 'the reload and what followed');
  assert.deepEqual(listener.contents, ['first', 'second', ...Array.from({ length: 10 }, (_, number) => `after ${number}`)]);
});

test('where the server says that chats may have changed, who was removed unheard finds out', async (t) => {
  const [alice, bob] = await people('alice', 'bob');
  const own = await chatOf(t, alice, [bob]);
  const wires = await Wires.before(t, cluster.url);
  // Neither the removal nor its telling arrives.
  let isDeaf = false;
  wires.alters = (bytes) => (isDeaf && bytes.includes('-removed') ? Buffer.alloc(0) : bytes);
  const { parley, listener } = await listenIn(t, bob, own.id, { socketUrl: wires.url });
  isDeaf = true;
  await clientOf(alice, {}, t).rest.call('removeParticipant', { path: { id: own.id, userId: bob.id } });
  const changed = parley.once('chats-changed');
  wires.inject(`42${JSON.stringify(['resync', { chatId: null, reason: 'chats' }])}`);
  assert.deepEqual(await inTime(changed, () => 'chats-changed'), { reason: 'chats' });
  await listener.until(() => listener.events.includes('closed'), 'the end of the chat');
});
