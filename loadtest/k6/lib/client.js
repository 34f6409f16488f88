// A front end as it should be: it knows up to where it has heard each chat, comes back after every loss of its connection,
// and says where it was. What it hears is judged here.

import { clearTimeout, setTimeout } from 'k6/timers';
import * as metrics from './metrics.js';
import { must } from './rest.js';
import { open } from './socketio.js';

/** As socket.io-client: the first pause, its spread, and the longest one. */
const [PAUSE, SPREAD, LONGEST] = [1000, 0.5, 5000];
/** How long what has been committed may be on its way in the end. */
const LAST_WAIT = 5000;

/**
 * Everything up to `version` (and message `seq`) is known; `heard` is the last version that this connection brought, `head`
 * the chat's when it was joined: what lies above it is live.
 */
const newRoom = (chat) => ({ chat, in: false, seq: 0, version: 0, heard: 0, head: 0, epoch: null, mine: null });

export class Client {
  constructor(user, token, chats) {
    Object.assign(this, { user, token, connection: null, ended: false, tries: 0, lostAt: null, retry: null });
    this.rooms = new Map(chats.map((chat) => [chat, newRoom(chat)]));
    metrics.touchAll();
  }

  /** Loads every chat, then connects. */
  start() {
    this.rooms.forEach((room) => this.load(room));
    this.connect();
    return this;
  }

  load(room) {
    const { messages, version } = must('GET', `/api/chat/${room.chat}/messages?limit=1`, this.token, null, 'load');
    Object.assign(room, { seq: messages.length ? messages[0].seq : 0, version });
  }

  connect() {
    const begun = Date.now();
    this.connection = open(this.token, {
      connect: () => {
        metrics.connect.add(Date.now() - begun);
        this.tries = 0;
        this.rooms.forEach((room) => this.join(room));
      },
      refused: (error) => {
        console.error(`${this.user} may not connect: ${JSON.stringify(error)}`);
        this.connection.close();
      },
      event: (name, event) => this.heard(name, event),
      close: () => this.lostConnection(),
    });
  }

  join(room) {
    const begun = Date.now();
    const { chat, version: since, epoch } = room;
    const position = epoch ? { chatId: chat, since, epoch } : { chatId: chat, since };
    room.heard = since;
    this.connection.emit('join-chat-room', position, (answer) => {
      if (!answer.success) {
        console.error(`${this.user} may not join ${chat}: ${JSON.stringify(answer.error)}`);
        return;
      }
      metrics.join.add(Date.now() - begun);
      Object.assign(room, { in: true, epoch: answer.epoch, head: answer.version });
      if (answer.resync) this.reload(room);
      this.perhapsWhole();
    });
  }

  reload(room) {
    metrics.resyncs.add(1);
    this.load(room);
  }

  heard(name, event) {
    const room = this.rooms.get(event.chatId);
    if (name === 'resync' && room) return this.reload(room);
    if (!room || event.version === undefined) return undefined;
    if (event.version === room.heard) metrics.doubled.add(1);
    else if (event.version < room.heard) metrics.misordered.add(1);
    room.heard = Math.max(room.heard, event.version);
    // Or a reload has brought it already.
    if (event.version <= room.version) return undefined;
    if (name === 'new-message') this.count(room, event.message);
    room.version = event.version;
    this.perhapsWhole();
    return undefined;
  }

  /** Messages are numbered without holes: one that is missing shows at the next one. */
  count(room, message) {
    if (message.seq > room.seq + 1) metrics.lost.add(message.seq - room.seq - 1);
    room.seq = Math.max(room.seq, message.seq);
    if (message.version > room.head) metrics.delivery.add(Date.now() - Date.parse(message.createdAt));
    if (this.onMessage) this.onMessage(room, message);
  }

  /** After a loss: back in every chat, with everything up to where that chat was at the join. */
  perhapsWhole() {
    if (this.lostAt === null) return;
    const behind = (room) => !room.in || room.version < room.head;
    if ([...this.rooms.values()].some(behind)) return;
    metrics.whole.add(Date.now() - this.lostAt);
    this.lostAt = null;
  }

  lostConnection() {
    this.rooms.forEach((room) => Object.assign(room, { in: false }));
    if (this.ended) return;
    metrics.reconnects.add(1);
    this.lostAt = this.lostAt === null ? Date.now() : this.lostAt;
    const pause = Math.min(PAUSE * 2 ** this.tries, LONGEST) * (1 + SPREAD * (2 * Math.random() - 1));
    this.tries += 1;
    this.retry = setTimeout(() => this.connect(), pause);
  }

  /** Breaks the connection, as a network does; the client comes back by itself. */
  cut() {
    this.connection.close();
  }

  /** Waits for what is on its way, judges, and goes. */
  finish(done) {
    const heads = new Map();
    this.rooms.forEach((room) => {
      const { messages } = must('GET', `/api/chat/${room.chat}/messages?limit=1`, this.token, null, 'load');
      heads.set(room.chat, messages.length ? messages[0].seq : 0);
    });
    const missing = (room) => room.seq < heads.get(room.chat);
    const deadline = Date.now() + LAST_WAIT;
    const look = () => {
      const rooms = [...this.rooms.values()];
      if (rooms.some(missing) && Date.now() < deadline) {
        setTimeout(look, 100);
        return;
      }
      rooms.forEach((room) => {
        metrics.complete.add(!missing(room));
        if (missing(room)) metrics.lost.add(heads.get(room.chat) - room.seq);
      });
      this.stop();
      if (done) done();
    };
    look();
  }

  stop() {
    this.ended = true;
    clearTimeout(this.retry);
    this.connection.close();
  }
}
