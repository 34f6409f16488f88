// What one user's pane knows: its chats and their messages. No network, no DOM.

const changed = (message) => message.changedVersion ?? message.version;

/** One chat's messages as far as they are loaded: without a hole from `oldestSeq` to the newest, each message once. */
export class History {
  #byId = new Map();
  #pending = new Map();
  #sorted = null;

  /** Whether the newest page is there. */
  isLoaded = false;

  get messages() {
    this.#sorted ??= [...this.#byId.values()].sort((a, b) => a.seq - b.seq);
    return this.#sorted;
  }

  /** What was typed and is not yet answered: { clientMessageId, content, createdAt, failure }. */
  get pending() {
    return [...this.#pending.values()];
  }

  get oldestSeq() {
    return this.messages[0]?.seq ?? null;
  }

  get hasOlder() {
    return this.oldestSeq !== null && this.oldestSeq > 1;
  }

  /** The newest page. What is loaded below it and does not touch it goes: better short than with a hole. */
  takeNewest({ messages }) {
    this.#merge(messages);
    if (messages.length > 0) {
      const loaded = new Set(this.messages.map(({ seq }) => seq));
      let floor = messages.at(-1).seq;
      while (loaded.has(floor - 1)) floor -= 1;
      for (const { _id, seq } of this.messages) if (seq < floor) this.#byId.delete(_id);
      this.#sorted = null;
    }
    this.isLoaded = true;
  }

  takeOlder({ messages }) {
    this.#merge(messages);
  }

  /** A live message, its edit, or the answer to an own send. */
  take(message) {
    this.#merge([message]);
  }

  takeDeletion({ messageId, deletedAt, version }) {
    const known = this.#byId.get(messageId);
    if (known) this.#merge([{ ...known, content: '', attachments: [], deletedAt, changedVersion: version }]);
  }

  addPending(clientMessageId, content) {
    this.#pending.set(clientMessageId, { clientMessageId, content, createdAt: new Date().toISOString(), failure: null });
  }

  /** Changes a pending message; one that has arrived meanwhile is left alone. */
  setFailure(clientMessageId, failure) {
    const pending = this.#pending.get(clientMessageId);
    if (pending) this.#pending.set(clientMessageId, { ...pending, failure });
    return pending !== undefined;
  }

  discardPending(clientMessageId) {
    this.#pending.delete(clientMessageId);
  }

  #merge(messages) {
    for (const message of messages) {
      const known = this.#byId.get(message._id);
      if (!known || changed(message) > changed(known)) this.#byId.set(message._id, message);
      if (message.clientMessageId !== null) this.#pending.delete(message.clientMessageId);
    }
    this.#sorted = null;
  }
}

/** The list of a user's chats: the chat with the newest message first. */
export class Inbox {
  #me;
  #chats = new Map();
  #seen = new Map();

  constructor(me) {
    this.#me = me;
  }

  get(chatId) {
    return this.#chats.get(chatId) ?? null;
  }

  get all() {
    const latest = (chat) => chat.lastMessage?.createdAt ?? chat.createdAt;
    return [...this.#chats.values()].sort((a, b) => latest(b).localeCompare(latest(a)) || b._id.localeCompare(a._id));
  }

  /** A chat as the server gave it, unless events have already told of something newer. */
  take(chat) {
    const known = this.#chats.get(chat._id);
    if (!known || chat.version >= known.version) this.#chats.set(chat._id, chat);
  }

  /** A live message; false when the chat is not in the list. */
  takeLive(chatId, message, version) {
    const chat = this.#chats.get(chatId);
    if (!chat) return false;
    if (version > chat.version) {
      const unread = message.senderId === this.#me ? 0 : 1;
      this.#chats.set(chatId, { ...chat, version, lastMessage: message, unreadCount: chat.unreadCount + unread });
    }
    return true;
  }

  remove(chatId) {
    this.#chats.delete(chatId);
  }

  /** What the server counts, less what this page has shown: it does not tell the server what was read. */
  unread(chatId) {
    return Math.max(0, (this.get(chatId)?.unreadCount ?? 0) - (this.#seen.get(chatId) ?? 0));
  }

  markSeen(chatId) {
    this.#seen.set(chatId, this.get(chatId)?.unreadCount ?? 0);
  }
}

/** The chat's title, or the names of the others. */
export function titleOf(chat, me) {
  if (chat.title) return chat.title;
  const others = chat.participants.filter(({ userId }) => userId !== me).map(nameOf);
  return others.join(', ') || 'Only you';
}

export const nameOf = ({ name, userId, _id }) => name || userId || _id;
