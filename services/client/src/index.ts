/**
 * A client of Parley: live chats over the stock `socket.io-client` that miss nothing, sends that happen once, and typed
 * REST.
 *
 * @packageDocumentation
 */

export { Parley } from './parley.js';
export type { ParleyOptions } from './parley.js';
export { Chat } from './chat.js';
export type { OpenOptions } from './chat.js';
export { ParleyError, SendError } from './errors.js';
export type { SendOptions } from './outbox.js';
export type { Position } from './order.js';
export type { CallOptions, Input, Operation, Rest } from './rest.js';
export type { GetToken } from './token.js';
export type * from './events.js';
export type * as Schema from './schema.js';
export type {
  Attachment, Chat as ChatObject, ChatType, CreateChat, FileForm, Message, Messages, Participant, ParticipantRole, SendMessage,
} from './schema.js';
