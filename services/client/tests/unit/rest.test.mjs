// Requests as the interface wants them, and answers as they were recorded.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Rest, prepare } from '../../dist/esm/rest.js';
import { Tokens } from '../../dist/esm/token.js';
import { Backoff, retryAfter } from '../../dist/esm/waiting.js';
import { chance, stillness } from './recorded.mjs';

test('ids of the host are encoded, and what is not given is not asked', () => {
  const removal = prepare('removeParticipant', { path: { id: 'c', userId: 'auth0|a/b?c' } });
  assert.deepEqual([removal.method, removal.path], ['DELETE', '/api/chat/c/participants/auth0%7Ca%2Fb%3Fc']);
  assert.equal(prepare('listMessages', { path: { id: 'c' }, query: { limit: 30, before: undefined } }).path, '/api/chat/c/messages?limit=30');
  const send = prepare('sendMessage', { path: { id: 'c' }, body: { content: 'Hi "you"' } });
  assert.deepEqual([send.headers, send.body], [{ 'content-type': 'application/json' }, '{"content":"Hi \\"you\\""}']);
});

test('a form carries the file, text as text and the rest as JSON', () => {
  const file = new File(['x'], 'plan é.txt', { type: 'text/plain' });
  const { body, headers } = prepare('sendFile', { path: { id: 'c' }, form: { file, content: 'Look', metadata: { a: 1 }, replyToMessageId: undefined } });
  assert.deepEqual(headers, {}, 'the boundary is for fetch to say');
  assert.deepEqual([...body.keys()], ['file', 'content', 'metadata']);
  assert.deepEqual([body.get('file').name, body.get('content'), body.get('metadata')], ['plan é.txt', 'Look', '{"a":1}']);
});

test('Retry-After is seconds or a date', () => {
  const now = Date.parse('2026-05-29T12:00:00.000Z');
  assert.equal(retryAfter('17', now), 17_000);
  assert.equal(retryAfter('0.5', now), 500);
  assert.equal(retryAfter('Fri, 29 May 2026 12:00:30 GMT', now), 30_000);
  assert.equal(retryAfter('Fri, 29 May 2026 11:00:00 GMT', now), 0);
  for (const nothing of [null, '', 'soon']) assert.equal(retryAfter(nothing, now), null);
});

test('pauses grow to a bound, and differ from client to client', () => {
  const pauses = (seed) => {
    const backoff = new Backoff(500, 8_000, chance(seed));
    return Array.from({ length: 12 }, () => backoff.next());
  };
  const [one, other] = [pauses(1), pauses(2)];
  one.forEach((pause, index) => {
    const whole = Math.min(500 * 2 ** index, 8_000);
    assert.ok(pause >= whole / 2 && pause <= whole, `${index}: ${pause}`);
  });
  assert.notDeepEqual(one, other);
});

test('what is asked until it is answered goes four at a time, and a refusal ends it', async () => {
  const around = stillness();
  const tried = new Map();
  let [running, most] = [0, 0];
  const fetch = async (path) => {
    running += 1;
    most = Math.max(most, running);
    await new Promise(setImmediate);
    running -= 1;
    const tries = (tried.get(path) ?? 0) + 1;
    tried.set(path, tries);
    if (path.includes('/gone/')) return Response.json({ success: false, error: { code: 'chat_not_found', message: 'no' }, requestId: 'r-7' }, { status: 404 });
    if (tries === 1) throw new TypeError('fetch failed');
    if (tries === 2) return new Response('<html>Bad gateway</html>', { status: 502, headers: { 'retry-after': '3' } });
    return Response.json({ success: true, data: { path } });
  };
  const rest = new Rest({ url: '', tokens: new Tokens(() => 'token', around), fetch, timeoutMs: 1_000, around });
  const pages = await Promise.all(Array.from({ length: 40 }, (_, number) => rest.persist('getChat', { path: { id: `${number}` } })));
  assert.deepEqual(pages.map(({ path }) => path), Array.from({ length: 40 }, (_, number) => `/api/chat/${number}/info`));
  assert.equal(most, 4);
  assert.ok(around.pauses.filter((pause) => pause >= 3_000).length >= 40, 'as the server asks');
  await assert.rejects(rest.persist('listMessages', { path: { id: 'gone' } }), { status: 404, code: 'chat_not_found', requestId: 'r-7' });
  assert.equal(tried.get('/api/chat/gone/messages'), 1);
});
