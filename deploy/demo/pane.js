// One user: their REST client, their socket, their part of the page.

import { Api } from './rest.js';
import { drawChats, faceOf } from './chat-list.js';
import { drawMessages } from './conversation.js';
import { parts } from './dom.js';
import { hue, initials } from './format.js';
import { Live } from './live.js';
import { History, Inbox, nameOf, titleOf } from './model.js';

// A chat that somebody else starts is found by asking: no event tells of it yet.
const LIST_EVERY_MS = 10_000;
const RETRY_MS = 2_000;
const NEAR_THE_END_PX = 80;

/**
 * Events (CustomEvent, in `detail`):
 * - `sent`  { message, pod, startedAt }: an own message was answered
 * - `heard` { message, gateway, at }: another's message came in on the socket
 */
export class Pane extends EventTarget {
  #user;
  #ui;
  #api;
  #live;
  #inbox;
  #histories = new Map();
  #drafts = new Map();
  #openId = null;
  #gateway = null;
  #listing = null;
  #listAgain = false;
  #reloading = new Set();
  #loadingOlder = false;
  #atEnd = true;
  #alertAbout = null;

  constructor(user, template) {
    super();
    this.#user = user;
    this.#inbox = new Inbox(user.id);
    this.element = template.content.firstElementChild.cloneNode(true);
    this.#ui = parts(this.element);
    this.#api = new Api(user.token, (pod) => this.#showPod('api', pod));
    this.#live = new Live(user.token, (chatId) => this.#positionIn(chatId));
    this.#dress();
    this.#listenToPage();
    this.#listenToSocket();
  }

