// REST as a front end of the old backend sees it: paths, statuses, envelope, objects, rules.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { TIME, UNKNOWN_ID, UUID7, api, ask, badTokens, cluster, data, directChat, fields, get, groupChat, has, only, people, post, refused, say, service } from './parley.mjs';

async function aliceAndBob() {
  const [alice, bob] = await people('alice', 'bob');
  const chat = await directChat(alice, bob);
  return { alice, bob, chat, path: `/api/chat/${chat._id}/messages` };
}

const contents = ({ messages }) => messages.map(({ content }) => content);
const query = (parameters) => `?${new URLSearchParams(parameters)}`;

// ---- users

test('a service makes users, and no one else does', async () => {
  const [alice, bob] = await people('alice', 'bob');
  const path = `/api/users/${alice.id}`;
  assert.equal(data(await get(alice, path)).user.name, 'alice');
  data(await ask(api(0), 'PUT', path, { token: service.token, body: { name: 'Alice the second', avatar: 'https://example.org/a.png' } }), [200, 201]);
  const { user } = data(await get(service, path, api(1)));
  assert.equal(user._id, alice.id);
  assert.equal(user.name, 'Alice the second');
  assert.equal(user.avatar, 'https://example.org/a.png');
  refused(await ask(api(0), 'PUT', path, { token: bob.token, body: { name: 'Mallory' } }), 403, 'forbidden');
  refused(await get(service, `/api/users/nobody-${randomUUID()}`), 404, 'user_not_found');
});

test('user ids are the host’s: e-mails and the like work everywhere', async () => {
  const [alice] = await people('alice');
  const id = `auth0|zoë+${randomUUID()}@example.org`;
  data(await ask(api(0), 'PUT', `/api/users/${encodeURIComponent(id)}`, { token: service.token, body: { name: 'Zoë' } }), [200, 201]);
  assert.equal(data(await get(service, `/api/users/${encodeURIComponent(id)}`)).user._id, id);
  const { chat } = data(await post(alice, '/api/chat', { participantIds: [id] }), 201);
  assert.deepEqual(chat.participants.map(({ userId }) => userId).sort(), [alice.id, id].sort());
});

// ---- creating chats

test('a new direct chat has every field of the contract', async () => {
  const [alice, bob] = await people('alice', 'bob');
  const answer = await post(alice, '/api/chat', { participantIds: [bob.id], metadata: { listing: { id: 7 }, tags: ['a'] } });
  const { chat } = data(answer, 201);
  has(chat, 'chat');
  assert.match(chat._id, UUID7);
  assert.match(chat.createdAt, TIME);
  assert.match(chat.updatedAt, TIME);
  const { type, title, subject, metadata, purchaseRequestId, buyerId, sellerId, createdBy, participantCount, lastMessage, unreadCount, archived, messageCount } = chat;
  assert.deepEqual(
    { type, title, subject, metadata, purchaseRequestId, buyerId, sellerId, createdBy, participantCount, lastMessage, unreadCount, archived, messageCount },
    { type: 'direct', title: null, subject: null, metadata: { listing: { id: 7 }, tags: ['a'] }, purchaseRequestId: null, buyerId: null, sellerId: null, createdBy: alice.id, participantCount: 2, lastMessage: null, unreadCount: 0, archived: false, messageCount: 0 },
  );
  assert.ok(Number.isInteger(chat.version));
  for (const participant of chat.participants) {
    has(participant, 'participant');
    assert.equal(participant._id, participant.userId);
    assert.match(participant.joinedAt, TIME);
  }
  const seen = Object.fromEntries(chat.participants.map(({ userId, name, role, avatar }) => [userId, { name, role, avatar }]));
  assert.deepEqual(seen, {
    [alice.id]: { name: 'alice', role: 'creator', avatar: null },
    [bob.id]: { name: 'bob', role: 'member', avatar: null },
  });
});

test('the same two people have one direct chat, whoever asks and however', async () => {
  const [alice, bob] = await people('alice', 'bob');
  const first = data(await post(alice, '/api/chat', { participantIds: [bob.id] }), 201).chat;
  for (const [who, ids, base] of [
    [alice, [bob.id], api(0)],
    [alice, [bob.id, alice.id], api(1)],
    [bob, [alice.id], api(1)],
    [bob, [alice.id, alice.id], api(0)],
  ]) {
    assert.equal(data(await post(who, '/api/chat', { participantIds: ids, type: 'direct' }, base), 200).chat._id, first._id);
  }
});

