import type { FailureDetails } from './schema.js';

/** What an error is made of. */
export interface Failure {
  /** The HTTP status; 0 where there was no answer. */
  status?: number;
  /** The server's stable word; or `network`, `timeout`, `aborted`, `deadline`, `queue_full`, `closed`, `http_<status>`. */
  code: string;
  message: string;
  details?: FailureDetails | null;
  requestId?: string | null;
  /** What the server asks to wait before the next try. */
  retryAfterMs?: number | null;
  cause?: unknown;
}

/** A request that was refused, or that nobody answered. */
export class ParleyError extends Error {
  readonly status: number;
  readonly code: string;
  readonly details: FailureDetails | null;
  readonly requestId: string | null;
  readonly retryAfterMs: number | null;

  constructor(failure: Failure) {
    super(failure.message, { cause: failure.cause });
    this.name = 'ParleyError';
    this.status = failure.status ?? 0;
    this.code = failure.code;
    this.details = failure.details ?? null;
    this.requestId = failure.requestId ?? null;
    this.retryAfterMs = failure.retryAfterMs ?? null;
  }

  /** Whether the same request may well succeed a little later. */
  get isTransient(): boolean {
    return this.code === 'network' || this.code === 'timeout' || this.status === 429 || this.status >= 500;
  }

  /** Whether the server may have done what was asked all the same. */
  get isUncertain(): boolean {
    return this.code === 'network' || this.code === 'timeout' || this.code === 'aborted' || this.status >= 500;
  }
}

/** A message that was not sent, as far as is known. */
export class SendError extends ParleyError {
  /** Sent again under this id, the message is there once, whatever became of the tries before. */
  readonly clientMessageId: string;
  /** How often it was tried. */
  readonly attempts: number;
  /** Whether it may be there all the same: the answer of a try was lost. */
  readonly mayBeSent: boolean;

  constructor(failure: Failure, send: { clientMessageId: string; attempts: number; mayBeSent: boolean }) {
    super(failure);
    this.name = 'SendError';
    this.clientMessageId = send.clientMessageId;
    this.attempts = send.attempts;
    this.mayBeSent = send.mayBeSent;
  }
}

/** Whatever was thrown, as an error of this package. */
export function asParleyError(error: unknown): ParleyError {
  if (error instanceof ParleyError) return error;
  const message = error instanceof Error ? error.message : String(error);
  return new ParleyError({ code: 'network', message, cause: error });
}
