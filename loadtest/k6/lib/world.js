// Who there is, and in which chats.

import http from 'k6/http';
import { must } from './rest.js';
import { run, tokens, url } from './settings.js';
import { tokenOf } from './token.js';

/** Most people in one call of the user directory, and in one new chat. */
const [USERS_A_CALL, PARTICIPANTS_A_CALL] = [1000, 1000];

const named = tokens ? Object.keys(tokens).filter((it) => it !== 'service') : null;

export const userOf = (index) => (named ? named[index] : `${run}-${index}`);

function slices(list, length) {
  const all = [];
  for (let at = 0; at < list.length; at += length) all.push(list.slice(at, at + length));
  return all;
}

/** Makes everybody known, before anybody is put into a chat. */
function makeUsers(count) {
  const service = tokenOf('load', 'service');
  const users = [...Array(count).keys()].map((index) => ({ id: userOf(index), name: `Person ${index}` }));
  slices(users, USERS_A_CALL).forEach((some) => must('POST', '/api/users', service, { users: some }, 'setup'));
}

/** Calls side by side, answers in their order. */
function makeChats(wanted) {
  return slices(wanted, 20).flatMap((some) => {
    const calls = some.map(({ by, body }) => ({
      method: 'POST',
      url: `${url}/api/chat`,
      body: JSON.stringify(body),
      params: {
        headers: { Authorization: `Bearer ${tokenOf(by)}`, 'Content-Type': 'application/json' },
        tags: { name: 'setup' },
      },
    }));
    return http.batch(calls).map((answer) => {
      if (answer.status !== 201 && answer.status !== 200) throw new Error(`POST /api/chat: ${answer.status} ${answer.body}`);
      return answer.json().data.chat._id;
    });
  });
}

/** Groups of `size`, each of different people; of the last one perhaps fewer, but never one alone. */
export function makeGroups(count, size) {
  makeUsers(count);
  const indices = [...Array(count).keys()];
  const members = slices(indices, Math.min(size, PARTICIPANTS_A_CALL));
  if (members.length > 1 && members[members.length - 1].length < 2) members[members.length - 2].push(...members.pop());
  const chats = makeChats(members.map((some) => ({
    by: userOf(some[0]),
    body: { type: 'group', title: 'Load', participantIds: some.map(userOf) },
  })));
  const chatsOf = indices.map(() => []);
  members.forEach((some, place) => some.forEach((index) => chatsOf[index].push(chats[place])));
  return { chats, chatsOf };
}

/** Besides its group, everybody has a direct chat with the next one. */
export function makeTown(count, size) {
  const { chats, chatsOf } = makeGroups(count, size);
  const pairs = [...Array(count - 1).keys()].filter((index) => index % 2 === 0);
  const direct = makeChats(pairs.map((index) => ({
    by: userOf(index),
    body: { participantIds: [userOf(index), userOf(index + 1)] },
  })));
  pairs.forEach((index, place) => [index, index + 1].forEach((one) => chatsOf[one].push(direct[place])));
  return { chats: [...chats, ...direct], chatsOf };
}
