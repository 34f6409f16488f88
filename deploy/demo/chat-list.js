// The list of chats, drawn.

import { el, reconcile } from './dom.js';
import { fullTime, hue, initials, listTime } from './format.js';
import { nameOf, titleOf } from './model.js';

/** Draws the chats; `choose(chatId)` is called for the one that was clicked. */
export function drawChats(list, { inbox, me, openId, choose }) {
  reconcile(list, inbox.all.map((chat) => {
    const open = chat._id === openId;
    const unread = open ? 0 : inbox.unread(chat._id);
    const when = new Date(chat.lastMessage?.createdAt ?? chat.createdAt);
    const title = titleOf(chat, me);
    const preview = previewOf(chat, me);
    return {
      key: chat._id,
      sign: [title, preview, listTime(when), unread, open].join('\u0000'),
      build: () => el('li', {}, el('button', {
        type: 'button',
        class: 'chat',
        'aria-current': open ? 'true' : null,
        'data-testid': `chat-${chat._id}`,
        onclick: () => choose(chat._id),
      },
      el('span', { class: `avatar ${hue(faceOf(chat, me))}`, 'aria-hidden': 'true' }, initials(title)),
      el('span', { class: 'chat-title' }, title),
      el('time', { class: 'chat-time', dateTime: when.toISOString(), title: fullTime(when) }, listTime(when)),
      el('span', { class: chat.lastMessage ? 'chat-preview' : 'chat-preview faint' }, preview),
      unread > 0 ? el('span', { class: 'badge', 'data-testid': 'unread' }, unread > 99 ? '99+' : String(unread), el('span', { class: 'visually-hidden' }, ' unread')) : null)),
    };
  }));
}

/** Whose colour a chat wears: the other one's, or the group's own. */
export function faceOf(chat, me) {
  if (chat.type !== 'direct') return chat._id;
  return chat.participants.find(({ userId }) => userId !== me)?.userId ?? chat._id;
}

function previewOf(chat, me) {
  const message = chat.lastMessage;
  if (!message) return 'No messages yet';
  const text = (message.content ?? '').replace(/\s+/gu, ' ').trim();
  if (message.senderId === me) return `You: ${text}`;
  return chat.type === 'direct' ? text : `${nameOf(message.sender ?? { userId: message.senderId })}: ${text}`;
}
