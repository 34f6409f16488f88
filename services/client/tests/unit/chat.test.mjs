// One chat, played against recorded events and pages: what the app is told, whatever the connection does.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Chat, ParleyError } from '@parley/client';
import { messageAt, recorded, stillness } from './recorded.mjs';

const ID = recorded('new-message')[1].chatId;
const EPOCH = recorded('new-message')[1].epoch;
const OTHER = '00000000deadbeef';

/** A chat, and the strings that it is moved by. */
function stage() {
  const around = stillness();
  const told = [];
  const pages = [];
  const emitted = [];
  const followed = [];
  const host = {
    rest: {
      persist: (operation, { path }, { signal }) => new Promise((resolve, reject) => {
        assert.deepEqual([operation, path], ['listMessages', { id: ID }]);
        signal.addEventListener('abort', () => reject(new ParleyError({ code: 'aborted', message: 'given up' })));
        pages.push({ resolve, reject });
      }),
    },
    outbox: { around, timeoutMs: 1, deadlineMs: 1, capacity: 1 },
    now: around.now,
    follow: (chat) => followed.push(chat),
    unfollow: () => followed.splice(0),
    followLater: () => followed.push('later'),
    emit: (event, argument) => emitted.push([event, argument]),
    tell: (name, event) => told.push(name === 'new-message' ? event.version : name === 'reset' ? `reset ${event.reason} ${event.version}` : name),
  };
  const chat = new Chat(ID, host);
  return {
    chat, told, emitted, around, followed,
    /** Answers the oldest question for a page; what follows from it has happened when this resolves. */
    page: async (version) => {
      pages.shift().resolve({ messages: [messageAt(version)[1].message], version, pagination: { nextBefore: null } });
      await new Promise(setImmediate);
    },
    refusePage: async (error) => {
      pages.shift().reject(error);
      await new Promise(setImmediate);
    },
    asking: () => pages.length,
    hear: (version, epoch = EPOCH) => {
      const [name, event] = messageAt(version);
      chat.onEvent(name, { ...event, epoch });
    },
    /** Joins as the server would answer; returns what was asked. */
    join: (ack) => {
      const [argument, answered] = chat.join();
      answered(ack && { success: true, chatId: ID, epoch: EPOCH, resync: false, readPointers: {}, typing: [], ...ack });
      return argument;
    },
  };
}

/** Opened with a page at this version, joined, and nothing told so far. */
async function opened(version = 5) {
  const it = stage();
  const joined = it.chat.open();
  await it.page(version);
  it.join({ version });
  await joined;
  it.told.splice(0);
  return it;
}

test('it opens with the newest page, joins from there, and then tells what comes', async () => {
  const it = stage();
  const joined = it.chat.open({ limit: 20 });
  assert.equal(it.followed.length, 0, 'not before the page is there');
  await it.page(5);
  assert.deepEqual(it.join({ version: 7 }), { chatId: ID, since: 5 }, 'a page says no epoch');
  assert.equal((await joined).again, false);
  it.hear(6);
  it.hear(7);
  it.hear(8);
  assert.deepEqual(it.told, ['reset opened 5', 'joined', 6, 7, 8]);
  assert.deepEqual(it.chat.position, { version: 8, epoch: EPOCH });
});

test('an app that knows its position loads nothing', async () => {
  const it = stage();
  const joined = it.chat.open({ since: { version: 40, epoch: EPOCH } });
  assert.deepEqual(it.join({ version: 41 }), { chatId: ID, since: 40, epoch: EPOCH });
  await joined;
  it.hear(41);
  assert.equal(it.asking(), 0);
  assert.deepEqual(it.told, ['joined', 41]);
});

test('i3, i4: after a lost connection it joins from its position, and what it heard before is dropped', async () => {
  const it = await opened(5);
  it.hear(6);
  it.hear(7);
  it.chat.onDisconnected();
  assert.equal(it.chat.isLive, false);
  assert.deepEqual(it.join({ version: 9 }), { chatId: ID, since: 7, epoch: EPOCH });
  for (const version of [7, 8, 9, 9, 10]) it.hear(version);
  assert.deepEqual(it.told, [6, 7, 'joined', 8, 9, 10]);
});

test('an answer to a join of an earlier connection means nothing', async () => {
  const it = await opened(5);
  it.chat.onDisconnected();
  const [, late] = it.chat.join();
  it.chat.onDisconnected();
  late({ success: false, error: { code: 'not_participant', message: 'no' } });
  assert.deepEqual(it.told, []);
  assert.equal(it.chat.isOpen, true);
});

test('told to reload, it brings a page; what came meanwhile follows, and what the page has does not', async () => {
  const it = await opened(5);
  it.chat.onResync(recorded('resync')[1]);
  for (const version of [20, 21, 22]) it.hear(version);
  assert.deepEqual(it.told, []);
  await it.page(21);
  it.hear(23);
  assert.deepEqual(it.told, ['reset gap 21', 22, 23]);
});

test('a join that leads nowhere reloads; another history is named so', async () => {
  for (const [epoch, reason] of [[EPOCH, 'gap'], [OTHER, 'history']]) {
    const it = await opened(5);
    it.chat.onDisconnected();
    it.join({ version: 3, epoch, resync: true });
    it.hear(4, epoch);
    await it.page(3);
    assert.deepEqual(it.told, ['joined', `reset ${reason} 3`, 4]);
    assert.deepEqual(it.chat.position, { version: 4, epoch });
  }
});

