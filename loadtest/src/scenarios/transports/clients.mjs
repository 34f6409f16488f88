// One turn of `bench transports`: stock clients arrive while messages are said, and each has to hear all of its room, once
// and in order. The last line of standard output is what came of it.

import { createHmac, randomUUID } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { NodeXHR } from 'engine.io-client';
import { io } from 'socket.io-client';

const { cluster: file, mode, clients, members, rate, arrivals, seconds } = JSON.parse(process.argv[2]);
const cluster = JSON.parse(readFileSync(file, 'utf8'));
/** How long clients have to come to the end of what was said. */
const SETTLE_MS = 60_000;
const REQUESTS_AT_A_TIME = 16;

/** Stock polling, but for where each request goes: to one gateway after the other, by address. */
class Alternating extends NodeXHR {
  static turn = 0;

  uri() {
    const { hostname, port } = new URL(cluster.gateway[Alternating.turn % cluster.gateway.length].url);
    Alternating.turn += 1;
    Object.assign(this.opts, { hostname, port });
    return super.uri();
  }
}

const modes = {
  'polling': { transports: ['polling'], upgrade: false },
  'alternating': { transports: [Alternating], upgrade: false },
  'default': {},
  // A gateway dies, and its clients come back to another one.
  'death': { transports: ['polling'], upgrade: false },
};

const sleep = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });
const part = (value) => Buffer.from(JSON.stringify(value)).toString('base64url');

function token(sub) {
  const now = Math.floor(Date.now() / 1000);
  const signed = `${part({ alg: 'HS256', typ: 'JWT' })}.${part({ sub, iat: now, exp: now + 7200 })}`;
  return `${signed}.${createHmac('sha256', cluster.jwt.secret).update(signed).digest('base64url')}`;
}

