import { ParleyError } from './errors.js';

/** The clock and chance that everything here goes by; tests bring their own. */
export interface Surroundings {
  now(): number;
  random(): number;
  /** Resolves after `ms`; rejects with what the signal gives as its reason. */
  pause(ms: number, signal?: AbortSignal): Promise<void>;
}

export const world: Surroundings = {
  now: () => Date.now(),
  random: () => Math.random(),
  pause: (ms, signal) => new Promise((resolve, reject) => {
    if (signal?.aborted) return reject(aborted(signal));
    const timer = setTimeout(() => {
      signal?.removeEventListener('abort', stop);
      resolve();
    }, ms);
    const stop = (): void => {
      clearTimeout(timer);
      reject(aborted(signal));
    };
    signal?.addEventListener('abort', stop, { once: true });
  }),
};

/** The error of something that the app has given up. */
export function aborted(signal?: AbortSignal): ParleyError {
  return new ParleyError({ code: 'aborted', message: 'The app has given it up', cause: signal?.reason });
}

/** Pauses that double from `first` to `longest`, each shortened by up to half, so that clients do not move as one. */
export class Backoff {
  #next: number;

  constructor(
    private readonly first: number,
    private readonly longest: number,
    private readonly random: () => number,
  ) {
    this.#next = first;
  }

  next(): number {
    const pause = this.#next * (1 - this.random() / 2);
    this.#next = Math.min(this.#next * 2, this.longest);
    return Math.round(pause);
  }

  reset(): void {
    this.#next = this.first;
  }
}

/** So many at a time; the others wait for their turn. */
export class Turns {
  #free: number;
  readonly #waiting: (() => void)[] = [];

  constructor(atOnce: number) {
    this.#free = atOnce;
  }

  async run<T>(work: () => Promise<T>): Promise<T> {
    if (this.#free > 0) this.#free -= 1;
    else await new Promise<void>((resolve) => this.#waiting.push(resolve));
    try {
      return await work();
    } finally {
      const next = this.#waiting.shift();
      if (next) next();
      else this.#free += 1;
    }
  }
}

/** Seconds, or a date: the header `Retry-After` in milliseconds; `null` for anything else. */
export function retryAfter(header: string | null, now: number): number | null {
  if (header === null || header.trim() === '') return null;
  const seconds = Number(header);
  if (Number.isFinite(seconds)) return Math.max(0, seconds * 1000);
  const date = Date.parse(header);
  return Number.isNaN(date) ? null : Math.max(0, date - now);
}

/** A new random id, also where a page is served without TLS and `crypto.randomUUID` does not exist. */
export function randomId(): string {
  if (typeof crypto.randomUUID === 'function') return crypto.randomUUID();
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  return [...bytes].map((byte) => byte.toString(16).padStart(2, '0')).join('');
}