test('told to reload twice, it loads once more', async () => {
  const it = await opened(5);
  it.chat.onResync(recorded('resync')[1]);
  it.chat.onResync(recorded('resync')[1]);
  await it.page(20);
  assert.deepEqual(it.told, []);
  await it.page(25);
  assert.deepEqual(it.told, ['reset gap 25']);
  assert.equal(it.asking(), 0);
});

test('i9: what waits for a reload is bounded; what is more is loaded', async () => {
  const it = await opened(5);
  it.chat.onResync(recorded('resync')[1]);
  for (let version = 6; version <= 1_500; version += 1) it.hear(version);
  await it.page(10);
  assert.deepEqual(it.told, [], 'some of them are gone, so the page is not enough');
  await it.page(1_499);
  assert.deepEqual(it.told, ['reset gap 1499', 1500]);
});

test('an event of another history in the middle of a stream reloads', async () => {
  const it = await opened(5);
  it.hear(6, OTHER);
  await it.page(7);
  assert.deepEqual(it.told, ['reset history 7']);
});

test('a refusal closes it, and fails whoever waits; one that passes is tried again', async () => {
  const it = stage();
  const joined = it.chat.open({ since: { version: 1, epoch: null } });
  const answer = (code) => it.chat.join()[1]({ success: false, error: { code, message: 'no' } });
  answer('unavailable');
  assert.deepEqual([it.followed.at(-1), it.chat.isOpen], ['later', true]);
  answer('not_participant');
  await assert.rejects(joined, { code: 'not_participant' });
  assert.deepEqual([it.told, it.chat.isOpen, it.emitted], [['closed'], false, []]);
});

test('a chat that may not be read is closed with the reason', async () => {
  const it = stage();
  const joined = it.chat.open();
  await Promise.all([
    assert.rejects(joined, { code: 'chat_not_found', status: 404 }),
    it.refusePage(new ParleyError({ status: 404, code: 'chat_not_found', message: 'no' })),
  ]);
  assert.deepEqual(it.told, ['closed']);
});

test('removed from the chat, it is closed; of a removal before the last join, nothing is believed', async () => {
  const it = await opened(5);
  const [, removed] = recorded('chat-removed');
  it.chat.onRemoved({ ...removed, version: 5 });
  assert.equal(it.chat.isOpen, true);
  it.chat.onRemoved({ ...removed, version: 6 });
  assert.deepEqual([it.told, it.chat.isOpen, it.emitted], [['closed'], false, []]);
});

test('told of a removal while it joins, it goes by which of both is later', async () => {
  const [, removed] = recorded('chat-removed');
  for (const [version, isOpen] of [[6, true], [9, false]]) {
    const it = await opened(5);
    it.chat.onDisconnected();
    it.chat.onRemoved({ ...removed, version });
    assert.equal(it.chat.isOpen, true);
    it.join({ version: 8 });
    assert.deepEqual([it.told, it.chat.isOpen], [[isOpen ? 'joined' : 'closed'], isOpen]);
  }
});

test('an app that does not wait for an opening is not bothered by its end', async () => {
  const it = stage();
  void it.chat.open();
  it.chat.close();
  // An unhandled rejection would fail this test.
  await new Promise(setImmediate);
  assert.deepEqual([it.told, it.chat.isOpen], [[], false]);
});

test('closed by the app, it leaves and is silent; opened again, it begins anew', async () => {
  const it = await opened(5);
  it.chat.close();
  it.hear(6);
  it.chat.onResync(recorded('resync')[1]);
  assert.deepEqual([it.told, it.emitted, it.asking()], [[], [['leave-chat-room', { chatId: ID }]], 0]);
  const joined = it.chat.open();
  await it.page(8);
  it.join({ version: 8 });
  assert.equal((await joined).again, false);
  it.hear(9);
  assert.deepEqual(it.told, ['reset opened 8', 'joined', 9]);
});

test('an opening that is given up closes the chat', async () => {
  const it = stage();
  const given = new AbortController();
  const joined = it.chat.open({ signal: given.signal });
  given.abort();
  await assert.rejects(joined, { code: 'aborted' });
  assert.deepEqual([it.chat.isOpen, it.told], [false, []]);
});

test('receipts pass as they come, also while a reload is under way', async () => {
  const it = await opened(5);
  it.chat.onResync(recorded('resync')[1]);
  it.chat.onEvent(...recorded('messages-read'));
  assert.deepEqual(it.told, ['messages-read']);
});

test('typing is said at most every three seconds, and ended once', async () => {
  const it = await opened(5);
  for (const pause of [0, 1_000, 1_000, 1_000, 500]) {
    it.around.at += pause;
    it.chat.startTyping();
  }
  it.chat.stopTyping();
  it.chat.stopTyping();
  assert.deepEqual(it.emitted.map(([event]) => event), ['typing-start', 'typing-start', 'typing-stop']);
  it.chat.onDisconnected();
  it.chat.startTyping();
  assert.equal(it.emitted.length, 3, 'not while there is no room to say it in');
});

test('a listener that throws keeps the event from nobody', async (t) => {
  const it = await opened(5);
  const thrown = [];
  const listeners = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', (error) => thrown.push(error.message));
  t.after(() => {
    process.removeAllListeners('uncaughtException');
    for (const listener of listeners) process.on('uncaughtException', listener);
  });
  const off = it.chat.on('new-message', () => { throw new Error('in the app'); });
  const heard = [];
  it.chat.on('new-message', ({ version }) => heard.push(version));
  it.hear(6);
  off();
  it.hear(7);
  await new Promise(setImmediate);
  assert.deepEqual([heard, it.told, thrown], [[6, 7], [6, 7], ['in the app']]);
});
