// Parley's live side, for one user: one socket, and a place in the room of every chat that is followed.

import { io } from '/vendor/socket.io.esm.min.js';

// The server answers a join within 20 s or closes the connection; past that, coming back is the cure.
const JOIN_DEADLINE_MS = 25_000;
const JOINS_AT_ONCE = 4;

/**
 * Events (CustomEvent, in `detail`):
 * - `state`   { state: connected | reconnecting | offline, transport, gateway, problem }
 * - `message` { chatId, message, version }
 * - `stale`   { chatId }: something may be missing, reload the chat over REST
 * - `refused` { chatId, error: { code, message } }
 */
export class Live extends EventTarget {
  #socket;
  #versionOf;
  #followed = new Set();
  #waiting = [];
  #joining = 0;
  #gateway = null;
  #problem = null;

  /** `versionOf(chatId)`: up to which version the page knows a chat, where to go on after a reconnect; null: it does not. */
  constructor(token, versionOf) {
    super();
    this.#versionOf = versionOf;
    const socket = io({ auth: { token }, transports: ['websocket'], autoConnect: false, reconnectionDelay: 300, reconnectionDelayMax: 3000 });
    this.#socket = socket;

    socket.on('connect', () => {
      this.#problem = null;
      this.#waiting = [...this.#followed];
      this.#tellState();
      this.#joinWaiting();
    });
    socket.on('disconnect', () => {
      this.#gateway = null;
      this.#waiting = [];
      this.#tellState();
    });
    socket.on('connect_error', (error) => {
      // An active socket tries again by itself; one that is not was refused by the server.
      this.#problem = socket.active ? null : { code: error.data?.code ?? error.message, message: error.data?.message ?? error.message };
      this.#tellState();
    });
    socket.on('new-message', ({ chatId, message, version }) => this.#tell('message', { chatId, message, version }));
    socket.on('resync', ({ chatId }) => this.#tell('stale', { chatId }));
    window.addEventListener('offline', () => this.#tellState());
    window.addEventListener('online', () => this.#tellState());
  }

  start() {
    this.#tellState();
    this.#socket.connect();
  }

  /** Closes the transport as a lost network would; the socket comes back by itself. */
  drop() {
    if (this.#socket.connected) this.#socket.io.engine.close();
    else this.#socket.connect();
  }

  /** Joins the chat's room, now and after every reconnect. */
  follow(chatId) {
    if (this.#followed.has(chatId)) return;
    this.#followed.add(chatId);
    if (!this.#socket.connected) return;
    this.#waiting.push(chatId);
    this.#joinWaiting();
  }

  #joinWaiting() {
    while (this.#joining < JOINS_AT_ONCE && this.#waiting.length > 0) {
      this.#joining += 1;
      this.#join(this.#waiting.shift()).finally(() => {
        this.#joining -= 1;
        this.#joinWaiting();
      });
    }
  }

  async #join(chatId) {
    const connection = this.#socket.id;
    const since = this.#versionOf(chatId);
    let ack;
    try {
      ack = await this.#socket.timeout(JOIN_DEADLINE_MS).emitWithAck('join-chat-room', since === null ? { chatId } : { chatId, since });
    } catch {
      // The connection went (the next one joins again), or it is there and does not answer: get another one.
      if (this.#socket.connected && this.#socket.id === connection) this.#socket.io.engine.close();
      return;
    }
    if (this.#socket.id !== connection) return;
    if (!ack.success) {
      this.#followed.delete(chatId);
      this.#tell('refused', { chatId, error: ack.error });
      return;
    }
    if (ack.pod && ack.pod !== this.#gateway) {
      this.#gateway = ack.pod;
      this.#tellState();
    }
    if (ack.resync || since === null) this.#tell('stale', { chatId });
  }

  #tellState() {
    const socket = this.#socket;
    let state = 'offline';
    if (socket.connected) state = 'connected';
    else if (socket.active && navigator.onLine) state = 'reconnecting';
    const transport = socket.connected ? socket.io.engine.transport.name : null;
    this.#tell('state', { state, transport, gateway: this.#gateway, problem: this.#problem });
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}
