// A send has one outcome, by its deadline; sends of one chat keep their order.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { ParleyError, SendError } from '@parley/client';
import { Outbox } from '../../dist/esm/outbox.js';
import { recorded, stillness } from './recorded.mjs';

const { message } = recorded('new-message')[1];
const unreachable = () => new ParleyError({ code: 'network', message: 'The server could not be reached' });
const refused = (status, code, more = {}) => new ParleyError({ status, code, message: code, ...more });

function outbox(around = stillness(), more = {}) {
  return new Outbox({ around, timeoutMs: 10_000, deadlineMs: 120_000, capacity: 100, ...more });
}

/** Fails with these, one after the other, and then succeeds. */
function failing(...failures) {
  const attempt = async () => {
    attempt.count += 1;
    const failure = failures.shift();
    if (failure) throw failure;
    return message;
  };
  attempt.count = 0;
  return attempt;
}

const outcome = async (promise) => promise.then(() => assert.fail('was sent'), (error) => error);

test('what passes by itself is tried again, after what the server asks for', async () => {
  const around = stillness();
  const retries = [];
  const attempt = failing(unreachable(), refused(503, 'unavailable', { retryAfterMs: 1_000 }), refused(429, 'rate_limited', { retryAfterMs: 7_000 }));
  const sent = await outbox(around).send('c-1', attempt, { onRetry: (retry) => retries.push(retry) });
  assert.equal(sent, message);
  assert.equal(attempt.count, 4);
  assert.deepEqual(retries.map(({ attempt: number, error }) => [number, error.code]), [[2, 'network'], [3, 'unavailable'], [4, 'rate_limited']]);
  assert.ok(around.pauses[0] >= 250 && around.pauses[0] <= 500, `${around.pauses}`);
  assert.ok(around.pauses[1] >= 1_000 && around.pauses[2] >= 7_000, `${around.pauses}`);
});

test('a refusal is final, and certain where no answer was lost before', async () => {
  for (const [before, mayBeSent] of [[[], false], [[refused(429, 'rate_limited')], false], [[unreachable()], true], [[refused(500, 'internal')], true]]) {
    const error = await outcome(outbox().send('c-1', failing(...before, refused(403, 'not_participant', { requestId: 'r-1' }))));
    assert.ok(error instanceof SendError && error instanceof ParleyError);
    assert.deepEqual([error.code, error.status, error.requestId], ['not_participant', 403, 'r-1']);
    assert.deepEqual([error.attempts, error.mayBeSent, error.clientMessageId], [before.length + 1, mayBeSent, 'c-1']);
  }
});

test('by the deadline there is an outcome, and never a pause beyond it', async () => {
  const around = stillness();
  const always = async () => {
    around.at += 10_000;
    throw unreachable();
  };
  const error = await outcome(outbox(around).send('c-1', always));
  assert.deepEqual([error.code, error.mayBeSent], ['network', true]);
  assert.ok(around.at - 1_000_000 <= 130_000, 'the last try may end a little later');
  const limited = await outcome(outbox(around).send('c-2', failing(refused(429, 'rate_limited', { retryAfterMs: 300_000 }))));
  assert.deepEqual([limited.code, limited.attempts, limited.retryAfterMs, limited.mayBeSent], ['rate_limited', 1, 300_000, false]);
});

test('messages keep the order in which they were written, and a failed one holds nobody up', async () => {
  const box = outbox();
  const order = [];
  const sends = ['a', 'b', 'c'].map((name, index) => box.send(name, async () => {
    order.push(name);
    if (index === 0 && order.length < 3) throw unreachable();
    if (index === 1) throw refused(400, 'invalid_request');
    return message;
  }).catch((error) => error.code));
  assert.deepEqual(await Promise.all(sends), [message, 'invalid_request', message]);
  assert.deepEqual(order, ['a', 'a', 'a', 'b', 'c']);
});

test('i9: the queue is bounded, and says so', async () => {
  const box = outbox(stillness(), { capacity: 2 });
  let open;
  const gate = new Promise((resolve) => { open = resolve; });
  const held = [box.send('a', () => gate), box.send('b', async () => message)];
  const error = await outcome(box.send('c', async () => message));
  assert.deepEqual([error.code, error.attempts, error.mayBeSent], ['queue_full', 0, false]);
  open(message);
  await Promise.all(held);
  assert.equal(await box.send('d', async () => message), message, 'there is room again');
});

test('given up before its turn, it was certainly not sent; given up during a try, it may be', async () => {
  const early = await outcome(outbox().send('a', failing(), { signal: AbortSignal.abort() }));
  assert.deepEqual([early.code, early.attempts, early.mayBeSent], ['aborted', 0, false]);
  const during = await outcome(outbox().send('b', failing(new ParleyError({ code: 'aborted', message: 'given up' }))));
  assert.deepEqual([during.code, during.attempts, during.mayBeSent], ['aborted', 1, true]);
});