test('twenty parallel creations for one pair make one chat', async () => {
  const [alice, bob] = await people('alice', 'bob');
  const answers = await Promise.all(Array.from({ length: 20 }, (_, index) => (index % 4 < 2
    ? post(alice, '/api/chat', { participantIds: [bob.id] }, api(index))
    : post(bob, '/api/chat', { participantIds: [alice.id] }, api(index)))));
  const ids = new Set(answers.map((answer) => data(answer, [200, 201]).chat._id));
  assert.equal(ids.size, 1);
  assert.equal(answers.filter(({ status }) => status === 201).length, 1, 'one of them made it');
  assert.equal(data(await get(alice, '/api/chat')).pagination.total, 1);
});

test('a group has a title, and is a new one each time', async () => {
  const [alice, bob, carol] = await people('alice', 'bob', 'carol');
  const body = { participantIds: [bob.id, carol.id], type: 'group', title: 'Møbel & Söhne 🪑' };
  const first = data(await post(alice, '/api/chat', body), 201).chat;
  assert.equal(first.type, 'group');
  assert.equal(first.title, 'Møbel & Söhne 🪑');
  assert.equal(first.participantCount, 3);
  assert.deepEqual(first.participants.map(({ userId }) => userId).sort(), [alice.id, bob.id, carol.id].sort());
  assert.notEqual(data(await post(alice, '/api/chat', body), 201).chat._id, first._id);
  assert.equal(data(await post(alice, '/api/chat', { participantIds: [bob.id], type: 'group' }), 201).chat.title, null, 'two people can be a group, without a title');
});

test('wrong creations are refused', async () => {
  const [alice, bob, carol] = await people('alice', 'bob', 'carol');
  for (const [body, field] of [
    [{ participantIds: [] }, 'participantIds'],
    [{ participantIds: [alice.id] }, 'participantIds'],
    [{ participantIds: [alice.id, alice.id], type: 'group' }, 'participantIds'],
    [{ participantIds: [bob.id, carol.id] }, 'participantIds'],
    [{ participantIds: [bob.id, carol.id], type: 'direct' }, 'participantIds'],
    [{ participantIds: [bob.id], type: 'channel' }],
    [{ participantIds: bob.id }],
    [{ participantIds: [42] }],
    [{}],
    [[]],
  ]) {
    refused(await post(alice, '/api/chat', body), 400, 'invalid_request', field);
  }
  const unknown = `nobody-${randomUUID()}`;
  refused(await post(alice, '/api/chat', { participantIds: [unknown] }), 404, 'participant_not_found');
  refused(await post(alice, '/api/chat', { participantIds: [bob.id, unknown], type: 'group' }), 404, 'participant_not_found');
  assert.equal(data(await get(alice, '/api/chat')).pagination.total, 0, 'nothing was made');
});

// ---- lists

test('the list has one’s own chats, the one with the latest message first, with unread counts', async () => {
  const [alice, bob, carol] = await people('alice', 'bob', 'carol');
  const withBob = await directChat(alice, bob);
  const withCarol = await directChat(alice, carol);
  const group = await groupChat(alice, [bob, carol]);
  await say(alice, withCarol, 'hello Carol');
  await say(alice, withBob, 'hello Bob');
  const last = await say(alice, withBob, 'are you there?', api(1));

  const answer = data(await get(bob, '/api/chat', api(1)));
  assert.deepEqual(answer.chats.map(({ _id }) => _id), [withBob._id, group._id], 'and nothing of Alice and Carol');
  answer.chats.forEach((chat) => has(chat, 'chat'));
  const [first, second] = answer.chats;
  assert.equal(first.unreadCount, 2);
  assert.equal(first.messageCount, 2);
  assert.deepEqual(only(first.lastMessage, 'message'), only(last, 'message'));
  assert.equal(second.unreadCount, 0);
  assert.equal(second.lastMessage, null);
  assert.deepEqual(answer.pagination, { page: 1, limit: 20, total: 2, totalPages: 1, hasNext: false });

  const hers = data(await get(alice, '/api/chat')).chats;
  assert.deepEqual(hers.map(({ _id }) => _id).slice(0, 2), [withBob._id, withCarol._id]);
  assert.ok(hers.every(({ unreadCount }) => unreadCount === 0), 'own messages are never unread');

  const groups = data(await get(bob, `/api/chat${query({ type: 'group' })}`));
  assert.deepEqual(groups.chats.map(({ _id }) => _id), [group._id]);
  assert.equal(groups.pagination.total, 1);
  assert.deepEqual(data(await get(bob, `/api/chat${query({ type: 'support' })}`)).chats, []);
  refused(await get(bob, `/api/chat${query({ type: 'nonsense' })}`), 400, 'invalid_request');
});

