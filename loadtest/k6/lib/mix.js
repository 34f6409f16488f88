// What people do in a team chat, by the one published mix of actions (Mattermost's load test: frequencies of its
// SimulController relative to a post). Reads outnumber sends by more than ten to one.

import { setTimeout } from 'k6/timers';
import { call, sendMessage } from './rest.js';

const any = (list) => list[Math.floor(Math.random() * list.length)];
const WORDS = 'thanks yes no later today the order price photo sold ship pick up size colour still available'.split(' ');

export const words = () => [...Array(3 + Math.floor(Math.random() * 12))].map(() => any(WORDS)).join(' ');

let sends = 0;
const newId = (client) => {
  sends += 1;
  return `${client.user}-${__ITER}-${Date.now()}-${sends}`;
};

const get = (client, path, name) => call('GET', path, client.token, null, name);

function openChat(client, room) {
  get(client, `/api/chat/${room.chat}/info`, 'info');
  get(client, `/api/chat/${room.chat}/messages?limit=50`, 'history');
  call('PATCH', `/api/chat/${room.chat}/messages/read`, client.token, {}, 'read');
}

function scroll(client, room) {
  if (room.seq > 1) get(client, `/api/chat/${room.chat}/messages?limit=50&before=${Math.max(2, room.seq - 50)}`, 'scroll');
}

function type(client, room) {
  client.connection.emit('typing-start', { chatId: room.chat });
  setTimeout(() => client.connection.emit('typing-stop', { chatId: room.chat }), 1500);
}

function send(client, room) {
  const message = sendMessage(client.token, room.chat, words(), newId(client));
  if (message) room.mine = message._id;
}

function edit(client, room) {
  if (room.mine) call('PUT', `/api/chat/${room.chat}/messages/${room.mine}`, client.token, { content: words() }, 'edit');
}

function remove(client, room) {
  if (room.mine) call('DELETE', `/api/chat/${room.chat}/messages/${room.mine}`, client.token, null, 'delete');
  room.mine = null;
}

const list = (client) => get(client, '/api/chat?limit=20', 'list');
const list2 = (client) => get(client, '/api/chat?limit=20&page=2', 'list');
const around = (client, room) => room.seq > 0 && get(client, `/api/chat/${room.chat}/messages?around=${1 + Math.floor(Math.random() * room.seq)}`, 'around');
const stats = (client) => get(client, '/api/chat/stats', 'stats');

/** Weight, and what is done. What Parley has no counterpart of (reactions, search, threads' own reads) is left out. */
const ACTIONS = [
  [6.52, openChat],
  [1.99, scroll],
  [1.91, type],
  [1.0, send],
  [1.0, list],
  [0.98, openChat],
  [0.6, list2],
  [0.32, stats],
  [0.58, around],
  [0.144, (client) => client.cut()],
  [0.04, edit],
  [0.005, remove],
];
const TOTAL = ACTIONS.reduce((sum, [weight]) => sum + weight, 0);

export function act(client) {
  let point = Math.random() * TOTAL;
  const [, action] = ACTIONS.find(([weight]) => {
    point -= weight;
    return point <= 0;
  }) || ACTIONS[0];
  action(client, any([...client.rooms.values()]));
}

/** Acts, with a pause of at least a second and `idle` seconds in the mean, until `until`; then `done`. */
export function live(client, idle, until, done) {
  const pause = () => 1000 * (Math.min(idle, 1) - Math.max(idle - 1, 0) * Math.log(1 - Math.random()));
  const next = () => {
    const at = Date.now() + pause();
    setTimeout(() => {
      if (Date.now() >= until) return done();
      act(client);
      return next();
    }, Math.max(0, Math.min(at, until) - Date.now()));
  };
  next();
}
