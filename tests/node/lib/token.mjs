// Tokens as somebody else's back end would sign them.

import { createHmac } from 'node:crypto';

/** What `causeway dev` and `causeway token` sign with. */
export const DEV_SECRET = 'causeway-development-secret';

const encoded = (value) => Buffer.from(typeof value === 'string' ? value : JSON.stringify(value)).toString('base64url');

export const unix = () => Math.floor(Date.now() / 1000);

/** A JWT with these claims. */
export function signed(claims, { secret = DEV_SECRET, header = { alg: 'HS256', typ: 'JWT' } } = {}) {
  const text = `${encoded(header)}.${encoded(claims)}`;
  const signature = createHmac('sha256', secret).update(text).digest('base64url');
  return `${text}.${signature}`;
}

export const tokenFor = (user, claims = {}, options) => signed({ sub: user, ...claims }, options);