test('the list is paged', async () => {
  const [alice, ...others] = await people('alice', 'bob', 'carol', 'dan', 'eve', 'frank');
  const chats = [];
  for (const other of others) chats.unshift((await directChat(alice, other))._id);
  const pages = [];
  for (const page of [1, 2, 3, 4]) pages.push(data(await get(alice, `/api/chat${query({ page, limit: 2 })}`)));
  assert.deepEqual(pages.flatMap((page) => page.chats.map(({ _id }) => _id)), chats);
  assert.deepEqual(pages.map(({ pagination }) => pagination), [
    { page: 1, limit: 2, total: 5, totalPages: 3, hasNext: true },
    { page: 2, limit: 2, total: 5, totalPages: 3, hasNext: true },
    { page: 3, limit: 2, total: 5, totalPages: 3, hasNext: false },
    { page: 4, limit: 2, total: 5, totalPages: 3, hasNext: false },
  ]);
  assert.equal(data(await get(alice, `/api/chat${query({ limit: 1000 })}`)).pagination.limit, 100);
});

for (const path of ['/api/chat', 'messages']) {
  test(`${path}: senseless pages are refused`, async () => {
    const { alice, path: messages } = await aliceAndBob();
    for (const name of ['limit', 'page']) {
      for (const value of ['0', '-1', 'ten', '1.5', '']) {
        const answer = await get(alice, `${path === 'messages' ? messages : path}${query({ [name]: value })}`);
        refused(answer, 400, 'invalid_request', name);
      }
    }
  });
}

// ---- one chat

test('a chat’s info counts what each participant has not read', async () => {
  const [alice, bob, carol] = await people('alice', 'bob', 'carol');
  const group = await groupChat(alice, [bob, carol], 'Three');
  await say(alice, group, 'one');
  const last = await say(bob, group, 'two', api(1));
  for (const base of cluster.api.map(({ url }) => url)) {
    const { chat } = data(await get(carol, `/api/chat/${group._id}/info`, base));
    has(chat, 'chat');
    assert.deepEqual(chat.unreadCounts, { [alice.id]: 1, [bob.id]: 1, [carol.id]: 2 });
    assert.equal(chat.unreadCount, 2);
    assert.equal(chat.version, last.version);
    assert.deepEqual(only(chat.lastMessage, 'message'), only(last, 'message'));
  }
});

test('outsiders get 403, unknown chats are 404, malformed ids 400', async () => {
  const { chat } = await aliceAndBob();
  const [carol] = await people('carol');
  const requests = (id) => [
    () => get(carol, `/api/chat/${id}/info`),
    () => get(carol, `/api/chat/${id}/messages`),
    () => post(carol, `/api/chat/${id}/messages`, { content: 'hello' }),
  ];
  for (const request of requests(chat._id)) refused(await request(), 403, 'not_participant');
  for (const request of requests(UNKNOWN_ID)) refused(await request(), 404, 'chat_not_found');
  for (const request of requests('not-an-id')) refused(await request(), 400, 'invalid_id');
});

// ---- sending

test('a message has every field of the contract, and is found again as it was answered', async () => {
  const { alice, bob, chat, path } = await aliceAndBob();
  const clientMessageId = randomUUID();
  const { message } = data(await post(alice, path, { content: 'hello', clientMessageId, metadata: { mood: 'good' } }), 201);
  has(message, 'message');
  assert.match(message._id, UUID7);
  assert.match(message.createdAt, TIME);
  const { _id, version, changedVersion, createdAt, ...rest } = only(message, 'message');
  assert.deepEqual(rest, {
    chatId: chat._id, seq: 1, senderId: alice.id, sender: { _id: alice.id, name: 'alice', avatar: null }, type: 'text', content: 'hello', replyToMessageId: null, metadata: { mood: 'good' }, attachments: [], clientMessageId, editedAt: null, deletedAt: null,
  });
  assert.ok(version > chat.version, 'a send is a change of the chat');

  const answer = { message: data(await post(bob, path, { content: 'and you?', replyToMessageId: _id }, api(1)), 201).message };
  assert.equal(answer.message.replyToMessageId, _id);
  assert.equal(answer.message.clientMessageId, null);
  assert.equal(answer.message.seq, 2);
  const page = data(await get(bob, path));
  assert.deepEqual(page.messages.map((one) => only(one, 'message')), [only(answer.message, 'message'), only(message, 'message')]);
  assert.equal(page.version, answer.message.version);
});

