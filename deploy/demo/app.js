// The page: two panes, and the way that the last message took between them.

import { el } from './dom.js';
import { Pane } from './pane.js';

const stage = document.querySelector('.stage');
const note = document.querySelector('.stage-note');
const route = document.querySelector('.route');
const template = document.querySelector('#pane-template');

async function loadUsers() {
  const response = await fetch('/demo.json', { cache: 'no-store' });
  if (!response.ok) throw new Error(`/demo.json: ${response.status}`);
  const { users } = await response.json();
  if (users.length < 2) throw new Error('/demo.json names fewer than two users');
  return users.slice(0, 2);
}

/** Puts together what the sender's pane and the other's know of one message: who, through which pods, how fast. */
function followMessages(panes, users) {
  const ways = new Map();
  const learn = (message, facts) => {
    const way = { ...ways.get(message._id), ...facts };
    ways.set(message._id, way);
    if (way.startedAt === undefined || way.at === undefined) return;
    ways.delete(message._id);
    showRoute(way);
  };
  panes.forEach((pane, index) => {
    pane.addEventListener('sent', ({ detail: { message, pod, startedAt } }) => learn(message, { startedAt, pod, from: users[index].name }));
    pane.addEventListener('heard', ({ detail: { message, gateway, at } }) => {
      const sender = users[1 - index];
      if (message.senderId === sender.id) learn(message, { at, gateway, to: users[index].name });
    });
  });
}

function showRoute({ from, pod, gateway, to, startedAt, at }) {
  const stops = [from, pod, gateway, to].filter(Boolean);
  route.hidden = false;
  route.replaceChildren(
    el('ol', {}, ...stops.map((stop, index) => el('li', { class: index === 0 || index === stops.length - 1 ? 'person' : 'pod' }, stop))),
    el('span', { class: 'took' }, `${Math.max(1, Math.round(at - startedAt))} ms`),
  );
}

function explainMissing() {
  note.replaceChildren(
    el('strong', {}, 'No demo users here.'),
    ' This page needs a running cluster with its two ready-made users. Start one with ',
    el('code', {}, 'cargo parley up'),
    ' and open the address that it prints.',
  );
}

try {
  const users = await loadUsers();
  const panes = users.map((user) => new Pane(user, template));
  followMessages(panes, users);
  stage.replaceChildren(...panes.map((pane) => pane.element));
  await Promise.all(panes.map((pane) => pane.start()));
} catch (error) {
  console.warn(error);
  explainMissing();
}
