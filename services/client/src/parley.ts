import type { ManagerOptions, SocketOptions } from 'socket.io-client';
import { Chat } from './chat.js';
import type { Host } from './chat.js';
import { Connection } from './connection.js';
import { Emitter } from './emitter.js';
import type { ChatEvents, ParleyEvents, StateChange } from './events.js';
import { Rest } from './rest.js';
import type { Input } from './rest.js';
import type { Chat as ChatObject, ChatId, Chats, CreateChat, Resync, UserEvents } from './schema.js';
import { Tokens } from './token.js';
import type { GetToken } from './token.js';
import { world } from './waiting.js';

/** The server answers a join within 20 s or closes the connection; past that, coming back is the cure. */
const JOIN_MS = 25_000;
const JOINS_AT_ONCE = 4;
const JOIN_AGAIN_MS = 1_000;
/** No ack of these is waited for; it only must not stay for ever. */
const EMIT_MS = 5_000;

export interface ParleyOptions {
  /** Where Parley is, as `https://chat.example.com`; by default where the page is from. */
  url?: string;
  /** Where the gateways are, if it is elsewhere. */
  socketUrl?: string;
  getToken: GetToken;
  /** Options of `socket.io-client`. `transports` is `['websocket']` by default. */
  io?: Partial<ManagerOptions & SocketOptions>;
  /** Instead of the global `fetch`. */
  fetch?: typeof fetch;
  /** How long one request may take. */
  timeoutMs?: number;
  /** How long a send is tried, unless it says otherwise. */
  sendDeadlineMs?: number;
  /** How many sends of one chat may wait. */
  sendQueue?: number;
}

/** A user's client: one connection, and all chats over it. */
export class Parley extends Emitter<ParleyEvents> {
  /** Every operation of the REST interface: `rest.call('listParticipants', { path: { id } })`. */
  readonly rest: Rest;

  readonly #connection: Connection;
  readonly #host: Host;
  readonly #chats = new Map<ChatId, Chat>();
  readonly #followed = new Set<Chat>();
  readonly #waiting = new Set<Chat>();
  #joining = 0;
  #wasConnected = false;

  constructor(options: ParleyOptions) {
    super();
    const { url = '', timeoutMs = 10_000, sendDeadlineMs = 120_000, sendQueue = 100 } = options;
    const around = world;
    const tokens = new Tokens(options.getToken, around);
    const base = url.replace(/\/+$/u, '');
    const ask: typeof fetch = options.fetch ?? ((input, init) => fetch(input, init));
    this.rest = new Rest({ url: base, tokens, fetch: ask, timeoutMs, around });
    this.#connection = new Connection({ url: options.socketUrl ?? options.url, tokens, options: options.io ?? {}, around });
    this.#connection.onState = (change) => this.tell('state', change);
    this.#connection.onConnected = () => this.#onConnected();
    this.#connection.onDisconnected = () => this.#onDisconnected();
    this.#connection.onEvent = (name, payload) => this.#onEvent(name, payload);
    this.#host = {
      rest: this.rest,
      outbox: { around, timeoutMs, deadlineMs: sendDeadlineMs, capacity: sendQueue },
      now: around.now,
      follow: (chat) => this.#follow(chat),
      unfollow: (chat) => this.#unfollow(chat),
      followLater: (chat) => void setTimeout(() => this.#followed.has(chat) && this.#follow(chat), JOIN_AGAIN_MS),
      emit: (event, argument) => this.#connection.ask(event, argument, EMIT_MS, () => {}),
      tell: (name, event) => this.#tellOfChat(name, event),
    };
  }

  get state(): StateChange {
    return this.#connection.state;
  }

  /** Connects, and stays connected; also once more after `unauthorized`. Opening a chat does it too. */
  connect(): void {
    this.#connection.connect();
  }