test('content is 1 to 5,000 characters, counted as Unicode scalar values, and stored as sent', async () => {
  const { alice, path } = await aliceAndBob();
  for (const content of ['', ' ', '\n\t \u2003\u00a0', 'a\u0000b', '\u0000', 'x'.repeat(5001), '🙂'.repeat(5001)]) {
    refused(await post(alice, path, { content }), 400, 'invalid_request', 'content');
  }
  for (const body of [{}, { content: null }, { content: 42 }, { content: ['a'] }, { content: 'a', type: 'image' }, { content: 'a', clientMessageId: '' }, { content: 'a', clientMessageId: 'x'.repeat(129) }, { content: 'a', replyToMessageId: 'nonsense' }]) {
    refused(await post(alice, path, body), 400, 'invalid_request');
  }
  const kept = ['x'.repeat(5000), '🙂'.repeat(5000), '  spaces, \r\n lines and\ttabs stay  ', '<b onclick="x()">&amp;</b> \\ \' " \u2028', 'e\u0301 is not \u00e9', '👩‍👩‍👧'];
  for (const content of kept) data(await post(alice, path, { content }), 201);
  assert.deepEqual(contents(data(await get(alice, `${path}${query({ order: 'asc' })}`))), kept, 'and none of the refused');
});

test('a reply to what is not in this chat is refused', async () => {
  const { alice, bob, chat, path } = await aliceAndBob();
  const [carol] = await people('carol');
  const elsewhere = await say(alice, await directChat(alice, carol), 'in another chat');
  refused(await post(bob, path, { content: 'a', replyToMessageId: UNKNOWN_ID }), 404, 'message_not_found');
  refused(await post(alice, path, { content: 'a', replyToMessageId: elsewhere._id }), 404, 'message_not_found');
  assert.equal(data(await get(alice, `/api/chat/${chat._id}/info`)).chat.messageCount, 0);
});

test('system messages need an admin or a service', async () => {
  const { alice, path } = await aliceAndBob();
  refused(await post(alice, path, { content: 'I am the system', type: 'system' }), 403, 'forbidden');
  const { message } = data(await post(service, path, { content: 'The order was shipped', type: 'system' }), 201);
  assert.equal(message.type, 'system');
});

test('a repeated send under one clientMessageId is one message, on any pod', async () => {
  const { alice, bob, path } = await aliceAndBob();
  const body = { content: 'pay me once', clientMessageId: 'order 66/α' };
  const { message } = data(await post(alice, path, body, api(0)), 201);
  for (const base of [api(0), api(1)]) {
    assert.deepEqual(only(data(await post(alice, path, body, base), 200).message, 'message'), only(message, 'message'));
  }
  refused(await post(alice, path, { ...body, content: 'pay me twice' }, api(1)), 422, 'idempotency_conflict');
  refused(await post(alice, path, { ...body, replyToMessageId: message._id }), 422, 'idempotency_conflict');
  const his = data(await post(bob, path, body), 201).message;
  assert.notEqual(his._id, message._id, 'the id is the sender’s own');
  assert.equal(data(await get(alice, path)).pagination.total, 2);
});

test('`Idempotency-Key` says the same as `clientMessageId`', async () => {
  const { alice, path } = await aliceAndBob();
  const send = (body, key) => ask(api(0), 'POST', path, { token: alice.token, body, headers: { 'idempotency-key': key } });
  const { message } = data(await send({ content: 'once' }, 'key-1'), 201);
  assert.equal(message.clientMessageId, 'key-1');
  assert.equal(data(await send({ content: 'once' }, 'key-1'), 200).message._id, message._id);
  assert.equal(data(await post(alice, path, { content: 'once', clientMessageId: 'key-1' }, api(1)), 200).message._id, message._id);
  refused(await send({ content: 'once', clientMessageId: 'key-2' }, 'key-1'), 400, 'invalid_request', 'clientMessageId');
});

