// One user: their client, their part of the page.

import { Parley } from '@parley/client';
import { drawChats, faceOf } from './chat-list.js';
import { drawMessages } from './conversation.js';
import { parts } from './dom.js';
import { hue, initials, sentence } from './format.js';
import { History, Inbox, nameOf, titleOf } from './model.js';
import { NewChat } from './new-chat.js';

/** How long a message is tried before the page asks what to do. */
const SEND_MS = 30_000;
const PAGE = 30;
const NEAR_THE_END_PX = 80;

/**
 * Events (CustomEvent, in `detail`):
 * - `sent`  { message, pod, startedAt }: an own message was answered
 * - `heard` { message, gateway, at }: another's message came in on the socket
 */
export class Pane extends EventTarget {
  #user;
  #ui;
  #parley;
  #inbox;
  #histories = new Map();
  #drafts = new Map();
  #openId = null;
  #gateway = null;
  /** Who is typing where: names by chat and user. */
  #typing = new Map();
  /** Which api pod took a message, by its `clientMessageId`. */
  #podOf = new Map();
  #listing = null;
  #listAgain = false;
  #loading = new Set();
  #loadingOlder = false;
  #atEnd = true;
  #alertAbout = null;

  constructor(user, template) {
    super();
    this.#user = user;
    this.#inbox = new Inbox(user.id);
    this.element = template.content.firstElementChild.cloneNode(true);
    this.#ui = parts(this.element);
    this.#parley = new Parley({
      getToken: () => user.token,
      fetch: (path, request) => this.#fetch(path, request),
      io: { reconnectionDelay: 300, reconnectionDelayMax: 3000 },
      sendDeadlineMs: SEND_MS,
    });
    this.#dress();
    new NewChat(this.#ui, user.id, (wanted) => this.#createChat(wanted));
    this.#listenToPage();
    this.#listenToParley();
  }

  async start() {
    this.#showState(this.#parley.state);
    this.#parley.connect();
    await this.#refreshList();
    const first = this.#inbox.all[0];
    if (first && this.#openId === null && this.#showsBoth()) this.#open(first._id, { focus: false });
  }

  // ---- the page

  #dress() {
    const { id, name } = this.#user;
    const ui = this.#ui;
    this.element.dataset.testid = `pane-${id}`;
    this.element.setAttribute('aria-label', `${name}’s view`);
    ui.name.textContent = name;
    ui.avatar.textContent = initials(name);
    ui.avatar.classList.add(hue(id));
    ui['chats-nav'].setAttribute('aria-label', `${name}’s chats`);
    ui['composer-label'].textContent = `Message, as ${name}`;
    ui.input.id = `composer-${crypto.randomUUID()}`;
    ui['composer-label'].htmlFor = ui.input.id;
    ui.drop.setAttribute('aria-label', `Drop ${name}’s socket`);
  }

  #listenToPage() {
    const ui = this.#ui;
    ui.drop.onclick = () => {
      if (this.#parley.state.state === 'connected') this.#parley.dropConnection();
      else this.#parley.connect();
    };
    for (const change of ['online', 'offline']) window.addEventListener(change, () => this.#showState(this.#parley.state));
    ui['alert-close'].onclick = () => this.#hideAlert();
    ui.back.onclick = () => this.#close();
    ui.composer.onsubmit = (event) => {
      event.preventDefault();
      this.#submit();
    };
    ui.input.onkeydown = (event) => {
      if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) {
        event.preventDefault();
        this.#submit();
      }
    };
    ui.input.oninput = () => {
      this.#fitComposer();
      if (this.#openId === null) return;
      if (ui.input.value === '') this.#parley.chat(this.#openId).stopTyping();
      else this.#parley.chat(this.#openId).startTyping();
    };
    ui.older.onclick = () => this.#loadOlder();
    ui.jump.onclick = () => {
      this.#scrollToEnd();
      ui.input.focus();
    };
    ui.scroller.onscroll = () => {
      if (this.#isAtEnd()) ui.jump.hidden = true;
    };
    new ResizeObserver(() => {
      if (this.#atEnd) this.#scrollToEnd();
    }).observe(ui.scroller);
  }

  #fitComposer() {
    const { input, send } = this.#ui;
    input.style.height = 'auto';
    input.style.height = `${Math.min(input.scrollHeight + 2, 160)}px`;
    send.disabled = input.value.trim() === '';
  }

  #isAtEnd() {
    const { scrollHeight, scrollTop, clientHeight } = this.#ui.scroller;
    this.#atEnd = scrollHeight - scrollTop - clientHeight < NEAR_THE_END_PX;
    return this.#atEnd;
  }

  #scrollToEnd() {
    this.#ui.scroller.scrollTop = this.#ui.scroller.scrollHeight;
    this.#atEnd = true;
    this.#ui.jump.hidden = true;
  }

  #showPod(part, pod) {
    this.#ui[part].textContent = pod ?? '–';
  }

  /** One line for the user; `about` names the matter, so that its end can take the line away again. */
  #showAlert(text, about) {
    this.#alertAbout = about;
    this.#ui['alert-text'].textContent = text;
    this.#ui.alert.hidden = false;
  }

  #hideAlert(about = this.#alertAbout) {
    if (about !== this.#alertAbout) return;
    this.#alertAbout = null;
    this.#ui.alert.hidden = true;
  }

  // ---- the client

  /** The answers' own header says which pod gave them. */
  async #fetch(path, request) {
    const response = await fetch(path, request);
    const pod = response.headers.get('x-parley-pod');
    if (pod) this.#showPod('api', pod);
    const isSend = request.method === 'POST' && path.endsWith('/messages');
    if (pod && isSend && response.ok) this.#podOf.set(JSON.parse(request.body).clientMessageId, pod);
    return response;
  }

  #showState({ state, transport, error }) {
    const isOff = state === 'idle' || state === 'unauthorized' || (state !== 'connected' && !navigator.onLine);
    const shown = state === 'connected' ? state : isOff ? 'offline' : 'reconnecting';
    if (state !== 'connected') this.#gateway = null;
    this.#showPod('gateway', this.#gateway);
    this.element.dataset.state = shown;
    this.#ui['state-text'].textContent = transport ? `${capital(shown)} · ${transport}` : capital(shown);
    this.#ui.drop.textContent = isOff ? 'Connect' : 'Drop socket';
    if (state === 'unauthorized') {
      const hint = error.code === 'token_expired' ? ' Run “cargo parley up” again for a new one, then reload.' : '';
      this.#showAlert(`The server refused the connection: ${sentence(error)}.${hint}`, 'connection');
    } else if (state === 'connected') {
      this.#hideAlert('connection');
    }
  }

  #listenToParley() {
    const parley = this.#parley;
    parley.on('state', (change) => this.#showState(change));
    parley.on('joined', ({ chatId, pod, typing }) => {
      this.#gateway = pod ?? null;
      this.#showPod('gateway', this.#gateway);
      this.#typing.set(chatId, new Map(typing.map(({ userId, name }) => [userId, name])));
      if (chatId === this.#openId) this.#drawHead();
    });

    parley.on('new-message', ({ chatId, message, version }) => {
      this.#histories.get(chatId)?.take(message);
      // Whoever has sent has stopped typing.
      if (this.#typing.get(chatId)?.delete(message.senderId)) this.#drawHead();
      if (!this.#inbox.takeLive(chatId, message, version)) this.#refreshList();
      if (message.senderId !== this.#user.id) this.#tell('heard', { message, gateway: this.#gateway, at: performance.now() });
      this.#drawList();
      if (chatId === this.#openId) this.#drawOpen();
    });
    parley.on('message-edited', ({ chatId, message }) => {
      this.#histories.get(chatId)?.take(message);
      this.#drawChanged(chatId);
    });
    parley.on('message-deleted', (deletion) => {
      this.#histories.get(deletion.chatId)?.takeDeletion(deletion);
      this.#drawChanged(deletion.chatId);
    });
    parley.on('reset', (reset) => {
      this.#histories.get(reset.chatId)?.takeNewest(reset);
      this.#drawChanged(reset.chatId);
    });
    parley.on('user-typing', ({ chatId, userId, name, isTyping }) => {
      const typists = this.#typing.get(chatId);
      if (isTyping) typists?.set(userId, name);
      else typists?.delete(userId);
      if (chatId === this.#openId) this.#drawHead();
    });

    parley.on('chat-created', ({ chat }) => {
      this.#takeChat(chat);
      this.#drawList();
    });
    parley.on('chat-removed', ({ chatId }) => {
      this.#inbox.remove(chatId);
      if (chatId === this.#openId) this.#close();
      this.#drawList();
    });
    parley.on('chats-changed', () => this.#refreshList());
    parley.on('closed', ({ chatId, error }) => {
      if (error === null) return;
      const chat = this.#inbox.get(chatId);
      const title = chat ? titleOf(chat, this.#user.id) : chatId;
      this.#showAlert(`No live messages in “${title}”: ${sentence(error)}`, `join:${chatId}`);
    });
  }

  /** Into the list, and live from where the list knows it. */
  #takeChat(chat) {
    this.#inbox.take(chat);
    const live = this.#parley.chat(chat._id);
    // What keeps it from being opened is told by `closed`.
    if (!live.isOpen) live.open({ since: { version: chat.version, epoch: null }, limit: PAGE }).catch(() => {});
  }

  #drawChanged(chatId) {
    this.#refreshList();
    if (chatId === this.#openId) this.#drawOpen();
  }

  // ---- the list

  /** Asks for the list. Calls during an answer are put together into one more request after it. */
  #refreshList() {
    if (this.#listing) {
      this.#listAgain = true;
      return this.#listing;
    }
    this.#listing = this.#fetchList().finally(() => {
      this.#listing = null;
      if (this.#listAgain) {
        this.#listAgain = false;
        this.#refreshList();
      }
    });
    return this.#listing;
  }

  async #fetchList() {
    try {
      const { chats } = await this.#parley.rest.persist('listChats', { query: { limit: 50 } });
      for (const chat of chats) this.#takeChat(chat);
      this.#hideAlert('list');
      this.#drawList();
      this.#drawHead();
    } catch (error) {
      this.#showAlert(`The chats could not be loaded: ${sentence(error)}`, 'list');
    }
  }

  #drawList() {
    const ui = this.#ui;
    if (this.#openId !== null) this.#inbox.markSeen(this.#openId);
    ui['no-chats'].hidden = this.#inbox.all.length > 0;
    drawChats(ui['chat-list'], { inbox: this.#inbox, me: this.#user.id, openId: this.#openId, choose: (chatId) => this.#open(chatId) });
  }

  // ---- one chat

  /** Whether the list and a chat stand side by side; in a narrow pane they take turns, and there is a way back. */
  #showsBoth() {
    return getComputedStyle(this.#ui.back).display === 'none';
  }

  #close() {
    const chatId = this.#openId;
    this.#drafts.set(chatId, this.#ui.input.value);
    this.#parley.chat(chatId).stopTyping();
    this.#openId = null;
    this.element.dataset.view = 'list';
    this.#drawList();
    this.#ui['chat-list'].querySelector(`[data-testid="chat-${chatId}"]`)?.focus();
  }

  #open(chatId, { focus = true } = {}) {
    const ui = this.#ui;
    if (this.#openId !== null) {
      this.#drafts.set(this.#openId, ui.input.value);
      this.#parley.chat(this.#openId).stopTyping();
    }
    this.#openId = chatId;
    this.element.dataset.view = 'chat';
    ui.input.value = this.#drafts.get(chatId) ?? '';
    this.#fitComposer();
    if (!this.#histories.has(chatId)) this.#histories.set(chatId, new History());
    this.#drawList();
    this.#drawHead();
    // Another chat: the old elements go at once, and nothing of it is read out as if it had just arrived.
    ui.scroller.setAttribute('aria-busy', 'true');
    ui.messages.replaceChildren();
    ui.messages.keyed = undefined;
    this.#drawOpen();
    this.#scrollToEnd();
    ui.scroller.setAttribute('aria-busy', 'false');
    if (!this.#histories.get(chatId).isLoaded) this.#load(chatId);
    if (focus) ui.input.focus();
  }

  #drawHead() {
    const chat = this.#inbox.get(this.#openId);
    if (!chat) return;
    const ui = this.#ui;
    const title = titleOf(chat, this.#user.id);
    ui.title.textContent = title;
    ui.title.className = hue(faceOf(chat, this.#user.id));
    ui.scroller.setAttribute('aria-label', `Messages with ${title}`);
    const typists = [...(this.#typing.get(chat._id) ?? [])].filter(([userId]) => userId !== this.#user.id);
    if (typists.length > 0) ui.subtitle.textContent = `${typists.map(([userId, name]) => nameOf({ userId, name })).join(', ')} typing…`;
    else ui.subtitle.textContent = chat.type === 'direct'
      ? 'Direct chat'
      : `${chat.participantCount} people: ${chat.participants.map((one) => (one.userId === this.#user.id ? 'you' : nameOf(one))).join(', ')}`;
  }

  /** Draws the open chat; stays at its end when it was there, or goes there for an own message. */
  #drawOpen({ toEnd = false } = {}) {
    const ui = this.#ui;
    const history = this.#histories.get(this.#openId);
    if (!history) return;
    const follow = toEnd || this.#isAtEnd();
    const newest = ui.messages.lastElementChild;
    drawMessages(ui.messages, {
      history,
      me: this.#user.id,
      retry: (clientMessageId) => this.#send(this.#openId, clientMessageId),
      discard: (clientMessageId) => {
        history.discardPending(clientMessageId);
        this.#drawOpen();
        ui.input.focus();
      },
    });
    const empty = history.messages.length === 0 && history.pending.length === 0;
    ui['no-messages'].hidden = !empty;
    ui['no-messages'].textContent = !history.isLoaded ? 'Loading messages…' : 'No messages yet. Say hello.';
    ui.older.hidden = !history.hasOlder;
    if (follow) this.#scrollToEnd();
    else if (ui.messages.lastElementChild !== newest) ui.jump.hidden = false;
  }

  /** Fetches the newest page, however long it takes. What comes live meanwhile is told as ever. */
  async #load(chatId) {
    if (this.#loading.has(chatId)) return;
    this.#loading.add(chatId);
    try {
      const page = await this.#parley.rest.persist('listMessages', { path: { id: chatId }, query: { limit: PAGE } });
      this.#histories.get(chatId).takeNewest(page);
      this.#hideAlert(`messages:${chatId}`);
    } catch (error) {
      this.#showAlert(`The messages could not be loaded: ${sentence(error)}`, `messages:${chatId}`);
    } finally {
      this.#loading.delete(chatId);
    }
    if (chatId === this.#openId) this.#drawOpen();
  }

  async #loadOlder() {
    const chatId = this.#openId;
    const history = this.#histories.get(chatId);
    if (this.#loadingOlder || !history?.hasOlder) return;
    const ui = this.#ui;
    this.#loadingOlder = true;
    ui.older.disabled = true;
    ui.older.textContent = 'Loading…';
    try {
      history.takeOlder(await this.#parley.chat(chatId).history({ limit: PAGE, before: history.oldestSeq }));
      if (chatId === this.#openId) this.#drawAbove();
    } catch (error) {
      this.#showAlert(`Older messages could not be loaded: ${sentence(error)}`, 'older');
    } finally {
      this.#loadingOlder = false;
      ui.older.disabled = false;
      ui.older.textContent = 'Load older messages';
    }
  }

  /** Draws what came in above, without moving what the reader looks at, and without reading it out. */
  #drawAbove() {
    const { scroller } = this.#ui;
    const fromEnd = scroller.scrollHeight - scroller.scrollTop;
    scroller.setAttribute('aria-busy', 'true');
    this.#drawOpen();
    scroller.scrollTop = scroller.scrollHeight - fromEnd;
    scroller.setAttribute('aria-busy', 'false');
  }

  // ---- sending

  #submit() {
    const { input } = this.#ui;
    const content = input.value;
    if (content.trim() === '' || this.#openId === null) return;
    const clientMessageId = crypto.randomUUID();
    this.#histories.get(this.#openId).addPending(clientMessageId, content);
    input.value = '';
    this.#fitComposer();
    this.#send(this.#openId, clientMessageId);
  }

  /** Sends what is pending under this id; again under the same id makes no second message. */
  async #send(chatId, clientMessageId) {
    const history = this.#histories.get(chatId);
    if (!history.setFailure(clientMessageId, null)) return;
    if (chatId === this.#openId) this.#drawOpen({ toEnd: true });
    const { content } = history.pending.find((pending) => pending.clientMessageId === clientMessageId);
    const startedAt = performance.now();
    try {
      const message = await this.#parley.chat(chatId).send({ content, clientMessageId });
      history.take(message);
      this.#tell('sent', { message, pod: this.#podOf.get(clientMessageId), startedAt });
    } catch (error) {
      history.setFailure(clientMessageId, sentence(error));
    } finally {
      this.#podOf.delete(clientMessageId);
    }
    if (chatId === this.#openId) this.#drawOpen();
  }

  async #createChat(wanted) {
    const chat = await this.#parley.createChat(wanted);
    this.#takeChat(chat);
    return () => this.#open(chat._id);
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

const capital = (text) => text.charAt(0).toLocaleUpperCase() + text.slice(1);
