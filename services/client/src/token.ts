import type { Surroundings } from './waiting.js';

/** Gives a token that counts now. Called when there is none, before one expires, and after one was refused. */
export type GetToken = () => string | Promise<string>;

/** The longest time before its end at which a token is renewed. */
const LEAD_MS = 60_000;

/** The app's token, asked for once however many want it. */
export class Tokens {
  /** Told of each token that took the place of another. */
  onRenewed: (token: string) => void = () => {};

  readonly #getToken: GetToken;
  readonly #around: Surroundings;
  #token: string | null = null;
  #renewAt: number | null = null;
  #asking: Promise<string> | null = null;

  constructor(getToken: GetToken, around: Surroundings) {
    this.#getToken = getToken;
    this.#around = around;
  }

  /** When the token wants renewing; `null` where it does not say. */
  get renewAt(): number | null {
    return this.#renewAt;
  }

  /** The token, a new one if the one at hand is about to expire. */
  async current(): Promise<string> {
    const isFresh = this.#renewAt === null || this.#around.now() < this.#renewAt;
    return this.#token !== null && isFresh ? this.#token : this.#ask();
  }

  /** Another token than the one that was refused. */
  async instead(refused: string | null): Promise<string> {
    return this.#token !== null && this.#token !== refused ? this.#token : this.#ask();
  }

  #ask(): Promise<string> {
    this.#asking ??= this.#renew().finally(() => {
      this.#asking = null;
    });
    return this.#asking;
  }

  async #renew(): Promise<string> {
    const token = await this.#getToken();
    const before = this.#token;
    this.#token = token;
    this.#renewAt = renewalOf(token, this.#around.now());
    if (before !== null && before !== token) this.onRenewed(token);
    return token;
  }
}

/**
 * When a token wants renewing: a tenth of its time, at most a minute, before its end. One that seems to be over already
 * comes from a clock that disagrees with this one; then only the server can say.
 */
export function renewalOf(token: string, now: number): number | null {
  const end = expiryOf(token);
  if (end === null || end <= now) return null;
  return end - Math.min(LEAD_MS, (end - now) / 10);
}

/** The claim `exp` of a JWT, in milliseconds; `null` for what has none. The signature is the server's business. */
export function expiryOf(token: string): number | null {
  const part = token.replace(/^Bearer /u, '').split('.')[1];
  if (part === undefined) return null;
  try {
    const claims: unknown = JSON.parse(atob(part.replaceAll('-', '+').replaceAll('_', '/')));
    const exp = typeof claims === 'object' && claims !== null && 'exp' in claims ? claims.exp : null;
    return typeof exp === 'number' && Number.isFinite(exp) ? exp * 1000 : null;
  } catch {
    return null;
  }
}