test('twenty parallel sends under one clientMessageId are one message', async () => {
  const { alice, path } = await aliceAndBob();
  const body = { content: 'once', clientMessageId: randomUUID() };
  const answers = await Promise.all(Array.from({ length: 20 }, (_, index) => post(alice, path, body, api(index))));
  const messages = answers.map((answer) => data(answer, [200, 201]).message);
  assert.equal(new Set(messages.map(({ _id }) => _id)).size, 1);
  assert.equal(answers.filter(({ status }) => status === 201).length, 1, 'one of them made it');
  assert.equal(data(await get(alice, path)).pagination.total, 1);
});

// ---- history

test('history is paged by number, by time, by id and by seq', async (t) => {
  const { alice, bob, chat, path } = await aliceAndBob();
  const sent = [];
  for (let index = 1; index <= 12; index += 1) sent.push(await say(index % 2 ? alice : bob, chat, `m${index}`, api(index)));
  const names = (from, to) => (from <= to
    ? Array.from({ length: to - from + 1 }, (_, index) => `m${from + index}`)
    : Array.from({ length: from - to + 1 }, (_, index) => `m${from - index}`));
  const page = async (parameters, base) => data(await get(bob, `${path}${query(parameters)}`, base));

  await t.test('ids, times and seqs rise together', () => {
    for (const field of ['_id', 'createdAt', 'seq', 'version']) {
      const values = sent.map((message) => message[field]);
      assert.ok(values.every((value, index) => index === 0 || value > values[index - 1]), `${field}: ${values}`);
    }
  });

  await t.test('newest first, or `order=asc`', async () => {
    const whole = await page({});
    assert.deepEqual(contents(whole), names(12, 1));
    assert.deepEqual(whole.pagination, { page: 1, limit: 50, total: 12, totalPages: 1, hasNext: false, nextBefore: null });
    assert.equal(whole.version, sent.at(-1).version);
    whole.messages.forEach((message) => has(message, 'message'));
    assert.deepEqual(contents(await page({ order: 'asc' })), names(1, 12));
    refused(await get(bob, `${path}${query({ order: 'sideways' })}`), 400, 'invalid_request', 'order');
  });

  await t.test('page and limit', async () => {
    assert.deepEqual(contents(await page({ limit: 5, page: 1 })), names(12, 8));
    assert.deepEqual(contents(await page({ limit: 5, page: 2 }, api(1))), names(7, 3));
    const last = await page({ limit: 5, page: 3 });
    assert.deepEqual(contents(last), names(2, 1));
    assert.deepEqual(Object.fromEntries(fields.pagination.map((field) => [field, last.pagination[field]])), { page: 3, limit: 5, total: 12, totalPages: 3, hasNext: false });
    assert.equal((await page({ limit: 5, page: 2 })).pagination.hasNext, true);
    assert.deepEqual(contents(await page({ limit: 5, page: 4 })), []);
    assert.deepEqual(contents(await page({ limit: 5, page: 2, order: 'asc' })), names(6, 10));
    assert.equal((await page({ limit: 1000 })).pagination.limit, 100);
  });

  await t.test('`before` and `after`, exclusive', async () => {
    const seventh = sent[6];
    for (const [form, cursor] of [['time', seventh.createdAt], ['id', seventh._id], ['seq', String(seventh.seq)]]) {
      assert.deepEqual(contents(await page({ before: cursor, limit: 3 })), names(6, 4), `before a ${form}`);
      assert.deepEqual(contents(await page({ after: cursor, order: 'asc', limit: 3 })), names(8, 10), `after a ${form}`);
      assert.deepEqual(contents(await page({ after: cursor })), names(12, 8), `after a ${form}, newest first`);
    }
    assert.deepEqual(contents(await page({ before: '1' })), []);
    assert.deepEqual(contents(await page({ after: '12' })), []);
    assert.deepEqual(contents(await page({ before: '2001-01-01T00:00:00Z' })), []);
    for (const name of ['before', 'after']) {
      refused(await get(bob, `${path}${query({ [name]: 'yesterday' })}`), 400, 'invalid_request', name);
    }
  });

  await t.test('`around` an id or a seq', async () => {
    for (const cursor of [sent[6]._id, '7']) {
      const { messages } = await page({ around: cursor, limit: 5 });
      assert.ok(contents({ messages }).includes('m7'), `around ${cursor}: ${contents({ messages })}`);
      assert.deepEqual(contents({ messages }), names(messages[0].seq, messages.at(-1).seq), 'newest first, without a hole');
      assert.equal(messages.length, 5);
    }
  });

  await t.test('`nextBefore` walks to the beginning, past what is said meanwhile', async () => {
    const seen = [];
    let before = null;
    do {
      const { messages, pagination } = await page({ limit: 5, ...(before === null ? {} : { before }) });
      seen.push(...messages.map(({ content }) => content));
      before = pagination.nextBefore;
      if (seen.length === 5) await say(alice, chat, 'meanwhile');
    } while (before !== null);
    assert.deepEqual(seen, names(12, 1));
  });
});