let pod = 0;
/** One request; a pod that cannot answer now is not the last word. Sends have ids of their own, so none is said twice. */
async function ask(who, method, path, body, tries = 10) {
  pod += 1;
  const response = await fetch(new URL(path, cluster.api[pod % cluster.api.length].url), {
    method,
    headers: { authorization: `Bearer ${who.token}`, 'content-type': 'application/json' },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (response.status === 503 && tries > 1) {
    await response.arrayBuffer();
    await sleep(500);
    return ask(who, method, path, body, tries - 1);
  }
  const answer = await response.json();
  if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${JSON.stringify(answer)}`);
  return answer.data;
}

/** Does this with all of them, a few at a time. */
async function each(all, work) {
  const queue = all.entries();
  await Promise.all(Array.from({ length: REQUESTS_AT_A_TIME }, async () => {
    for (const [index, one] of queue) await work(one, index);
  }));
}

async function populate() {
  const run = randomUUID().slice(0, 8);
  const people = Array.from({ length: clients }, (_, index) => {
    const id = `${mode}-${run}-${index}`;
    return { id, token: token(id), heard: [], ends: [], errors: [] };
  });
  await each(people, (one) => ask(one, 'GET', '/api/chat?limit=1'));
  const rooms = [];
  for (let from = 0; from < clients; from += members) rooms.push({ people: people.slice(from, from + members) });
  await each(rooms, async (room, index) => {
    const [creator, ...others] = room.people;
    const body = { type: 'group', title: `Room ${index}`, participantIds: others.map(({ id }) => id) };
    const { chat } = await ask(creator, 'POST', '/api/chat', body);
    Object.assign(room, { chat: chat._id, base: chat.version, version: chat.version, epoch: chat.epoch });
    for (const one of room.people) one.room = room;
  });
  return { people, rooms };
}

/** A client that joins whenever it is connected, with what it has, as any application of this server does. */
function arrive(one) {
  const socket = io(mode === 'alternating' ? cluster.gateway[0].url : cluster.url, {
    ...modes[mode], auth: { token: one.token }, forceNew: true,
  });
  one.socket = socket;
  socket.on('connect', () => {
    const since = one.heard.at(-1) ?? one.room.base;
    socket.emit('join-chat-room', { chatId: one.room.chat, since }, (ack) => {
      one.acks = (one.acks ?? 0) + 1;
      if (!ack.success || ack.resync) one.errors.push(`join: ${JSON.stringify(ack)}`);
    });
  });
  socket.on('new-message', ({ version }) => one.heard.push(version));
  socket.on('resync', (event) => one.errors.push(`resync: ${event.reason}`));
  socket.on('disconnect', (reason, details) => one.ends.push(`${reason}: ${details?.context?.responseText ?? details?.message ?? ''}`));
  socket.on('connect_error', (error) => one.errors.push(`connect_error: ${error.message}`));
}

/** Says messages at the rate until told to stop, and waits for their 201. */
async function speak(rooms, going) {
  const under = new Set();
  const began = Date.now();
  for (let count = 0; going(); count += 1) {
    const room = rooms[count % rooms.length];
    const author = room.people[count % room.people.length];
    const sent = ask(author, 'POST', `/api/chat/${room.chat}/messages`, { content: `message ${count}`, clientMessageId: randomUUID() })
      .then(({ message }) => { room.version = Math.max(room.version, message.version); });
    under.add(sent);
    sent.finally(() => under.delete(sent)).catch(() => null);
    await sleep(began + ((count + 1) * 1000) / rate - Date.now());
  }
  await Promise.all(under);
}

/** Sums of the gateways' counters, by their labels. */
async function counters() {
  const sums = {};
  for (const { admin } of cluster.gateway) {
    const text = await fetch(new URL('/metrics', admin)).then((answer) => answer.text()).catch(() => '');
    for (const [, series, value] of text.matchAll(/^parley_gateway_((?:refused|forwards|moves)_total\{[^}]*\}) (\d+)$/gmu)) {
      sums[series] = (sums[series] ?? 0) + Number(value);
    }
  }
  return sums;
}

const counted = (list) => {
  const counts = {};
  for (const one of list) counts[one] = (counts[one] ?? 0) + 1;
  return counts;
};

const { people, rooms } = await populate();
const before = await counters();
let going = true;
const speaking = speak(rooms, () => going);
const began = Date.now();
for (const [index, one] of people.entries()) {
  await sleep(began + (index * 1000) / arrivals - Date.now());
  arrive(one);
}
await sleep(seconds * 500);
if (mode === 'death') process.kill(cluster.gateway[0].pid, 'SIGKILL');
await sleep(seconds * 500);
going = false;
await speaking;

const wanted = ({ room }) => room.version - room.base;
const isWhole = (one) => one.heard.length >= wanted(one) && (mode !== 'default' || one.socket.io.engine?.transport.name === 'websocket');
const deadline = Date.now() + SETTLE_MS;
while (!people.every(isWhole) && Date.now() < deadline) await sleep(100);
// What comes twice has come by now.
await sleep(1000);

const ascending = (one) => one.heard.every((version, index) => index === 0 || version > one.heard[index - 1]);
const lost = people.map((one) => wanted(one) - new Set(one.heard).size);
const after = await counters();
const changed = Object.entries(after).map(([series, value]) => [series, value - (before[series] ?? 0)]).filter(([, value]) => value > 0);
console.log(JSON.stringify({
  mode,
  clients,
  said: rooms.reduce((sum, room) => sum + room.version - room.base, 0),
  heard: people.reduce((sum, one) => sum + one.heard.length, 0),
  lost: lost.reduce((sum, count) => sum + count, 0),
  doubled: people.reduce((sum, one) => sum + one.heard.length - new Set(one.heard).size, 0),
  disordered: people.filter((one) => !ascending(one)).length,
  joined_again: people.filter((one) => one.acks !== 1).length,
  transports: counted(people.map((one) => one.socket.io.engine?.transport.name ?? 'none')),
  ends: counted(people.flatMap((one) => one.ends)),
  errors: counted(people.flatMap((one) => one.errors)),
  gateways: Object.fromEntries(changed),
}));
process.exit(0);
