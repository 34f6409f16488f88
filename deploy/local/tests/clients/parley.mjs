// What the tests share: the cluster under test, people in it, REST with its envelope checked, sockets with deadlines.

import assert from 'node:assert/strict';
import { createHmac, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { io } from 'socket.io-client';

/** Long enough for a busy machine; a test that waits this long has failed. */
export const DEADLINE_MS = 15_000;

/** `{ url, api: [{ name, url }], gateway: [{ name, url }], jwt: { algorithm, secret }, … }` */
export const cluster = loadCluster();

/** Every way in which a stock client may reach one gateway. */
export const transports = {
  'websocket only': ['websocket'],
  'polling only': ['polling'],
  'polling, then the upgrade': undefined,
};

function loadCluster() {
  const path = process.env.PARLEY_CLUSTER;
  const stop = (why) => {
    console.error(`${why}. Set PARLEY_CLUSTER to the cluster.json of a running cluster (cargo parley up).`);
    process.exit(1);
  };
  if (!path) return stop('PARLEY_CLUSTER is not set');
  try {
    const described = JSON.parse(readFileSync(path, 'utf8'));
    assert.equal(described.jwt.algorithm, 'HS256', 'these tests sign with HS256');
    assert.ok(described.api.length >= 2 && described.gateway.length >= 2, 'these tests need two api pods and two gateways');
    return described;
  } catch (error) {
    return stop(`${path} cannot be used: ${error.message}`);
  }
}

// ---- tokens and people

const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');
const now = () => Math.floor(Date.now() / 1000);

/** A token with these claims; `alg: 'none'` and a wrong `secret` make the ones that must be refused. */
export function sign(claims, { alg = 'HS256', secret = cluster.jwt.secret } = {}) {
  const signed = `${part({ alg, typ: 'JWT' })}.${part({ iat: now(), exp: now() + 3600, ...claims })}`;
  return `${signed}.${alg === 'none' ? '' : createHmac('sha256', secret).update(signed).digest('base64url')}`;
}

export const expired = (claims) => sign({ ...claims, iat: now() - 7200, exp: now() - 3600 });

/** Bad tokens, each with the code by which it is refused. */
export const badTokens = (id) => ({
  'garbage': ['not.a.token', 'invalid_token'],
  'one past its time': [expired({ sub: id }), 'token_expired'],
  'one of another secret': [sign({ sub: id }, { secret: 'another secret, long enough for HS256' }), 'invalid_token'],
  'one without a signature': [sign({ sub: id }, { alg: 'none' }), 'invalid_token'],
});

export const service = { id: 'client-tests', token: sign({ sub: 'client-tests', role: 'service' }) };

/** A user nobody has used before, known to the directory. */
export async function person(name) {
  const id = `${name}-${randomUUID()}`;
  data(await ask(cluster.api[0].url, 'PUT', `/api/users/${id}`, { token: service.token, body: { name, avatar: null } }), [200, 201]);
  return { id, name, token: sign({ sub: id, name }) };
}

export const people = (...names) => Promise.all(names.map(person));

// ---- REST

/**
 * One request. Whatever the status, the answer has to be JSON in the envelope and name its pod.
 * `body` goes as JSON; `raw` goes as it is.
 */
export async function ask(base, method, path, { token, body, raw, headers = {} } = {}) {
  const response = await fetch(new URL(path, base), {
    method,
    headers: {
      ...(token === undefined ? {} : { authorization: `Bearer ${token}` }),
      ...(body === undefined ? {} : { 'content-type': 'application/json' }),
      ...headers,
    },
    body: raw ?? (body === undefined ? undefined : JSON.stringify(body)),
    signal: AbortSignal.timeout(DEADLINE_MS),
  });
  const text = await response.text();
  const what = `${method} ${path} → ${response.status} ${text.slice(0, 300)}`;
  assert.match(response.headers.get('content-type') ?? '', /^application\/json/u, what);
  assert.ok(response.headers.get('x-parley-pod'), `${what}: no x-parley-pod`);
  const answer = { status: response.status, headers: response.headers, body: JSON.parse(text), what };
  if (response.ok) {
    assert.deepEqual(Object.keys(answer.body).sort(), ['data', 'success'], what);
    assert.equal(answer.body.success, true, what);
  } else {
    const { success, error, requestId } = answer.body;
    assert.equal(success, false, what);
    assert.match(error.code, /^[a-z][a-z0-9_]*$/u, what);
    assert.ok(typeof error.message === 'string' && error.message !== '', what);
    assert.ok(typeof requestId === 'string' && requestId !== '', what);
  }
  return answer;
}

/** The `data` of an answer that must have succeeded, with this status or one of these. */
export function data(answer, status = 200) {
  assert.ok([status].flat().includes(answer.status), `wanted ${status}: ${answer.what}`);
  return answer.body.data;
}

/** The `error` of an answer that must have been refused so. */
export function refused(answer, status, code, field) {
  assert.equal(answer.status, status, answer.what);
  assert.equal(answer.body.error.code, code, answer.what);
  if (field !== undefined) assert.equal(answer.body.error.details?.field, field, answer.what);
  return answer.body.error;
}

export const api = (index) => cluster.api[index % cluster.api.length].url;

export const get = (who, path, base = api(0)) => ask(base, 'GET', path, { token: who.token });
export const post = (who, path, body, base = api(0)) => ask(base, 'POST', path, { token: who.token, body });

export async function directChat(one, other) {
  return data(await post(one, '/api/chat', { participantIds: [other.id] }), [200, 201]).chat;
}

export async function groupChat(creator, others, title = 'A group') {
  return data(await post(creator, '/api/chat', { participantIds: others.map(({ id }) => id), type: 'group', title }), 201).chat;
}

/** Sends a text and returns the message of the 201. */
export async function say(who, chat, content, base = api(0)) {
  return data(await post(who, `/api/chat/${chat._id}/messages`, { content }, base), 201).message;
}

// ---- sockets

/** Fails with this line when the promise takes too long. */
export function inTime(promise, what) {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error(`not within ${DEADLINE_MS} ms: ${what}`)), DEADLINE_MS);
  });
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** The next event of this name, of a socket or another emitter: its first argument. */
export function once(emitter, event, what = event) {
  return inTime(new Promise((resolve) => { emitter.once(event, resolve); }), what);
}

