import { ParleyError, asParleyError } from './errors.js';
import { operations } from './schema.js';
import type { FailureDetails, Operations } from './schema.js';
import type { Tokens } from './token.js';
import { Backoff, Turns, aborted, retryAfter } from './waiting.js';
import type { Surroundings } from './waiting.js';

/** The operations that answer in the envelope; a file's bytes come by `download`. */
export type Operation = Exclude<keyof Operations, 'downloadFile' | 'describeFile'>;

/** What an operation takes: its `path`, `query`, `body` … */
export type Input<O extends Operation> = Omit<Operations[O], 'data'>;

export interface CallOptions {
  signal?: AbortSignal | undefined;
  /** How long one try may take. */
  timeoutMs?: number | undefined;
}

/** One request, put together. */
interface Request {
  method: string;
  path: string;
  headers: Record<string, string>;
  body: string | FormData | undefined;
}

interface Parts {
  path?: Record<string, string>;
  query?: Record<string, string | number | boolean | undefined>;
  header?: Record<string, string>;
  body?: unknown;
  form?: object;
}

export interface RestSettings {
  url: string;
  tokens: Tokens;
  fetch: typeof fetch;
  timeoutMs: number;
  around: Surroundings;
}

/** How many requests of those that are made until they are answered are under way: forty chats reload as four. */
const AT_ONCE = 4;

/** Parley's REST interface, with the app's token. */
export class Rest {
  readonly #settings: RestSettings;
  readonly #turns = new Turns(AT_ONCE);

  constructor(settings: RestSettings) {
    this.#settings = settings;
  }

  /** Asks once; only a token that is refused is renewed, and the request made again. Gives the `data` of the envelope. */
  async call<O extends Operation>(operation: O, input: Input<O>, options: CallOptions = {}): Promise<Operations[O]['data']> {
    const request = prepare(operation, input as Parts);
    const { body } = await this.#authorised(request, options, readEnvelope);
    return body as Operations[O]['data'];
  }

  /** Asks until there is an answer: for what changes nothing. */
  async persist<O extends Operation>(operation: O, input: Input<O>, options: CallOptions = {}): Promise<Operations[O]['data']> {
    const { around } = this.#settings;
    const backoff = new Backoff(500, 10_000, around.random);
    for (;;) {
      try {
        return await this.#turns.run(() => this.call(operation, input, options));
      } catch (error) {
        const failure = asParleyError(error);
        if (!failure.isTransient) throw failure;
        await around.pause(Math.max(backoff.next(), failure.retryAfterMs ?? 0), options.signal);
      }
    }
  }

  /** The bytes of a file, by the `url` of its attachment. */
  async download(url: string, options: CallOptions = {}): Promise<Blob> {
    const request = { method: 'GET', path: url, headers: {}, body: undefined };
    return (await this.#authorised(request, options, readFile)).body;
  }

  async #authorised<T>(request: Request, options: CallOptions, read: Read<T>): Promise<{ body: T }> {
    const { tokens } = this.#settings;
    const token = await this.#token(tokens.current());
    try {
      return await this.#ask(request, token, options, read);
    } catch (error) {
      if (!(error instanceof ParleyError) || error.status !== 401) throw error;
      const other = await this.#token(tokens.instead(token));
      if (other === token) throw error;
      return this.#ask(request, other, options, read);
    }
  }

  /** What the app's `getToken` throws is passed on as it is. */
  async #token(asked: Promise<string>): Promise<string> {
    try {
      return await asked;
    } catch (cause) {
      throw new ParleyError({ code: 'network', message: 'The app gives no token', cause });
    }
  }

  async #ask<T>(request: Request, token: string, options: CallOptions, read: Read<T>): Promise<{ body: T }> {
    const { url, fetch, timeoutMs, around } = this.#settings;
    const { signal } = options;
    if (signal?.aborted) throw aborted(signal);
    const ending = new AbortController();
    const stop = (): void => ending.abort();
    signal?.addEventListener('abort', stop, { once: true });
    const timer = setTimeout(stop, options.timeoutMs ?? timeoutMs);
    try {
      const response = await fetch(url + request.path, {
        method: request.method,
        headers: { ...request.headers, authorization: `Bearer ${token.replace(/^Bearer /u, '')}` },
        signal: ending.signal,
        ...(request.body === undefined ? {} : { body: request.body }),
      });
      return { body: await read(response, around.now()) };
    } catch (error) {
      if (error instanceof ParleyError) throw error;
      if (signal?.aborted) throw aborted(signal);
      if (ending.signal.aborted) throw new ParleyError({ code: 'timeout', message: 'The server did not answer in time', cause: error });
      throw new ParleyError({ code: 'network', message: 'The server could not be reached', cause: error });
    } finally {
      clearTimeout(timer);
      signal?.removeEventListener('abort', stop);
    }
  }
}

type Read<T> = (response: Response, now: number) => Promise<T>;

interface Envelope {
  success?: boolean;
  data?: unknown;
  error?: { code?: string; message?: string; details?: FailureDetails | null };
  requestId?: string;
}

async function readEnvelope(response: Response, now: number): Promise<unknown> {
  const envelope = parse(await response.text());
  if (response.ok && envelope.success === true) return envelope.data;
  throw refusal(response, envelope, now);
}

async function readFile(response: Response, now: number): Promise<Blob> {
  if (response.ok) return response.blob();
  throw refusal(response, parse(await response.text()), now);
}

function refusal(response: Response, { error, requestId }: Envelope, now: number): ParleyError {
  return new ParleyError({
    status: response.status,
    code: error?.code ?? `http_${response.status}`,
    message: error?.message ?? `The server answered ${response.status}`,
    details: error?.details ?? null,
    requestId: requestId ?? response.headers.get('x-request-id'),
    retryAfterMs: retryAfter(response.headers.get('retry-after'), now),
  });
}

/** Whatever is not the envelope, a proxy's page among them, says nothing. */
function parse(text: string): Envelope {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null ? value : {};
  } catch {
    return {};
  }
}

/** The method, the path with its ids encoded, the query and the body of an operation. */
export function prepare(operation: Operation, { path = {}, query = {}, header = {}, body, form }: Parts): Request {
  const [method, template] = operations[operation];
  const filled = template.replace(/\{(\w+)\}/gu, (_, name: string) => encodeURIComponent(path[name] ?? ''));
  const asked = new URLSearchParams();
  for (const [name, value] of Object.entries(query)) if (value !== undefined) asked.set(name, String(value));
  const headers: Record<string, string> = { ...header };
  let content: string | FormData | undefined;
  if (form !== undefined) {
    content = formOf(form);
  } else if (body !== undefined) {
    headers['content-type'] = 'application/json';
    content = JSON.stringify(body);
  }
  return { method, path: asked.size > 0 ? `${filled}?${asked}` : filled, headers, body: content };
}

function formOf(fields: object): FormData {
  const form = new FormData();
  for (const [name, value] of Object.entries(fields) as [string, unknown][]) {
    if (value === undefined || value === null) continue;
    if (value instanceof Blob) form.set(name, value);
    else form.set(name, typeof value === 'string' ? value : JSON.stringify(value));
  }
  return form;
}
