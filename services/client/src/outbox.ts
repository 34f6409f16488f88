import { ParleyError, SendError, asParleyError } from './errors.js';
import type { Message } from './schema.js';
import { Backoff, aborted } from './waiting.js';
import type { Surroundings } from './waiting.js';

export interface SendOptions {
  /** Gives up; what was on its way may still arrive. */
  signal?: AbortSignal;
  /** How long, from the call on, the send is tried. */
  deadlineMs?: number;
  /** Told before each further try. */
  onRetry?: (retry: { attempt: number; pauseMs: number; error: ParleyError }) => void;
}

/** One try: resolves with the message once it is committed. */
export type Try = (options: { signal: AbortSignal | undefined; timeoutMs: number }) => Promise<Message>;

export interface OutboxSettings {
  around: Surroundings;
  /** How long one try may take. */
  timeoutMs: number;
  deadlineMs: number;
  /** How many sends may wait. */
  capacity: number;
}

/**
 * The sends of one chat, one after another, so that messages stand in the order in which they were written even if one
 * of them has to be tried again. Every send has its outcome by its deadline.
 */
export class Outbox {
  readonly #settings: OutboxSettings;
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(settings: OutboxSettings) {
    this.#settings = settings;
  }

  async send(clientMessageId: string, attempt: Try, options: SendOptions = {}): Promise<Message> {
    const { around, deadlineMs, capacity } = this.#settings;
    if (this.#waiting >= capacity) {
      const failure = { code: 'queue_full', message: `${capacity} messages of this chat are waiting already` };
      throw new SendError(failure, { clientMessageId, attempts: 0, mayBeSent: false });
    }
    const endsAt = around.now() + (options.deadlineMs ?? deadlineMs);
    this.#waiting += 1;
    const turn = this.#last.then(() => this.#persist(clientMessageId, attempt, endsAt, options));
    // Whatever comes of it, the next one has its turn.
    this.#last = turn.then(() => {}, () => {});
    try {
      return await turn;
    } finally {
      this.#waiting -= 1;
    }
  }

  async #persist(clientMessageId: string, attempt: Try, endsAt: number, options: SendOptions): Promise<Message> {
    const { around, timeoutMs } = this.#settings;
    const backoff = new Backoff(500, 8_000, around.random);
    let attempts = 0;
    let mayBeSent = false;
    const give = (error: ParleyError): SendError => new SendError({ ...failureOf(error) }, { clientMessageId, attempts, mayBeSent });
    for (;;) {
      if (options.signal?.aborted) throw give(aborted(options.signal));
      const left = endsAt - around.now();
      if (left <= 0) throw give(new ParleyError({ code: 'deadline', message: 'The message could not be sent in time' }));
      attempts += 1;
      let error: ParleyError;
      try {
        return await attempt({ signal: options.signal, timeoutMs: Math.min(timeoutMs, left) });
      } catch (thrown) {
        error = asParleyError(thrown);
      }
      mayBeSent ||= error.isUncertain;
      const pauseMs = Math.max(backoff.next(), error.retryAfterMs ?? 0);
      // A pause beyond the deadline only delays the outcome; the app is told how long it would have been.
      if (!error.isTransient || around.now() + pauseMs >= endsAt) throw give(error);
      options.onRetry?.({ attempt: attempts + 1, pauseMs, error });
      try {
        await around.pause(pauseMs, options.signal);
      } catch (stopped) {
        throw give(asParleyError(stopped));
      }
    }
  }
}

function failureOf(error: ParleyError): ConstructorParameters<typeof ParleyError>[0] {
  const { status, code, message, details, requestId, retryAfterMs } = error;
  return { status, code, message, details, requestId, retryAfterMs, cause: error };
}
