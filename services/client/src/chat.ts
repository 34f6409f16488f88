import { Emitter } from './emitter.js';
import { ParleyError, asParleyError } from './errors.js';
import type { ChatEvents, JoinAck, Joined, Refusal, Reset } from './events.js';
import { Order } from './order.js';
import type { Position } from './order.js';
import { Outbox } from './outbox.js';
import type { OutboxSettings, SendOptions } from './outbox.js';
import type { Input, Rest } from './rest.js';
import type { ChatId, Chat as ChatObject, FileForm, Message, MessageId, Messages, Read, Resync, SendMessage, Unread } from './schema.js';
import { aborted, randomId } from './waiting.js';

/** How many events wait for a reload; what is more is reloaded once more. */
const HELD = 1_000;
/** The server ends an indicator 6 s after the last `typing-start`. */
const TYPING_EVERY_MS = 3_000;
/** Refusals that pass by themselves; after any other one a join is not tried again. */
const PASSING = new Set(['unavailable', 'rate_limited', 'too_many_attempts', 'too_many_joins']);

export interface OpenOptions {
  /** Everything up to here is known already, as from an earlier page load: what came after is told, nothing is loaded. */
  since?: Position;
  /** How many messages a reset brings, 1–100. */
  limit?: number;
  /** Gives up waiting; the chat is closed then. */
  signal?: AbortSignal;
}

/** What a chat needs of the client around it. */
export interface Host {
  readonly rest: Rest;
  readonly outbox: OutboxSettings;
  now(): number;
  /** Has the chat join as soon as there is a connection, and its turn. */
  follow(chat: Chat): void;
  unfollow(chat: Chat): void;
  /** Has a join, refused for the moment, tried again a little later. */
  followLater(chat: Chat): void;
  emit(event: string, argument: unknown): void;
  tell<Name extends keyof ChatEvents>(name: Name, event: ChatEvents[Name]): void;
}

/** A durable event: it has a place in the chat's order. */
type Durable = ChatEvents['new-message' | 'message-edited' | 'message-deleted' | 'participants-added' | 'participant-removed' | 'chat-updated'];

type HeldEvent = [name: keyof ChatEvents, event: Durable];

/** Where the chat stood when it was taken from the user. */
interface Removal {
  version: number;
  epoch: string;
}

interface Opening {
  resolve(joined: Joined): void;
  reject(error: ParleyError): void;
}

/** One chat: open, it is live, and stays so over lost connections until it is closed. */
export class Chat extends Emitter<ChatEvents> {
  readonly #host: Host;
  readonly #order = new Order();
  readonly #outbox: Outbox;
  /** While it is open; aborting it ends what is under way. */
  #life: AbortController | null = null;
  #opening: Opening[] = [];
  #limit = 50;
  /** What the last join was answered; `null` while there is none on this connection. */
  #live: Joined | null = null;
  #hasJoined = false;
  /** A removal that was told while a join was under way: its answer says whether it is the later of both. */
  #removal: Removal | null = null;
  /** Which try to join counts. */
  #join = 0;
  #reload: { again: boolean; held: HeldEvent[]; reason: Reset['reason'] } | null = null;
  #typedAt: number | null = null;

  constructor(readonly id: ChatId, host: Host) {
    super();
    this.#host = host;
    this.#outbox = new Outbox(host.outbox);
  }

  /** Up to where the app has been told everything: the `since` of a later `open`, also after a reload of the page. */
  get position(): Position | null {
    return this.#order.position;
  }

  get isOpen(): boolean {
    return this.#life !== null;
  }

  /** Whether events come right now: joined, on a connection that stands. */
  get isLive(): boolean {
    return this.#live !== null;
  }

  // ---- being live