  async start() {
    this.#live.start();
    await this.#refreshList();
    const first = this.#inbox.all[0];
    if (first && this.#openId === null && this.#showsBoth()) this.#open(first._id, { focus: false });
    setInterval(() => {
      if (document.visibilityState === 'visible') this.#refreshList();
    }, LIST_EVERY_MS);
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
    ui.drop.onclick = () => this.#live.drop();
    ui['alert-close'].onclick = () => this.#hideAlert();
    ui.back.onclick = () => this.#close();
    ui['new-chat'].onclick = () => this.#showNewChat(ui['new-chat-form'].hidden);
    ui['new-chat-cancel'].onclick = () => this.#showNewChat(false);
    ui['new-chat-form'].onsubmit = (event) => {
      event.preventDefault();
      this.#createChat();
    };
    ui['new-chat-form'].onkeydown = (event) => {
      if (event.key === 'Escape') this.#showNewChat(false);
    };
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
    ui.input.oninput = () => this.#fitComposer();
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

  // ---- the socket

  #listenToSocket() {
    const live = this.#live;
    live.addEventListener('state', ({ detail: { state, transport, gateway, problem } }) => {
      this.#gateway = gateway;
      this.#showPod('gateway', gateway);
      this.element.dataset.state = state;
      this.#ui['state-text'].textContent = transport ? `${capital(state)} · ${transport}` : capital(state);
      this.#ui.drop.textContent = state === 'offline' ? 'Connect' : 'Drop socket';
      if (problem) {
        const hint = problem.code === 'token_expired' ? ' Run “cargo parley up” again for a new one, then reload.' : '';
        this.#showAlert(`The server refused the connection: ${problem.message} (${problem.code}).${hint}`, 'connection');
      } else if (state === 'connected') {
        this.#hideAlert('connection');
        for (const [chatId, history] of this.#histories) if (history.stale) this.#reload(chatId);
      }
    });

    live.addEventListener('message', ({ detail: { chatId, message, version } }) => {
      this.#histories.get(chatId)?.takeLive(message, version);
      if (!this.#inbox.takeLive(chatId, message, version)) this.#refreshList();
      if (message.senderId !== this.#user.id) this.#tell('heard', { message, gateway: this.#gateway, at: performance.now() });
      this.#drawList();
      if (chatId === this.#openId) this.#drawOpen();
    });

    live.addEventListener('stale', ({ detail: { chatId } }) => {
      this.#refreshList();
      const history = this.#histories.get(chatId);
      if (!history) return;
      history.stale = true;
      this.#reload(chatId);
    });

    live.addEventListener('refused', ({ detail: { chatId, error } }) => {
      const chat = this.#inbox.get(chatId);
      const title = chat ? titleOf(chat, this.#user.id) : chatId;
      this.#showAlert(`No live messages in “${title}”: ${error.message} (${error.code})`, `join:${chatId}`);
    });
  }

  /** Up to where the page knows a chat: its loaded messages, or, when it was never opened, the list's entry. */
  #positionIn(chatId) {
    const known = this.#histories.get(chatId) ?? this.#inbox.get(chatId);
    return known?.version ?? null;
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
      for (const chat of await this.#api.chats()) {
        this.#inbox.take(chat);
        this.#live.follow(chat._id);
      }
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
    this.#openId = null;
    this.element.dataset.view = 'list';
    this.#drawList();
    this.#ui['chat-list'].querySelector(`[data-testid="chat-${chatId}"]`)?.focus();
  }

  #open(chatId, { focus = true } = {}) {
    const ui = this.#ui;
    if (this.#openId !== null) this.#drafts.set(this.#openId, ui.input.value);
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
    if (this.#histories.get(chatId).stale) this.#reload(chatId);
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
    ui.subtitle.textContent = chat.type === 'direct'
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
    ui['no-messages'].textContent = history.version === null ? 'Loading messages…' : 'No messages yet. Say hello.';
    ui.older.hidden = !history.hasOlder;
    if (follow) this.#scrollToEnd();
    else if (ui.messages.lastElementChild !== newest) ui.jump.hidden = false;
  }

  /** Fetches the newest page until it is there: the server said that something may be missing. */
  async #reload(chatId) {
    if (this.#reloading.has(chatId)) return;
    this.#reloading.add(chatId);
    const history = this.#histories.get(chatId);
    try {
      do {
        // `stale` set again during the request, by another resync, means one more round.
        history.stale = false;
        try {
          history.takeNewest(await this.#api.messages(chatId));
          this.#hideAlert(`messages:${chatId}`);
        } catch (error) {
          history.stale = true;
          this.#showAlert(`The messages could not be loaded: ${sentence(error)}`, `messages:${chatId}`);
          if (error.status >= 400 && error.status < 500) return;
          await new Promise((resolve) => { setTimeout(resolve, RETRY_MS); });
        }
      } while (history.stale);
    } finally {
      this.#reloading.delete(chatId);
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
      history.takeOlder(await this.#api.messages(chatId, { before: history.oldestSeq }));
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
      const { message, pod } = await this.#api.send(chatId, { content, clientMessageId });
      history.takeSent(message);
      this.#tell('sent', { message, pod, startedAt });
    } catch (error) {
      history.setFailure(clientMessageId, sentence(error));
    }
    if (chatId === this.#openId) this.#drawOpen();
  }

  // ---- a new chat

  #showNewChat(shown) {
    const ui = this.#ui;
    const form = ui['new-chat-form'];
    form.hidden = !shown;
    ui['new-chat'].setAttribute('aria-expanded', String(shown));
    this.#showNewChatError(null);
    if (shown) {
      form.elements.people.focus();
    } else {
      form.reset();
      ui['new-chat'].focus();
    }
  }

  #showNewChatError(text) {
    const ui = this.#ui;
    ui['new-chat-error'].hidden = text === null;
    ui['new-chat-error'].textContent = text ?? '';
    ui['new-chat-form'].elements.people.setAttribute('aria-invalid', String(text !== null));
  }

  async #createChat() {
    const form = this.#ui['new-chat-form'];
    const title = form.elements.title.value.trim();
    const people = form.elements.people.value.split(',').map((id) => id.trim()).filter((id) => id !== '' && id !== this.#user.id);
    if (people.length === 0) {
      this.#showNewChatError('Name at least one other user.');
      return;
    }
    const type = people.length > 1 || title !== '' ? 'group' : 'direct';
    try {
      const chat = await this.#api.createChat({ participantIds: people, type, title });
      this.#inbox.take(chat);
      this.#live.follow(chat._id);
      this.#showNewChat(false);
      this.#open(chat._id);
    } catch (error) {
      this.#showNewChatError(sentence(error));
    }
  }

  #tell(type, detail) {
    this.dispatchEvent(new CustomEvent(type, { detail }));
  }
}

const capital = (text) => text.charAt(0).toLocaleUpperCase() + text.slice(1);
const sentence = (error) => error.sentence ?? error.message;
