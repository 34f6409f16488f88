// One chat's messages, drawn: days, groups, own on the right.

import { el, reconcile } from './dom.js';
import { dayKey, dayName, fullTime, hue, initials, timeOfDay } from './format.js';
import { nameOf } from './model.js';

const GROUP_MS = 5 * 60_000;

/** Draws a history; `retry` and `discard` are called with the `clientMessageId` of a failed send. */
export function drawMessages(list, { history, me, retry, discard }) {
  const items = [
    ...history.messages.map((message) => ({
      key: keyOf(message, me),
      senderId: message.senderId,
      sender: nameOf(message.sender ?? { userId: message.senderId }),
      content: message.deletedAt ? 'Deleted' : (message.content ?? ''),
      at: new Date(message.createdAt),
      system: message.type === 'system',
      version: message.changedVersion ?? message.version,
      pending: null,
    })),
    ...history.pending.map((pending) => ({
      key: `client:${pending.clientMessageId}`,
      senderId: me,
      sender: 'You',
      content: pending.content,
      at: new Date(pending.createdAt),
      system: false,
      version: 0,
      pending,
    })),
  ];

  const rows = [];
  let previous = null;
  items.forEach((item, index) => {
    const day = dayKey(item.at);
    if (!previous || dayKey(previous.at) !== day) {
      rows.push({ key: `day:${day}`, sign: dayName(item.at), build: () => el('li', { class: 'day' }, el('span', {}, dayName(item.at))) });
    }
    const first = !joins(previous, item);
    const last = !joins(item, items[index + 1]);
    rows.push({
      key: item.key,
      sign: [item.version, first, last, item.pending ? (item.pending.failure ?? 'sending') : 'sent'].join('\u0000'),
      build: () => (item.system ? systemRow(item) : messageRow(item, { own: item.senderId === me, first, last, retry, discard })),
    });
    previous = item;
  });
  reconcile(list, rows);
}

/** Own messages keep their place on the page when the optimistic one becomes the real one. */
function keyOf(message, me) {
  return message.senderId === me && message.clientMessageId !== null ? `client:${message.clientMessageId}` : message._id;
}

function joins(above, below) {
  return Boolean(above && below)
    && above.senderId === below.senderId
    && !above.system && !below.system
    && dayKey(above.at) === dayKey(below.at)
    && below.at - above.at < GROUP_MS;
}

function systemRow({ content, at }) {
  return el('li', { class: 'system', title: fullTime(at), 'data-testid': 'message' }, el('span', { class: 'text', dir: 'auto' }, content));
}

function messageRow({ senderId, sender, content, at, pending }, { own, first, last, retry, discard }) {
  const classes = ['message', own ? 'own' : 'theirs', first && 'first', last && 'last', pending && (pending.failure ? 'failed' : 'sending')];
  const time = el('time', { dateTime: at.toISOString(), title: fullTime(at) }, timeOfDay(at));
  const state = pending ? (pending.failure ? 'failed' : 'sending') : 'sent';
  return el('li', { class: classes.filter(Boolean).join(' '), 'data-testid': 'message', 'data-state': state },
    own ? null : el('span', { class: `avatar small ${hue(senderId)}`, 'aria-hidden': 'true' }, last ? initials(sender) : ''),
    el('div', { class: 'message-body' },
      el('p', { class: first ? 'byline' : 'byline visually-hidden' },
        el('span', { class: own ? 'visually-hidden' : 'sender', 'data-testid': 'sender' }, own ? 'You' : sender),
        ' ', time),
      el('p', { class: 'bubble' }, el('span', { class: 'text', dir: 'auto', 'data-testid': 'text' }, content)),
      pending ? statusLine(pending, retry, discard) : null));
}

function statusLine({ clientMessageId, failure }, retry, discard) {
  if (!failure) return el('p', { class: 'send-state' }, 'Sending…');
  return el('p', { class: 'send-state error' },
    el('span', { 'data-testid': 'failure' }, `Not sent. ${failure}`),
    el('button', { type: 'button', class: 'link', 'data-testid': 'retry', onclick: () => retry(clientMessageId) }, 'Try again'),
    el('button', { type: 'button', class: 'link', 'data-testid': 'discard', onclick: () => discard(clientMessageId) }, 'Discard'));
}