  /**
   * Makes the chat live. Without `since` its newest messages come first, as the event `reset`. Resolves once joined;
   * rejects when that is refused. Listeners are best added before.
   */
  open({ since, limit, signal }: OpenOptions = {}): Promise<Joined> {
    if (signal?.aborted) return Promise.reject(aborted(signal));
    if (this.#live !== null) return Promise.resolve(this.#live);
    if (limit !== undefined) this.#limit = limit;
    const opened = new Promise<Joined>((resolve, reject) => this.#opening.push({ resolve, reject }));
    const stop = (): void => this.#end(aborted(signal));
    signal?.addEventListener('abort', stop, { once: true });
    const settled = opened.finally(() => signal?.removeEventListener('abort', stop));
    // An app that does not wait hears of a refusal by `closed`.
    settled.catch(() => {});
    if (this.#life === null) this.#begin(since);
    return settled;
  }

  #begin(since: Position | undefined): void {
    this.#life = new AbortController();
    this.#hasJoined = false;
    this.#order.moveTo(since ?? null);
    if (since) this.#host.follow(this);
    else void this.#load('opened').then((loaded) => loaded && this.#host.follow(this));
  }

  /** Leaves: nothing more is told. Sends go on. */
  close(): void {
    this.#end(new ParleyError({ code: 'closed', message: 'The chat was closed' }));
  }

  #end(error: ParleyError): void {
    if (this.#life === null) return;
    this.#life.abort();
    this.#life = null;
    if (this.#live !== null) this.#host.emit('leave-chat-room', { chatId: this.id });
    this.#join += 1;
    this.#live = null;
    this.#removal = null;
    this.#reload = null;
    this.#order.moveTo(null);
    this.#host.unfollow(this);
    for (const { reject } of this.#opening.splice(0)) reject(error);
  }

  /** @internal The argument of the next join, and who takes its ack. */
  join(): [argument: object, answered: (ack: JoinAck | { success: false; error: Refusal } | null) => void] {
    this.#join += 1;
    const join = this.#join;
    const since = this.#order.position;
    const argument = {
      chatId: this.id,
      ...(since === null ? {} : { since: since.version }),
      ...(since === null || since.epoch === null ? {} : { epoch: since.epoch }),
    };
    return [argument, (ack) => {
      // Without an answer the connection is gone, or going; the next one joins again.
      if (ack === null || join !== this.#join || this.#life === null) return;
      if (ack.success) this.#onJoined(ack, since);
      else this.#onRefused(ack.error);
    }];
  }

  #onJoined(ack: JoinAck, since: Position | null): void {
    const removal = this.#removal;
    this.#removal = null;
    if (removal !== null && isAfter(removal, ack)) return this.#shut('removed', null);
    const { success: _, ...told } = ack;
    const joined = { ...told, again: this.#hasJoined };
    this.#live = joined;
    this.#hasJoined = true;
    this.#typedAt = null;
    const at = this.#order.position;
    if (!ack.resync) this.#order.moveTo({ version: at?.version ?? ack.version, epoch: at?.epoch ?? ack.epoch });
    this.#tell('joined', joined);
    for (const { resolve } of this.#opening.splice(0)) resolve(joined);
    if (ack.resync) this.#startReload(since?.epoch != null && since.epoch !== ack.epoch ? 'history' : 'gap');
  }

  #onRefused({ code, message }: Refusal): void {
    if (PASSING.has(code)) return this.#host.followLater(this);
    this.#live = null;
    this.#shut('refused', new ParleyError({ code, message }));
  }

  #shut(reason: 'removed' | 'refused', error: ParleyError | null): void {
    this.#live = null;
    this.#end(error ?? new ParleyError({ code: 'closed', message: 'The chat is not the user’s any more' }));
    this.#tell('closed', { chatId: this.id, reason, error });
  }

  /** @internal */
  onDisconnected(): void {
    this.#join += 1;
    this.#live = null;
    this.#removal = null;
    this.#typedAt = null;
  }

  /** @internal The chat is not the user's any more: unless that was said of a time before the last join. */
  onRemoved(removal: Removal): void {
    if (this.#life === null) return;
    if (this.#live === null) this.#removal = removal;
    else if (isAfter(removal, this.#live)) this.#shut('removed', null);
  }

  // ---- what is told

  /** @internal */
  onEvent<Name extends keyof ChatEvents>(name: Name, event: ChatEvents[Name]): void {
    if (this.#life === null) return;
    if (!isDurable(event)) return this.#tell(name, event);
    if (this.#reload !== null) return this.#hold(name, event);
    this.#judge(name, event);
  }

  /** @internal */
  onResync({ reason }: Resync): void {
    if (this.#life !== null) this.#startReload(reason === 'history' ? 'history' : 'gap');
  }

  #judge(name: keyof ChatEvents, event: Durable): void {
    const verdict = this.#order.judge(event);
    if (verdict === 'tell') this.#tell(name, event);
    else if (verdict === 'reload') this.#startReload('history');
  }

  #hold(name: keyof ChatEvents, event: Durable): void {
    const reload = this.#reload;
    if (reload === null) return;
    reload.held.push([name, event]);
    if (reload.held.length <= HELD) return;
    reload.held = [];
    reload.again = true;
  }

  #tell<Name extends keyof ChatEvents>(name: Name, event: ChatEvents[Name]): void {
    this.tell(name, event);
    this.#host.tell(name, event);
  }

  #startReload(reason: Reset['reason']): void {
    if (this.#reload !== null) {
      this.#reload.again = true;
      return;
    }
    void this.#load(reason);
  }

  /** Takes the newest page as the new beginning; events wait meanwhile. False when the chat was closed. */
  async #load(reason: Reset['reason']): Promise<boolean> {
    const life = this.#life;
    const reload = { again: false, held: [] as HeldEvent[], reason };
    this.#reload = reload;
    let page: Messages;
    try {
      do {
        reload.again = false;
        page = await this.#host.rest.persist('listMessages', { path: { id: this.id }, query: { limit: this.#limit } }, { signal: life?.signal });
      } while (reload.again && this.#reload === reload);
    } catch (error) {
      if (this.#life === life && life !== null) this.#shut('refused', asParleyError(error));
      return false;
    }
    if (this.#life !== life || this.#reload !== reload) return false;
    this.#reload = null;
    const epoch = reload.held.at(-1)?.[1].epoch ?? this.#live?.epoch ?? null;
    this.#order.moveTo({ version: page.version, epoch });
    const { messages, version, pagination: { nextBefore } } = page;
    this.#tell('reset', { chatId: this.id, messages, nextBefore, version, reason });
    for (const [name, event] of reload.held) this.onEvent(name, event);
    return this.#life === life;
  }

  // ---- writing

  /**
   * Sends a message, once however often it is tried: resolves when it is stored, rejects with a `SendError`. With a
   * `clientMessageId` of its own an app may send again after a reload of the page.
   */
  send(draft: SendMessage, options?: SendOptions): Promise<Message> {
    const clientMessageId = draft.clientMessageId ?? randomId();
    const body = { ...draft, clientMessageId };
    this.#typedAt = null;
    return this.#outbox.send(clientMessageId, async (how) => (await this.#host.rest.call('sendMessage', { path: { id: this.id }, body }, how)).message, options);
  }

  /** Sends a message with a file, as `send` does. */
  sendFile(draft: FileForm, options?: SendOptions): Promise<Message> {
    const clientMessageId = draft.clientMessageId ?? randomId();
    const form = { ...draft, clientMessageId };
    // Known before the form is read, so that a repetition is free.
    const header = { 'Idempotency-Key': clientMessageId };
    return this.#outbox.send(clientMessageId, async (how) => (await this.#host.rest.call('sendFile', { path: { id: this.id }, header, form }, how)).message, options);
  }

  async edit(messageId: MessageId, content: string): Promise<Message> {
    return (await this.#host.rest.call('editMessage', { path: { id: this.id, messageId }, body: { content } })).message;
  }

  async delete(messageId: MessageId): Promise<Message> {
    return (await this.#host.rest.call('deleteMessage', { path: { id: this.id, messageId } })).message;
  }

  // ---- reading

  /** A page of the history, newest first; does not touch what is live. */
  history(query: NonNullable<Input<'listMessages'>['query']> = {}): Promise<Messages> {
    return this.#host.rest.call('listMessages', { path: { id: this.id }, query });
  }

  async info(): Promise<ChatObject> {
    return (await this.#host.rest.call('getChat', { path: { id: this.id } })).chat;
  }

  /** Marks these messages as read; without any, all. */
  markRead(messageIds?: MessageId[]): Promise<Read> {
    return this.#host.rest.call('markRead', { path: { id: this.id }, body: messageIds === undefined ? {} : { messageIds } });
  }

  /** Marks a message, and all after it, as unread. */
  markUnread(messageId: MessageId): Promise<Unread> {
    return this.#host.rest.call('markUnread', { path: { id: this.id }, body: { messageId } });
  }

  // ---- typing

  /** To be called at every key: says so at most every 3 s. A message that is sent, or 6 s without a call, ends it. */
  startTyping(): void {
    const now = this.#host.now();
    if (this.#live === null || (this.#typedAt !== null && now - this.#typedAt < TYPING_EVERY_MS)) return;
    this.#typedAt = now;
    this.#host.emit('typing-start', { chatId: this.id });
  }

  /** The text was given up. */
  stopTyping(): void {
    if (this.#typedAt === null) return;
    this.#typedAt = null;
    this.#host.emit('typing-stop', { chatId: this.id });
  }
}

function isDurable(event: object): event is Durable {
  return 'version' in event && typeof event.version === 'number';
}

/** Whether a join's answer, of one moment of the chat, did not know of a removal yet. */
function isAfter(removal: Removal, joined: { version: number; epoch: string }): boolean {
  return removal.epoch !== joined.epoch || removal.version > joined.version;
}
