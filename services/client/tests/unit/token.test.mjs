// A token is asked for once, renewed in time, and replaced when it was refused.

import assert from 'node:assert/strict';
import { test } from 'node:test';
import { Tokens, expiryOf, renewalOf } from '../../dist/esm/token.js';
import { stillness } from './recorded.mjs';

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const token = (claims) => `${part({ alg: 'HS256' })}.${part(claims)}.signature`;

test('the end of a token is read from what it says', () => {
  assert.equal(expiryOf(token({ sub: 'alice', exp: 1_700_000_000 })), 1_700_000_000_000);
  assert.equal(expiryOf(`Bearer ${token({ name: 'Zoë ✓ ÿÿÿ???>>>', exp: 12.5 })}`), 12_500, 'base64url, and UTF-8 in other claims');
  for (const without of ['', 'opaque', 'a.b.c', token({ sub: 'alice' }), token({ exp: 'soon' }), token(null)]) {
    assert.equal(expiryOf(without), null, without);
  }
});

test('a token is renewed a minute, or a tenth of its time, before its end', () => {
  const at = (seconds) => token({ exp: seconds });
  assert.equal(renewalOf(at(3_600), 0), 3_540_000);
  assert.equal(renewalOf(at(10), 0), 9_000);
  // This clock is wrong, or the token is: asking for another one at each request would help nobody.
  assert.equal(renewalOf(at(10), 10_000), null);
});

test('many askers, one question; the next one when it is about to expire', async () => {
  const around = stillness();
  let asked = 0;
  const tokens = new Tokens(async () => {
    asked += 1;
    return token({ exp: (around.at + 100_000) / 1000, n: asked });
  }, around);
  const renewed = [];
  tokens.onRenewed = (other) => renewed.push(other);
  const all = await Promise.all(Array.from({ length: 20 }, () => tokens.current()));
  assert.equal(new Set(all).size, 1);
  assert.equal(asked, 1);
  around.at += 89_000;
  assert.equal(await tokens.current(), all[0]);
  around.at += 2_000;
  const other = await tokens.current();
  assert.notEqual(other, all[0]);
  assert.deepEqual([asked, renewed], [2, [other]]);
});

test('instead of a refused token another one is asked for; what others were refused before is not', async () => {
  const given = ['first', 'second', 'third'];
  const tokens = new Tokens(() => given.shift(), stillness());
  assert.equal(await tokens.current(), 'first');
  assert.equal(await tokens.instead('first'), 'second');
  assert.equal(await tokens.instead('first'), 'second', 'it is another one already');
  assert.equal(await tokens.instead('second'), 'third');
});

test('a question that failed is put again', async () => {
  let asked = 0;
  const tokens = new Tokens(() => {
    asked += 1;
    if (asked === 1) throw new Error('no network');
    return 'second';
  }, stillness());
  await assert.rejects(tokens.current(), /no network/u);
  assert.equal(await tokens.current(), 'second');
});