test('an empty chat has an empty page', async () => {
  const { bob, chat, path } = await aliceAndBob();
  assert.deepEqual(data(await get(bob, path)), {
    messages: [], pagination: { page: 1, limit: 50, total: 0, totalPages: 0, hasNext: false, nextBefore: null }, version: chat.version,
  });
});

// ---- what every request has to do with

test('without a good token there is 401, with its code', async () => {
  const { alice, chat } = await aliceAndBob();
  const requests = [['GET', '/api/chat'], ['GET', `/api/chat/${chat._id}/info`], ['GET', `/api/chat/${chat._id}/messages`], ['GET', `/api/users/${alice.id}`]];
  for (const [method, path] of requests) {
    refused(await ask(api(0), method, path), 401, 'missing_token');
    for (const [name, [token, code]] of Object.entries(badTokens(alice.id))) {
      const answer = await ask(api(0), method, path, { token });
      assert.equal(answer.body.error?.code, code, `${name}: ${answer.what}`);
      assert.equal(answer.status, 401, answer.what);
    }
  }
  refused(await ask(api(0), 'POST', '/api/chat', { body: {} }), 401, 'missing_token');
  refused(await ask(api(0), 'GET', '/api/chat', { headers: { authorization: `Basic ${alice.token}` } }), 401, 'invalid_token');
});

test('what is no JSON is refused in the envelope', async () => {
  const { alice, path } = await aliceAndBob();
  const send = (raw, type) => ask(api(0), 'POST', path, { token: alice.token, raw, headers: type ? { 'content-type': type } : {} });
  for (const raw of ['', '{', '{"content": }', '{"content":"a"} and more', '{"content":"\\ud800"}']) {
    refused(await send(raw, 'application/json'), 400, 'invalid_json');
  }
  for (const raw of ['null', '[]', '"text"', '42']) {
    refused(await send(raw, 'application/json'), 400, 'invalid_request');
  }
  refused(await send('content=hello', 'application/x-www-form-urlencoded'), 415, 'unsupported_media_type');
  refused(await send('hello', 'text/plain'), 415, 'unsupported_media_type');
  data(await send('{"content":"with a charset"}', 'application/json; charset=utf-8'), 201);
});

test('a body beyond any bound is refused', async () => {
  const { alice, path } = await aliceAndBob();
  refused(await post(alice, path, { content: 'a', metadata: { much: 'x'.repeat(4 * 1024 * 1024) } }), 413, 'payload_too_large');
});

test('metadata is an object of at most 16 KiB and 16 levels', async () => {
  const { alice, path } = await aliceAndBob();
  const nested = (levels) => (levels === 1 ? {} : { in: nested(levels - 1) });
  for (const metadata of [{ much: 'x'.repeat(17 * 1024) }, nested(17), { zero: 'a\u0000b' }]) {
    refused(await post(alice, path, { content: 'a', metadata }), 400, 'invalid_request', 'metadata');
  }
  for (const metadata of [{ much: 'x'.repeat(15 * 1024) }, nested(16), {}]) {
    assert.deepEqual(data(await post(alice, path, { content: 'a', metadata }), 201).message.metadata, metadata);
  }
});

test('unknown routes and methods are refused in the envelope', async () => {
  const { alice, chat } = await aliceAndBob();
  for (const path of ['/api/nothing', '/api/chat/one/two/three', `/api/chat/${chat._id}/nothing`]) {
    refused(await get(alice, path), 404, 'not_found');
  }
  refused(await ask(api(0), 'DELETE', '/api/chat', { token: alice.token }), 405, 'method_not_allowed');
});

test('through the balancer the answers are the same', async () => {
  const { alice, bob, chat, path } = await aliceAndBob();
  const message = await say(alice, chat, 'hello', cluster.url);
  assert.deepEqual(contents(data(await get(bob, path, cluster.url))), [message.content]);
  refused(await get(bob, '/api/nothing', cluster.url), 404, 'not_found');
});
