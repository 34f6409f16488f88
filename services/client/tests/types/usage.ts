// Compiled, never run: how an app sees the types, and that what is written by hand agrees with what is generated.

import { Parley, SendError } from '@parley/client';
import type { ChatEvents, ChatUpdated, JoinAck, Message, Schema, UserTyping } from '@parley/client';

type Same<A, B> = [A] extends [B] ? ([B] extends [A] ? true : false) : false;
/** Events of the contract that the documents may not tell of yet: once they do, they have to say the same. */
type Agrees<Name extends string, Own> = Name extends keyof Schema.RoomEvents ? Same<Schema.RoomEvents[Name], Own> : true;

const agreed: [Agrees<'user-typing', UserTyping>, Agrees<'chat-updated', ChatUpdated>] = [true, true];
/** Every event of a room is one that a chat tells. */
const told: Exclude<keyof Schema.RoomEvents, 'resync'> extends keyof ChatEvents ? true : false = true;
const same: Same<ChatEvents['new-message'], Schema.NewMessageEvent> = true;
const ack: Pick<JoinAck, 'version' | 'epoch' | 'resync'> = { version: 1, epoch: '0123456789abcdef', resync: false };
void [agreed, told, same, ack];

export async function app(): Promise<Message | null> {
  const parley = new Parley({ url: 'https://chat.example.com', getToken: async () => 'token' });
  const off: () => void = parley.on('state', ({ state }) => console.log(state satisfies string));
  const chat = parley.chat('0192f0a4-7c3b-7d2e-8a1b-0123456789ab');
  chat.on('new-message', ({ message }) => console.log(message.content.length, message.editedAt?.length));
  chat.on('reset', ({ messages }) => messages.forEach(({ seq }) => seq.toFixed()));
  // @ts-expect-error: there is no such event
  chat.on('new-massage', () => {});
  // @ts-expect-error: an id goes into the path
  await parley.rest.call('getChat', {});
  // @ts-expect-error: the order is one of two
  await chat.history({ order: 'upwards' });
  const { participants } = await parley.rest.call('listParticipants', { path: { id: chat.id } });
  participants.map(({ role }) => role === 'creator');
  off();
  try {
    return await chat.send({ content: 'Hello' }, { deadlineMs: 5_000 });
  } catch (error) {
    if (error instanceof SendError && error.mayBeSent) return null;
    throw error;
  }
}
