import type { ParleyError } from './errors.js';
import type { Chat as ChatObject, ChatId, Epoch, Message, ResyncReason, RoomEvents, Seq, UserEvents, UserId, Version } from './schema.js';

/** `user-typing`: it ends by itself some seconds after the last `typing-start`. */
export interface UserTyping {
  chatId: ChatId;
  userId: UserId;
  name: string | null;
  isTyping: boolean;
}

/** `chat-updated`: what the chat says of itself was changed. */
export interface ChatUpdated {
  chatId: ChatId;
  version: Version;
  epoch: Epoch;
  chat: ChatObject;
}

/** Somebody who is typing. */
export interface Typist {
  userId: UserId;
  name: string | null;
}

/** A refusal, in an ack. */
export interface Refusal {
  /** A stable word. */
  code: string;
  message: string;
}

/** The ack of a join. */
export interface JoinAck {
  success: true;
  chatId: ChatId;
  version: Version;
  epoch: Epoch;
  /** Nothing is told of what was missed: the chat is to be reloaded. */
  resync: boolean;
  /** Up to which seq each participant has read, as far as the server lists them. */
  readPointers: Record<UserId, Seq>;
  /** Who is typing now. */
  typing: Typist[];
  /** The gateway pod. */
  pod?: string;
}

/** The chat is live (again): what was missed follows, then what comes. */
export interface Joined extends Omit<JoinAck, 'success'> {
  /** Whether it was live before, on an earlier connection. */
  again: boolean;
}

/** Everything is to be taken from here: what the app shows of the chat's messages, it shows these instead. */
export interface Reset {
  chatId: ChatId;
  /** The newest page, newest first. */
  messages: Message[];
  /** Where to continue towards the past (`before`); `null` at the beginning. */
  nextBefore: string | null;
  version: Version;
  /** `opened`; or so much was missed that it is not told one by one (`gap`), or the history is another one. */
  reason: 'opened' | 'gap' | 'history';
}

/** The chat is not live any more, and does not become so by itself. */
export interface Closed {
  chatId: ChatId;
  /** `removed`: it is not the user's any more. `refused`: the server gave `error`. */
  reason: 'removed' | 'refused';
  error: ParleyError | null;
}

/** What a chat tells: of the server's events, each once and in order, and of its own life. */
export interface ChatEvents extends Omit<RoomEvents, 'resync' | 'user-typing' | 'chat-updated'> {
  'user-typing': UserTyping;
  'chat-updated': ChatUpdated;
  joined: Joined;
  reset: Reset;
  closed: Closed;
}

/** How the connection stands. */
export interface StateChange {
  /**
   * `idle`: not asked for. `unauthorized`: the server takes none of the app's tokens; `connect()` tries again. In
   * every other state it goes on by itself.
   */
  state: 'idle' | 'connecting' | 'connected' | 'reconnecting' | 'unauthorized';
  /** `websocket` or `polling`, once connected. */
  transport: string | null;
  /** Why it is not connected, if that is known. */
  error: ParleyError | null;
}

/** What the whole client tells: of all chats that are open, of the user's chats, of the connection. */
export interface ParleyEvents extends ChatEvents, UserEvents {
  state: StateChange;
  /** Which chats there are may have changed without being told: list them again. */
  'chats-changed': { reason: ResyncReason | 'reconnected' };
}
