// What the tests share: a running cluster, people in it, wires that can be cut, and listeners that keep what they hear.

import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import process from 'node:process';
import { Parley } from '@parley/client';

/** Long enough for a busy machine; a test that waits this long has failed. */
export const DEADLINE_MS = 30_000;

/** `{ url, api: [{ name, url }], gateway: [{ name, url }], jwt: { secret } }` */
export const cluster = JSON.parse(readFileSync(process.env.PARLEY_CLUSTER ?? assert.fail('PARLEY_CLUSTER is not set: give the cluster.json of `cargo parley up`'), 'utf8'));

// ---- people

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const now = () => Math.floor(Date.now() / 1000);

export function sign(claims, secret = cluster.jwt.secret) {
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ iat: now(), exp: now() + 3600, ...claims })}`;
  return `${signed}.${createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

export const expired = (claims) => sign({ ...claims, iat: now() - 7200, exp: now() - 3600 });

/** The host application, which has no limit. */
export const host = { id: 'client-package-tests', claims: { sub: 'client-package-tests', role: 'service' } };

/** A user nobody has used before, known to the directory. */
export async function person(name) {
  const id = `${name}-${randomUUID()}`;
  await clientOf(host).rest.call('putUser', { path: { id }, body: { name } });
  return { id, name, claims: { sub: id, name } };
}

export const people = (...names) => Promise.all(names.map(person));

/** A client of this person's; `t` closes it at the end of the test. */
export function clientOf(who, options = {}, t = null) {
  const parley = new Parley({
    url: cluster.url,
    getToken: () => sign(who.claims),
    ...options,
    io: { reconnectionDelay: 50, reconnectionDelayMax: 500, ...options.io },
  });
  t?.after(() => parley.close());
  return parley;
}

// ---- wires

/** A TCP relay before an address: it can be cut, be dead, or lose answers. */
export class Wires {
  /** Asked when an answer comes: is it lost? The request has arrived by then. */
  loses = () => false;
  /** What comes instead of what was answered. */
  alters = (bytes) => bytes;
  /** Whoever comes is sent away. */
  dead = false;
  lost = 0;
  #server;
  #pairs = new Set();

  static async before(t, address) {
    const wires = new Wires();
    const { hostname, port } = new URL(address);
    wires.#server = createServer((near) => wires.#relay(near, { host: hostname, port }));
    await new Promise((resolve) => { wires.#server.listen(0, '127.0.0.1', resolve); });
    t.after(() => {
      wires.cut();
      wires.#server.close();
    });
    return wires;
  }

  get url() {
    return `http://127.0.0.1:${this.#server.address().port}`;
  }

  /** How many connections there are. */
  get count() {
    return this.#pairs.size;
  }

  /** Breaks every connection, as a network would. */
  cut() {
    for (const pair of this.#pairs) for (const end of pair) end.resetAndDestroy();
  }

  /** Says this to every client, as if its gateway had: one Socket.IO packet in a WebSocket frame. */
  inject(packet) {
    for (const [near] of this.#pairs) near.write(frame(packet));
  }

  #relay(near, address) {
    if (this.dead) return near.resetAndDestroy();
    const far = connect(address);
    const pair = [near, far];
    this.#pairs.add(pair);
    for (const end of pair) {
      end.on('error', () => {});
      end.on('close', () => this.#pairs.delete(pair));
    }
    near.on('close', () => far.destroy());
    far.on('close', (broken) => (broken ? near.resetAndDestroy() : near.end()));
    near.pipe(far);
    far.on('data', (bytes) => {
      if (!this.loses()) return near.write(this.alters(bytes));
      this.lost += 1;
      near.resetAndDestroy();
    });
    return undefined;
  }
}

/** A text as a server's WebSocket frame. */
export function frame(text) {
  const body = Buffer.from(text);
  const head = body.length < 126 ? [0x81, body.length] : [0x81, 126, body.length >> 8, body.length & 0xff];
  return Buffer.concat([Buffer.from(head), body]);
}

/** Numbers that look random, the same ones for the same seed. */
export function chance(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

// ---- listening

/** Fails with this line when the promise takes too long. */
export function inTime(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${DEADLINE_MS} ms: ${what()}`)), DEADLINE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** Keeps what a chat tells, as an app would show it. */
export class Listener {
  /** Contents in order: of the last reset, and of every message after it. */
  contents = [];
  versions = [];
  events = [];
  #waiting = new Set();

  constructor(chat) {
    chat.on('reset', ({ messages, reason, version }) => {
      this.contents = messages.map(({ content }) => content).reverse();
      this.#keep(`reset ${reason}`, version);
    });
    chat.on('new-message', ({ message, version }) => {
      this.contents.push(message.content);
      this.#keep('new-message', version);
    });
    for (const name of ['message-edited', 'message-deleted', 'participants-added', 'participant-removed']) {
      chat.on(name, ({ version }) => this.#keep(name, version));
    }
    for (const name of ['joined', 'closed', 'messages-read']) chat.on(name, () => this.#keep(name));
  }

  /** Waits for something that is to become true by what is heard. */
  until(done, what) {
    return inTime(new Promise((resolve) => {
      this.#waiting.add({ done, resolve });
      this.#check();
    }), () => `${what}; heard ${this.events.slice(-20)}, ${this.contents.length} messages, the last “${this.contents.at(-1)}”`);
  }

  hears(content) {
    return this.until(() => this.contents.includes(content), `“${content}”`);
  }

  #keep(name, version) {
    this.events.push(name);
    if (version !== undefined) this.versions.push(version);
    this.#check();
  }

  #check() {
    for (const waiting of this.#waiting) {
      if (!waiting.done()) continue;
      this.#waiting.delete(waiting);
      waiting.resolve();
    }
  }
}

/** Every message of a chat, oldest first, as the database has it. */
export async function historyOf(chat) {
  const all = [];
  let before;
  do {
    const page = await chat.history({ limit: 100, ...(before === undefined ? {} : { before }) });
    all.unshift(...page.messages.toReversed());
    before = page.pagination.nextBefore ?? undefined;
  } while (before !== undefined);
  return all;
}

export const rising = (numbers) => numbers.every((number, index) => index === 0 || number > numbers[index - 1]);
