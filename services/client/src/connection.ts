import { io } from 'socket.io-client';
import type { ManagerOptions, Socket, SocketOptions } from 'socket.io-client';
import { ParleyError, asParleyError } from './errors.js';
import type { StateChange } from './events.js';
import type { Tokens } from './token.js';
import { Backoff } from './waiting.js';
import type { Surroundings } from './waiting.js';

/** How often in a row a token may be refused before the app has to act. */
const REFUSALS = 3;
/** How long a token's renewal may wait for its ack; a server that knows none lets the token expire, and is met anew. */
const REFRESH_MS = 10_000;
/** After a renewal that failed, or with a token that says no time. */
const RENEW_AGAIN_MS = 5_000;
/** Browsers count in 32 bits. */
const LONGEST_TIMER_MS = 2 ** 31 - 1;

export interface ConnectionSettings {
  url: string | undefined;
  tokens: Tokens;
  options: Partial<ManagerOptions & SocketOptions>;
  around: Surroundings;
}

/** An ack; `null`: none came, or the connection went. */
export type Answered = (ack: unknown) => void;

/** One stock Socket.IO connection that comes back whatever ended it, with a token that counts. */
export class Connection {
  onState: (change: StateChange) => void = () => {};
  /** Connected, for the first time or again. */
  onConnected: () => void = () => {};
  onDisconnected: () => void = () => {};
  onEvent: (name: string, payload: unknown) => void = () => {};

  readonly #socket: Socket;
  readonly #tokens: Tokens;
  readonly #around: Surroundings;
  readonly #backoff: Backoff;
  #wanted = false;
  #refusals = 0;
  #state: StateChange = { state: 'idle', transport: null, error: null };
  #wasConnected = false;
  /** What this connection was opened or renewed with. */
  #token: string | null = null;
  #comeBack: ReturnType<typeof setTimeout> | undefined;
  #renewal: ReturnType<typeof setTimeout> | undefined;