/** A socket that has not been connected yet. It is closed at the end of the test. */
export function socketTo(t, url, { auth, ...options } = {}) {
  const socket = io(url, { auth, forceNew: true, autoConnect: false, reconnectionDelay: 50, reconnectionDelayMax: 500, ...options });
  t.after(() => { socket.disconnect(); });
  return socket;
}

/** A connected socket. */
export async function connect(t, url, who, options = {}) {
  const socket = socketTo(t, url, { auth: { token: who.token }, ...options });
  const connected = new Promise((resolve, reject) => {
    socket.once('connect', resolve);
    socket.once('connect_error', (error) => reject(new Error(`connect_error at ${url}: ${error.message} ${JSON.stringify(error.data)}`)));
  });
  socket.connect();
  await inTime(connected, `connect to ${url}`);
  return socket;
}

/** Why the connection was refused. */
export async function connectError(t, url, options) {
  const socket = socketTo(t, url, { reconnection: false, ...options });
  const outcome = new Promise((resolve, reject) => {
    socket.once('connect', () => reject(new Error('was let in')));
    socket.once('connect_error', resolve);
  });
  socket.connect();
  return inTime(outcome, 'connect_error');
}

/** The ack of an event, whatever it says. */
export const acked = (socket, event, argument) => socket.timeout(DEADLINE_MS).emitWithAck(event, argument);

/** Joins a chat's room, which must succeed; returns the ack. */
export async function join(socket, argument) {
  const ack = await acked(socket, 'join-chat-room', argument);
  assert.equal(ack.success, true, `join: ${JSON.stringify(ack)}`);
  return ack;
}

/**
 * Keeps every `new-message` that a socket hears. A `resync` of a chat is a lost message: it ends the test. One without a chat is
 * about the list of chats: whoever connects while a new one is told may hear it.
 */
export class Ears {
  heard = [];
  #waiting = new Set();
  #lost = null;

  constructor(socket) {
    socket.on('new-message', (...events) => {
      this.heard.push(...events);
      this.#check();
    });
    socket.on('resync', (event) => {
      if (event.chatId === null) return;
      this.#lost = new Error(`resync: ${JSON.stringify(event)}`);
      this.#check();
    });
  }

  /** The contents heard, in order. */
  get contents() {
    return this.heard.map(({ message }) => message.content);
  }

  /** The event of the message with this content, once it has come. */
  async until(content) {
    await this.#until(() => this.contents.includes(content), `“${content}” after [${this.contents}]`);
    return this.heard.find(({ message }) => message.content === content);
  }

  /** Waits until this many have come. */
  count(number) {
    return this.#until(() => this.heard.length >= number, `${number} messages`);
  }

  #until(done, what) {
    return inTime(new Promise((resolve, reject) => {
      this.#waiting.add({ done, resolve, reject });
      this.#check();
    }), what);
  }

  #check() {
    for (const waiting of this.#waiting) {
      if (this.#lost) waiting.reject(this.#lost);
      else if (waiting.done()) waiting.resolve();
      else continue;
      this.#waiting.delete(waiting);
    }
  }
}

// ---- the contract's objects

export const fields = {
  chat: ['_id', 'type', 'title', 'subject', 'metadata', 'purchaseRequestId', 'buyerId', 'sellerId', 'createdBy', 'participants', 'participantCount', 'lastMessage', 'unreadCount', 'archived', 'messageCount', 'version', 'createdAt', 'updatedAt'],
  participant: ['_id', 'userId', 'name', 'avatar', 'role', 'joinedAt', 'online', 'lastSeenAt', 'readUpTo'],
  message: ['_id', 'chatId', 'seq', 'version', 'changedVersion', 'senderId', 'sender', 'type', 'content', 'replyToMessageId', 'metadata', 'attachments', 'clientMessageId', 'createdAt', 'editedAt', 'deletedAt'],
  pagination: ['page', 'limit', 'total', 'totalPages', 'hasNext'],
};

/** Every field of the contract is there, `null` when it has no value; more may be. */
export function has(object, kind) {
  const missing = fields[kind].filter((field) => object[field] === undefined);
  assert.deepEqual(missing, [], `fields missing in a ${kind}: ${JSON.stringify(object)}`);
  return object;
}

/** The contract's fields of an object, for comparing two views of it. */
export const only = (object, kind) => Object.fromEntries(fields[kind].map((field) => [field, object[field]]));

export const TIME = /^\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}\.\d{3}Z$/u;
export const UUID7 = /^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/u;
/** A well-formed id that nothing has. */
export const UNKNOWN_ID = '01900000-0000-7000-8000-000000000000';