  /** Closes every chat and the connection. */
  close(): void {
    for (const chat of [...this.#chats.values()]) chat.close();
    this.#connection.disconnect();
    this.#wasConnected = false;
  }

  /** Closes the transport as a lost network would; it comes back by itself. For tests and demonstrations. */
  dropConnection(): void {
    this.#connection.drop();
  }

  /** The chat of this id, always the same object. It is not live before `open()`. */
  chat(id: ChatId): Chat {
    let chat = this.#chats.get(id);
    if (!chat) this.#chats.set(id, (chat = new Chat(id, this.#host)));
    return chat;
  }

  /** A page of the user's chats, the one with the newest message first. */
  listChats(query: NonNullable<Input<'listChats'>['query']> = {}): Promise<Chats> {
    return this.rest.call('listChats', { query });
  }

  async createChat(body: CreateChat): Promise<ChatObject> {
    return (await this.rest.call('createChat', { body })).chat;
  }

  // ---- joining

  #follow(chat: Chat): void {
    this.#followed.add(chat);
    this.#waiting.add(chat);
    this.#connection.connect();
    this.#joinWaiting();
  }

  #unfollow(chat: Chat): void {
    this.#followed.delete(chat);
    this.#waiting.delete(chat);
  }

  /** A few at a time, so that one user with many chats is no storm. */
  #joinWaiting(): void {
    for (const chat of this.#waiting) {
      if (this.#joining >= JOINS_AT_ONCE || !this.#connection.isConnected) return;
      this.#waiting.delete(chat);
      this.#joining += 1;
      this.#join(chat);
    }
  }

  #join(chat: Chat): void {
    const [argument, answered] = chat.join();
    this.#connection.ask('join-chat-room', argument, JOIN_MS, (ack) => {
      this.#joining -= 1;
      // One that stands and does not answer is given up for another.
      if (ack === null && this.#connection.isConnected) this.#connection.drop();
      answered(ack as Parameters<typeof answered>[0]);
      this.#joinWaiting();
    });
  }

  #onConnected(): void {
    for (const chat of this.#followed) this.#waiting.add(chat);
    this.#joinWaiting();
    if (this.#wasConnected) this.tell('chats-changed', { reason: 'reconnected' });
    this.#wasConnected = true;
  }

  #onDisconnected(): void {
    this.#waiting.clear();
    for (const chat of this.#followed) chat.onDisconnected();
  }

  // ---- what the server tells

  #onEvent(name: string, payload: unknown): void {
    if (typeof payload !== 'object' || payload === null) return;
    if (name === 'resync') return this.#onResync(payload as Resync);
    if (name === 'chat-created') return this.tell(name, payload as UserEvents['chat-created']);
    if (name === 'chat-removed') {
      const removed = payload as UserEvents['chat-removed'];
      this.#chats.get(removed.chatId)?.onRemoved(removed);
      return this.tell(name, removed);
    }
    if (!('chatId' in payload) || typeof payload.chatId !== 'string' || !isOfChats(name)) return;
    this.#chats.get(payload.chatId)?.onEvent(name, payload as ChatEvents[typeof name]);
  }

  #onResync(resync: Resync): void {
    if (resync.chatId !== null) return this.#chats.get(resync.chatId)?.onResync(resync);
    // Whoever was removed from a chat, or came back to it, may not have been told: the server is asked again.
    for (const chat of this.#followed) this.#waiting.add(chat);
    this.#joinWaiting();
    this.tell('chats-changed', { reason: resync.reason });
  }

  #tellOfChat<Name extends keyof ChatEvents>(name: Name, event: ChatEvents[Name]): void {
    this.tell(name, event as ParleyEvents[Name]);
  }
}

type ServerEvent = Exclude<keyof ChatEvents, 'joined' | 'reset' | 'closed'>;

/** Named one by one, so that a new event of the server's is noticed here when the types are made anew. */
const OF_CHATS: Record<ServerEvent, true> = {
  'new-message': true,
  'message-edited': true,
  'message-deleted': true,
  'participants-added': true,
  'participant-removed': true,
  'chat-updated': true,
  'messages-read': true,
  'user-typing': true,
};

function isOfChats(name: string): name is ServerEvent {
  return Object.hasOwn(OF_CHATS, name);
}