  constructor({ url, tokens, options, around }: ConnectionSettings) {
    this.#tokens = tokens;
    this.#around = around;
    this.#backoff = new Backoff(1_000, 30_000, around.random);
    const all = { transports: ['websocket'], forceNew: true, ...options, autoConnect: false, auth: this.#authenticate };
    this.#socket = url === undefined ? io(all) : io(url, all);
    this.#socket.on('connect', () => this.#onConnect());
    this.#socket.on('disconnect', (reason) => this.#onDisconnect(reason));
    this.#socket.on('connect_error', (error) => void this.#onRefusal(error));
    this.#socket.onAny((name: string, payload: unknown) => this.onEvent(name, payload));
    this.#socket.io.on('reconnect_attempt', () => this.#tell('reconnecting', this.#state.error));
    tokens.onRenewed = (token) => this.#refresh(token);
  }

  get state(): StateChange {
    return this.#state;
  }

  get isConnected(): boolean {
    return this.#socket.connected;
  }

  connect(): void {
    this.#refusals = 0;
    if (this.#wanted && this.#state.state !== 'unauthorized') return;
    this.#wanted = true;
    this.#tell('connecting', null);
    this.#socket.connect();
  }

  disconnect(): void {
    this.#wanted = false;
    clearTimeout(this.#comeBack);
    clearTimeout(this.#renewal);
    this.#socket.disconnect();
    this.#tell('idle', null);
  }

  /** Closes the transport as a lost network would; the connection comes back by itself. */
  drop(): void {
    this.#socket.io.engine?.close();
  }

  /** Asks, and hands over the ack at once, before any event that came after it. */
  ask(event: string, argument: unknown, timeoutMs: number, answered: Answered): void {
    if (!this.#socket.connected) return answered(null);
    this.#socket.timeout(timeoutMs).emit(event, argument, (error: Error | null, ack: unknown) => answered(error ? null : ack));
  }

  readonly #authenticate = (give: (auth: object) => void): void => {
    const { engine } = this.#socket.io;
    this.#tokens.current().then((token) => {
      // A token that comes too late must not open a later connection a second time.
      if (this.#socket.io.engine !== engine || this.#socket.connected) return;
      this.#token = token;
      give({ token });
    }, (error: unknown) => {
      this.#tell('reconnecting', new ParleyError({ code: 'network', message: 'The app gives no token', cause: error }));
      engine.close();
    });
  };

  #onConnect(): void {
    this.#refusals = 0;
    this.#backoff.reset();
    this.#wasConnected = true;
    this.#planRenewal();
    this.#tell('connected', null);
    this.#socket.io.engine.once('upgrade', () => this.#tell('connected', null));
    this.onConnected();
  }

  #onDisconnect(reason: string): void {
    clearTimeout(this.#renewal);
    this.onDisconnected();
    if (!this.#wanted) return;
    const lost = new ParleyError({ code: 'network', message: `The connection was lost: ${reason}` });
    // What kept it from being opened says more than its end.
    this.#tell('reconnecting', this.#state.state === 'connected' ? lost : this.#state.error ?? lost);
    // After a goodbye of the server a stock client stays away.
    if (!this.#socket.active) this.#comeBackLater();
  }

  async #onRefusal(error: Error & { data?: { code?: string; message?: string } }): Promise<void> {
    const refused = new ParleyError({ code: error.data?.code ?? 'network', message: error.data?.message ?? error.message, cause: error });
    if (this.#socket.active) {
      // The transport failed; the stock client tries again.
      this.#tell(this.#wasConnected ? 'reconnecting' : 'connecting', refused);
      return;
    }
    if (error.message !== 'unauthorized') {
      this.#tell('reconnecting', refused);
      this.#comeBackLater();
      return;
    }
    this.#refusals += 1;
    if (this.#refusals >= REFUSALS) return this.#tell('unauthorized', refused);
    this.#tell('reconnecting', refused);
    try {
      const before = this.#token;
      const other = await this.#tokens.instead(before);
      if (!this.#wanted || this.#socket.active) return;
      if (other !== before && this.#refusals === 1) this.#socket.connect();
      else this.#comeBackLater();
    } catch (cause) {
      this.#tell('reconnecting', asParleyError(cause));
      this.#comeBackLater();
    }
  }

  #comeBackLater(): void {
    clearTimeout(this.#comeBack);
    this.#comeBack = setTimeout(() => {
      if (this.#wanted) this.#socket.connect();
    }, this.#backoff.next());
  }

  #planRenewal(): void {
    clearTimeout(this.#renewal);
    const { renewAt } = this.#tokens;
    if (renewAt === null) return;
    const wait = Math.min(Math.max(renewAt - this.#around.now(), 0), LONGEST_TIMER_MS);
    this.#renewal = setTimeout(() => void this.#renew(), wait);
  }

  /** Asks the app for the next token; `Tokens` tells it to `#refresh`. */
  async #renew(): Promise<void> {
    const { renewAt } = this.#tokens;
    if (renewAt !== null && this.#around.now() < renewAt) return this.#planRenewal();
    try {
      await this.#tokens.instead(this.#token);
    } catch {
      // Once the token is over, the server closes the connection, and the app is told that it gave no other.
    }
    clearTimeout(this.#renewal);
    const next = this.#tokens.renewAt;
    const wait = next === null ? null : Math.max(next - this.#around.now(), RENEW_AGAIN_MS);
    if (wait !== null && this.#socket.connected) {
      this.#renewal = setTimeout(() => void this.#renew(), Math.min(wait, LONGEST_TIMER_MS));
    }
  }

  /** The connection goes on with another token of the same user. */
  #refresh(token: string): void {
    if (!this.#socket.connected || token === this.#token) return;
    this.#token = token;
    this.ask('refresh-token', { token }, REFRESH_MS, () => {});
    this.#planRenewal();
  }

  #tell(state: StateChange['state'], error: ParleyError | null): void {
    const transport = state === 'connected' ? this.#socket.io.engine.transport.name : null;
    const { state: before, transport: transportBefore, error: errorBefore } = this.#state;
    if (state === before && transport === transportBefore && error === errorBefore) return;
    this.#state = { state, transport, error };
    this.onState(this.#state);
  }
}
