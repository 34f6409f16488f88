// Tokens, as an app's own backend would sign them.

import crypto from 'k6/crypto';
import encoding from 'k6/encoding';
import { secret, tokens } from './settings.js';

const part = (value) => encoding.b64encode(JSON.stringify(value), 'rawurl');

/** A token that lasts longer than any run. */
export function tokenOf(user, role = 'user') {
  if (tokens) {
    const token = tokens[role === 'service' ? 'service' : user];
    if (!token) throw new Error(`PARLEY_TOKENS has no token of ${user}`);
    return token;
  }
  if (!secret) throw new Error('set PARLEY_JWT_SECRET, or PARLEY_TOKENS');
  const now = Math.floor(Date.now() / 1000);
  const claims = { sub: user, name: user, role, iat: now, exp: now + 24 * 3600 };
  const said = `${part({ alg: 'HS256', typ: 'JWT' })}.${part(claims)}`;
  return `${said}.${crypto.hmac('sha256', secret, said, 'base64rawurl')}`;
}
