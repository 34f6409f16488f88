// Made from services/api/openapi.json and services/api/asyncapi.json by `npm run generate`; not to be edited.

export interface AddParticipant {
  userId: UserId;
}

export interface Added {
  chat: Chat;
  participant: Participant;
}

export interface Archived {
  archived: boolean;
  chat: Chat;
}

/** A file of a message. */
export interface Attachment {
  /** The file. */
  _id: AttachmentId;
  /** Its name as uploaded. */
  filename: string;
  /** Its type, found from its content. */
  mimeType: string;
  /** Its size in bytes. */
  size: number;
  /** Where participants download it. */
  url: string;
}

/** A file of a message. */
export type AttachmentId = string;

/** The URL of a picture, `http(s)` or a path of the host's own site; never `javascript:` or `data:`. */
export type Avatar = string;

/** What stands beside the name of an event; which fields, depends on the name. */
export interface ChangeEvent {
  addedBy?: UserId | null;
  chatId: ChatId;
  content?: string | null;
  deletedAt?: Timestamp | null;
  deletedBy?: UserId | null;
  editedAt?: Timestamp | null;
  epoch: Epoch;
  message?: Message | null;
  messageId?: MessageId | null;
  participants?: Participant[] | null;
  removedBy?: UserId | null;
  userId?: UserId | null;
  version: Version;
}

export interface ChangeWebhook {
  /** Left out, it stays as it is; an empty one takes it away. */
  description?: string | null;
  /** Switched on, it is as if it had never failed, and what waits is due now. */
  enabled?: boolean | null;
  /** Left out, they stay as they are; none: all of them. */
  events?: WebhookEvent[] | null;
  /** Left out, it stays as it is. */
  url?: WebhookUrl | null;
}

export interface Changes {
  epoch: Epoch;
  /** As a Socket.IO client hears them: `["name", { … }]`. */
  events: ["new-message" | "message-edited" | "message-deleted" | "participants-added" | "participant-removed", ChangeEvent][];
  hasMore: boolean;
  /** Nothing is told, since it would be too much or of another history: reload, and go on from `version`. */
  resync: boolean;
  /** The `since` that goes on from here. */
  version: Version;
}

/** A chat as one participant sees it. */
export interface Chat {
  /** The chat. */
  _id: ChatId;
  /** Whether the viewer has put it away. */
  archived: boolean;
  /** Its buyer. */
  buyerId: UserId | null;
  /** When created. */
  createdAt: Timestamp;
  /** Who created it. */
  createdBy: UserId;
  /** The newest message. */
  lastMessage: Message | null;
  /** Messages ever sent in it. */
  messageCount: number;
  /** The host's own data. */
  metadata: Record<string, unknown> | null;
  /** Whether the viewer wants no notifications of it. */
  muted: boolean;
  /** Until when; `null` while not muted, or if muted for good. */
  mutedUntil: Timestamp | null;
  /** All of them. */
  participantCount: number;
  /** At most 100 of them, the viewer always among them. */
  participants: Participant[];
  /** The host's purchase request that the chat belongs to. */
  purchaseRequestId: string | null;
  /** Its seller. */
  sellerId: UserId | null;
  /** What a support chat is about. */
  subject: string | null;
  /** A group's title. */
  title: string | null;
  /** What kind of conversation it is. */
  type: ChatType;
  /** What the viewer has not read. */
  unreadCount: number;
  /** Unread messages of each listed participant; only where one chat is asked for. */
  unreadCounts?: Record<string, number> | null;
  /** When last spoken in or changed. */
  updatedAt: Timestamp;
  /** The position from which a join misses nothing of what this object does not show. */
  version: Version;
}

/** A chat. */
export type ChatId = string;

/** `chat-created` and `chat-removed`; they take no version of their own. */
export interface ChatShown {
  /** As the user sees it; of a chat that is not theirs any more, nothing that was said in it. */
  chat: Chat;
  /** The chat. */
  chatId: ChatId;
  /** The history that the version belongs to. */
  epoch: Epoch;
  /** Where it stood: the position to join from. */
  version: Version;
}

/** What kind of conversation a chat is. */
export type ChatType = "direct" | "group" | "support";

export interface Chats {
  chats: Chat[];
  pagination: Pagination;
}

/** The sender's own id of a message */
export type ClientMessageId = string;

/** The text of a message: 1–5,000 Unicode scalar values, not only white space (but beside a file), no NUL; stored as sent. */
export type Content = string;

export interface Count {
  count: number;
}

export interface CreateChat {
  /** The host's own data: at most 16 KiB and 16 levels, without NUL. */
  metadata?: Record<string, unknown> | null;
  /** At least one besides the caller, who is in without being named; exactly one for a direct chat. */
  participantIds: UserId[];
  /** Kept for groups only. */
  title?: Title | null;
  type?: CreatedType | null;
}

export interface CreateWebhook {
  description?: Description | null;
  /** Which events; none, or left out: all of them, also those of later releases. */
  events?: WebhookEvent[];
  url: WebhookUrl;
}

/** What people make themselves; `direct` by default. */
export type CreatedType = "direct" | "group";

export interface Deliveries {
  /** The newest first. */
  deliveries: Delivery[];
  hasMore: boolean;
}

export interface Delivery {
  _id: DeliveryId;
  attempts: number;
  chatId: ChatId | null;
  /** The `webhook-id` that the receiver sees. */
  eventId: EventId;
  lastAttempt: DeliveryAttempt | null;
  occurredAt: Timestamp;
  /** When it was delivered or given up. */
  settledAt: Timestamp | null;
  state: DeliveryState;
  type: WebhookEvent;
}

export interface DeliveryAttempt {
  /** How the answer began. */
  answer: string | null;
  attempt: number;
  beganAt: Timestamp;
  /** Why there was no answer, or why it did not count. */
  error: string | null;
  milliseconds: number;
  /** The answer's status; `null` without an answer. */
  status: number | null;
}

/** An event for one webhook. */
export type DeliveryId = number;

/** `waiting`: it is tried, or will be; `delivered`: it was answered with a 2xx; `dead`: it was tried for too long. */
export type DeliveryState = "waiting" | "delivered" | "dead";

export interface DeliveryWithAttempts {
  /** The latest 100, the oldest of them first. */
  attempts: DeliveryAttempt[];
  delivery: Delivery;
}

/** What a webhook is for, in its owner's words: 1–200 characters, no control characters. */
export type Description = string;

export interface EditMessage {
  content: Content;
}

/**
 * Which history a version belongs to. It changes when a database is restored or forked, so that a client's
 * position in the lost history is not taken for one in the new. On the wire: 16 hexadecimal digits.
 */
export type Epoch = string;

/** Something that happened, as webhooks are told it: the same at every webhook and at every attempt. */
export type EventId = string;

/** What `details` may say; which fields, depends on the code. */
export interface FailureDetails {
  /** The field that breaks a rule. */
  field?: string | null;
  /** How often in each window. */
  limit?: number | null;
  /** Why the host application does not let a message through. */
  reason?: string | null;
  retryAfterSeconds?: number | null;
  /** Who is not known. */
  userId?: string | null;
  windowSeconds?: number | null;
}

/** A file, or a range of it. */
export type FileBytes = Blob;

/** A message with a file; fields of other names mean nothing. */
export interface FileForm {
  /** Makes a repeated send the same send; must agree with `Idempotency-Key` if both are given. */
  clientMessageId?: ClientMessageId;
  /** The caption; it may be empty. */
  content?: string;
  /** One file with a name of 1–255 characters that is no path. Its type is what its content says. */
  file: Blob;
  /** The host's own data as JSON: at most 16 KiB and 16 levels, without NUL. */
  metadata?: Record<string, unknown>;
  /** A message of the same chat. */
  replyToMessageId?: MessageId;
}

export interface FileLink {
  expiresAt: Timestamp;
  /** The file's address without the host, with the link's query. */
  url: string;
}

export interface MarkRead {
  /** Without any, everything is marked. Ids that the chat does not know are passed over. */
  messageIds?: MessageId[] | null;
}

export interface MarkUnread {
  messageId: MessageId;
}

/** A message as clients see it, over REST and in events alike. */
export interface Message {
  /** The message. */
  _id: MessageId;
  /** Its files. */
  attachments: Attachment[];
  /** The chat's version at which it was last edited or deleted. */
  changedVersion: Version | null;
  /** Its chat. */
  chatId: ChatId;
  /** The sender's own id of it. */
  clientMessageId: ClientMessageId | null;
  /** The text; empty once deleted. */
  content: string;
  /** Rises strictly with `seq`. */
  createdAt: Timestamp;
  /** When deleted. */
  deletedAt: Timestamp | null;
  /** When last edited. */
  editedAt: Timestamp | null;
  /** The host's own data, byte for byte as the database keeps it. */
  metadata: Record<string, unknown> | null;
  /** The message it answers. */
  replyToMessageId: MessageId | null;
  /** Who wrote it, for display. */
  sender: Sender;
  /** Who wrote it. */
  senderId: UserId;
  /** Its place among the chat's messages. */
  seq: Seq;
  /** Text or system. */
  type: MessageType;
  /** The chat's version at which it was sent. */
  version: Version;
}

/** `message-deleted`; never what it said. */
export interface MessageDeleted {
  /** The room. */
  chatId: ChatId;
  /** When. */
  deletedAt: Timestamp | null;
  /** Its author, or an admin. */
  deletedBy: UserId | null;
  /** The history that the version belongs to. */
  epoch: Epoch;
  /** Which message. */
  messageId: MessageId;
  /** The change's place in the chat. */
  version: Version;
}

/** `message-edited`. */
export interface MessageEdited {
  /** The room. */
  chatId: ChatId;
  /** Its text now. */
  content: string;
  /** When. */
  editedAt: Timestamp | null;
  /** The history that the version belongs to. */
  epoch: Epoch;
  /** The message as REST shows it. */
  message: Message;
  /** Which message. */
  messageId: MessageId;
  /** The change's place in the chat. */
  version: Version;
}

/** A message; within a chat, ids rise with `seq`. */
export type MessageId = string;

/** Where a page of messages stands in its chat. */
export interface MessagePagination {
  /** Whether a further page holds something. */
  hasNext: boolean;
  /** As applied, at most 100. */
  limit: number;
  /** The `before` that continues towards the past; `null` at the chat's beginning. */
  nextBefore: MessageId | null;
  /** From 1. */
  page: number;
  /** Items of the whole list. */
  total: number;
  /** Pages of the whole list. */
  totalPages: number;
}

/** Who speaks: a person, or the host application (`system`). */
export type MessageType = "text" | "system";

export interface Messages {
  messages: Message[];
  pagination: MessagePagination;
  /** The `since` of a join that misses nothing of what came after this page. */
  version: Version;
}

/** `messages-read`; takes no version. */
export interface MessagesRead {
  /** The room. */
  chatId: ChatId;
  /** What; `null`: everything. */
  messageIds: MessageId[] | null;
  /** When. */
  readAt: Timestamp;
  /** Everything up to this seq is read. */
  readUpTo: Seq;
  /** Who has read. */
  userId: UserId;
}

export interface MuteChat {
  muted: boolean;
  /** A time in the next ten years; left out or `null`, a mute has no end. */
  until?: Timestamp | null;
}

export interface Muted {
  chat: Chat;
  muted: boolean;
  mutedUntil: Timestamp | null;
}

/**
 * A display name: 1–200 characters, no control characters, something to be seen. What is invisible or turns the direction of
 * text is taken out.
 */
export type Name = string;

export interface NamedUser {
  /** Left out, it stays as it is; at most 2,048 bytes. */
  avatar?: Avatar | null;
  id: UserId;
  /** Left out, it stays as it is. */
  name?: Name | null;
}

/** `new-message`. */
export interface NewMessageEvent {
  /** The room. */
  chatId: ChatId;
  /** The history that the version belongs to. */
  epoch: Epoch;
  /** The message as REST shows it. */
  message: Message;
  /** The change's place in the chat. */
  version: Version;
}

export interface OneChat {
  chat: Chat;
}

export interface OneDelivery {
  delivery: Delivery;
}

export interface OneMessage {
  message: Message;
}

export interface OneUser {
  user: User;
}

export interface OneWebhook {
  webhook: Webhook;
}

export interface OnesPreferences {
  preferences: Preferences;
}

export interface OpenSupportChat {
  /** Sent, and charged, as any other message. */
  initialMessage?: Content | null;
  subject?: Subject | null;
}

/** A chat as webhooks are told of it. */
export interface OutwardChat {
  /** The chat. */
  _id: ChatId;
  /** When created. */
  createdAt: Timestamp;
  /** Who created it. */
  createdBy: UserId;
  /** The host's own data. */
  metadata: Record<string, unknown> | null;
  /** All of them. */
  participantCount: number;
  /** Who is in it; at most 100 of them. */
  participantIds: UserId[];
  /** The host's purchase request that the chat belongs to. */
  purchaseRequestId: string | null;
  /** What a support chat is about. */
  subject: string | null;
  /** A group's title. */
  title: string | null;
  /** What kind of conversation it is. */
  type: ChatType;
}

/** Where a page stands in its list. */
export interface Pagination {
  /** Whether a further page holds something. */
  hasNext: boolean;
  /** As applied, at most 100. */
  limit: number;
  /** From 1. */
  page: number;
  /** Items of the whole list. */
  total: number;
  /** Pages of the whole list. */
  totalPages: number;
}

/** A participant as clients see it. */
export interface Participant {
  /** The user's id, as the source backend's populated participants have it. */
  _id: UserId;
  /** The picture. */
  avatar: string | null;
  /** Since when. */
  joinedAt: Timestamp;
  /** When last connected, as far as known. */
  lastSeenAt: Timestamp | null;
  /** The display name. */
  name: string | null;
  /** Whether connected; `null` while presence is not known. */
  online: boolean | null;
  /** Everything up to this `seq` is read. */
  readUpTo: Seq;
  /** What the participant is here. */
  role: ParticipantRole;
  /** The user's id once more, under the name that says so. */
  userId: UserId;
}

/** `participant-removed`. */
export interface ParticipantRemoved {
  /** The room. */
  chatId: ChatId;
  /** The history that the version belongs to. */
  epoch: Epoch;
  /** By whom; oneself for one who left. */
  removedBy: UserId | null;
  /** Who. */
  userId: UserId;
  /** The change's place in the chat. */
  version: Version;
}

/** What a participant is in a chat. */
export type ParticipantRole = "creator" | "member" | "agent";

export interface Participants {
  pagination: Pagination;
  participants: Participant[];
}

/** `participants-added`: people who are in the chat from this version on, as what they are now. */
export interface ParticipantsAdded {
  /** By whom. */
  addedBy: UserId | null;
  /** The room. */
  chatId: ChatId;
  /** The history that the version belongs to. */
  epoch: Epoch;
  /** Who. */
  participants: Participant[];
  /** The change's place in the chat. */
  version: Version;
}

/** What a user wants of notifications. */
export interface Preferences {
  /** Whether a notification may show what was said. */
  notificationPreviews: boolean;
  /** When they are not to be disturbed. */
  quietHours: QuietHours | null;
}

export interface PurchaseRequest {
  purchaseRequestId: PurchaseRequestId;
  sellerId: UserId;
}

/** The host's own id of it */
export type PurchaseRequestId = string;

export interface PutPreferences {
  /** Whether a notification may show what was said; it may by default. */
  notificationPreviews?: boolean | null;
  /** When the caller is not to be disturbed; left out or `null`: never. */
  quietHours?: PutQuietHours | null;
}

export interface PutQuietHours {
  /** By the clock in that time zone. */
  from: TimeOfDay;
  /** A name of the IANA database. */
  timeZone: Zone;
  /** Another time than `from`; an earlier one is on the next day. */
  to: TimeOfDay;
}

export interface PutUser {
  /** Left out, it stays as it is; at most 2,048 bytes. */
  avatar?: Avatar | null;
  /** Left out, it stays as it is. */
  name?: Name | null;
}

export interface PutUsers {
  /** Different ones; all are written, or none. */
  users: NamedUser[];
}

/** Hours of every day, by the clock on the user's wall; they may reach over midnight. */
export interface QuietHours {
  /** When they begin. */
  from: TimeOfDay;
  /** Where the clock hangs. */
  timeZone: Zone;
  /** When they end, on the same day or the next one. */
  to: TimeOfDay;
}

export interface Read {
  modifiedCount: number;
  readUpTo: Seq;
  unreadCount: number;
}

export interface Replay {
  /** There may be more of them: the same again with `after`, which is `last`, goes on. */
  hasMore: boolean;
  /** The last of them; `null` if there are none. */
  last: DeliveryId | null;
  /** Deliveries that wait again. */
  replayed: number;
}

export interface ReplayRequest {
  /** Only what comes after this one: the `last` of the answer before, to go on where that ended. */
  after?: DeliveryId | null;
  /** Also what was delivered; else only what was given up. */
  delivered?: boolean;
  /** What happened at or after this, */
  from: string;
  /** and before this. */
  to: string;
}

/** `resync`. */
export interface Resync {
  /** The room; `null`: which chats the user has is to be reloaded. */
  chatId: ChatId | null;
  /** What happened. */
  reason: ResyncReason;
}

/** Why a client is told to reload. */
export type ResyncReason = "gap" | "history" | "chats";

export interface Revocation {
  tokensValidAfter: Timestamp;
  userId: UserId;
}

export interface SendMessage {
  /** Makes a repeated send the same send; must agree with `Idempotency-Key` if both are given. */
  clientMessageId?: ClientMessageId | null;
  content: Content;
  /** The host's own data: at most 16 KiB and 16 levels, without NUL. */
  metadata?: Record<string, unknown> | null;
  /** A message of the same chat. */
  replyToMessageId?: MessageId | null;
  /** `text` by default; `system` for admins and the host application. */
  type?: MessageType | null;
}

/** The sender as shown beside a message. */
export interface Sender {
  /** The user. */
  _id: UserId;
  /** The picture, if the directory knows one. */
  avatar: string | null;
  /** The display name, if the directory knows one. */
  name: string | null;
}

/** A message's place in its chat: 1, 2, 3 … without holes. */
export type Seq = number;

export interface Stats {
  totalChats: number;
  totalMessages: number;
  totalUnread: number;
}

/** What a support chat is about: 1–200 characters, as a title. */
export type Subject = string;

/** A time on the clock, to the minute. */
export type TimeOfDay = string;

/** A moment as clients see it: ISO 8601, UTC, exactly three decimals. */
export type Timestamp = string;

/**
 * A group's title: 1–200 characters, no control characters, something to be seen. What is invisible or turns the direction of
 * text is taken out.
 */
export type Title = string;

export interface Unread {
  readUpTo: Seq;
  unreadCount: number;
}

export interface User {
  _id: UserId;
  avatar: string | null;
  createdAt: Timestamp;
  deletedAt: Timestamp | null;
  /** When last connected, as far as known. */
  lastSeenAt: Timestamp | null;
  name: string | null;
  /** Whether connected; `null` while presence is not known. */
  online: boolean | null;
  updatedAt: Timestamp;
}

/** A user, under the host's own id */
export type UserId = string;

/**
 * `user-typing`; takes no version. It is told when it begins and when it ends, and is written by the gateway at which the
 * user is connected.
 */
export interface UserTyping {
  /** The room. */
  chatId: ChatId;
  /** Whether they write now. */
  isTyping: boolean;
  /** Their name, as their token has it. */
  name: string | null;
  /** Who. */
  userId: UserId;
}

/**
 * A chat's change counter. A chat is made at version 0; every durable change takes the next one.
 * It is also where a client resumes from.
 */
export type Version = number;

export interface Webhook {
  _id: WebhookId;
  createdAt: Timestamp;
  description: string | null;
  /** Since when it is switched off. */
  disabledAt: Timestamp | null;
  /** Why: `asked`; `failing`, for too long; `gone`, by its own answer. */
  disabledReason: string | null;
  enabled: boolean;
  /** Which events it is told; none: all of them. */
  events: WebhookEvent[];
  /** Since when every attempt has failed. */
  failingSince: Timestamp | null;
  /** Until when deliveries are signed with the secret before the present one too. */
  formerSecretUntil: Timestamp | null;
  updatedAt: Timestamp;
  url: string;
  /** Deliveries that wait. */
  waiting: number;
}

/** What happened, as webhooks are told it. */
export type WebhookEvent = "message.created" | "message.edited" | "message.deleted" | "message.read" | "participant.added" | "participant.removed" | "chat.created" | "notification.due" | "webhook.disabled" | "webhook.ping" | "user.online" | "user.offline";

/** A webhook. */
export type WebhookId = string;

/**
 * Where a webhook listens: an absolute `https` or `http` URL without a user, a password or a fragment. Whether it may be
 * reached is decided by whoever calls it.
 */
export type WebhookUrl = string;

export interface WebhookWithSecret {
  /** What its deliveries are signed with. It is not shown again. */
  secret: string;
  webhook: Webhook;
}

export interface Webhooks {
  webhooks: Webhook[];
}

/** A time zone of the IANA database, by its name. */
export type Zone = string;

/** What a chat's connections hear once they have joined. */
export interface RoomEvents {
  /** A message was deleted; never what it said. */
  "message-deleted": MessageDeleted;
  /** A message's text was changed. */
  "message-edited": MessageEdited;
  /** Somebody has read. In chats of more than 100, told to them and to the authors only. */
  "messages-read": MessagesRead;
  /** A message was sent. */
  "new-message": NewMessageEvent;
  /** Somebody is out of the chat from this version on. Their own connections hear it last. */
  "participant-removed": ParticipantRemoved;
  /** People are in the chat from this version on, or are something else in it. */
  "participants-added": ParticipantsAdded;
  /** Something is not told one by one: reload the chat by REST. */
  "resync": Resync;
  /** Somebody writes, or has stopped: at most 20 people of a room at a time. It ends by itself 6 s after their last `typing-start`, with their message and with their connection. */
  "user-typing": UserTyping;
}

/** What all of a user's connections hear. */
export interface UserEvents {
  /** The user has this chat from now on; to the support pool: somebody has opened it. */
  "chat-created": ChatShown;
  /** The chat is not the user's any more; nothing that was said in it is told. */
  "chat-removed": ChatShown;
}

/** What a connection may ask, with an ack. */
export interface Asks {
  /** Enter a room. `since` is the version up to which the client has everything, of the history `epoch`: what it has missed is told first, in order. The ack has `version` and `epoch`, from which it is live, and `resync: true` where nothing is told and the chat has to be reloaded; `readPointers` says how far others have read, `typing` who writes now: `[{ userId, name }]`. */
  "join-chat-room": string | {
    chatId: string;
    epoch?: string;
    since?: number;
  };
  "leave-chat-room": string | {
    chatId: string;
  };
  /** Go on with a newer token of the same user: a connection is closed when its token ends. The ack has `expiresAt`; a token that is refused changes nothing. */
  "refresh-token": string | {
    token: string;
  };
  /** The user writes, or goes on writing: to be said every few seconds. Only of a room that was joined. */
  "typing-start": string | {
    chatId: string;
  };
  /** The user has stopped, and has not sent anything. Only of a room that was joined. */
  "typing-stop": string | {
    chatId: string;
  };
}

/** Each operation's method and path. */
export const operations = {
  addParticipant: ["POST", "/api/chat/{id}/participants"],
  archiveChat: ["PATCH", "/api/chat/{id}/archive"],
  archiveChatByPut: ["PUT", "/api/chat/{id}/archive"],
  changeWebhook: ["PATCH", "/api/webhooks/{id}"],
  createChat: ["POST", "/api/chat"],
  createWebhook: ["POST", "/api/webhooks"],
  deleteMessage: ["DELETE", "/api/chat/{id}/messages/{messageId}"],
  deleteUser: ["DELETE", "/api/users/{id}"],
  deleteWebhook: ["DELETE", "/api/webhooks/{id}"],
  describeFile: ["HEAD", "/api/chat/{id}/attachments/{attachmentId}"],
  downloadFile: ["GET", "/api/chat/{id}/attachments/{attachmentId}"],
  editMessage: ["PUT", "/api/chat/{id}/messages/{messageId}"],
  getChat: ["GET", "/api/chat/{id}/info"],
  getDelivery: ["GET", "/api/webhooks/{id}/deliveries/{deliveryId}"],
  getPreferences: ["GET", "/api/users/me/preferences"],
  getStats: ["GET", "/api/chat/stats"],
  getUser: ["GET", "/api/users/{id}"],
  getWebhook: ["GET", "/api/webhooks/{id}"],
  linkFile: ["GET", "/api/chat/{id}/attachments/{attachmentId}/link"],
  listChanges: ["GET", "/api/chat/{id}/changes"],
  listChats: ["GET", "/api/chat"],
  listDeliveries: ["GET", "/api/webhooks/{id}/deliveries"],
  listMessages: ["GET", "/api/chat/{id}/messages"],
  listParticipants: ["GET", "/api/chat/{id}/participants"],
  listWebhooks: ["GET", "/api/webhooks"],
  markRead: ["PATCH", "/api/chat/{id}/messages/read"],
  markUnread: ["PATCH", "/api/chat/{id}/messages/unread"],
  muteChat: ["PATCH", "/api/chat/{id}/mute"],
  openPurchaseChat: ["POST", "/api/chat/purchase-request"],
  openSupportChat: ["POST", "/api/chat/support"],
  pingWebhook: ["POST", "/api/webhooks/{id}/ping"],
  putPreferences: ["PUT", "/api/users/me/preferences"],
  putUser: ["PUT", "/api/users/{id}"],
  putUsers: ["POST", "/api/users"],
  removeParticipant: ["DELETE", "/api/chat/{id}/participants/{userId}"],
  replayDeliveries: ["POST", "/api/webhooks/{id}/replay"],
  replayDelivery: ["POST", "/api/webhooks/{id}/deliveries/{deliveryId}/replay"],
  revokeTokens: ["POST", "/api/users/{id}/revoke"],
  rotateWebhookSecret: ["POST", "/api/webhooks/{id}/secret"],
  sendFile: ["POST", "/api/chat/{id}/messages/file"],
  sendMessage: ["POST", "/api/chat/{id}/messages"],
} as const;

/** What each operation takes, and the `data` of its answer. */
export interface Operations {
  /** Adds somebody: 201 with a new participant, 200 with one who is in already */
  addParticipant: {
    path: {
      /** The chat */
      id: ChatId;
    };
    body: AddParticipant;
    data: Added;
  };
  /** Puts the chat away for the caller, or takes it back */
  archiveChat: {
    path: {
      /** The chat */
      id: ChatId;
    };
    data: Archived;
  };
  /** The same as `PATCH` */
  archiveChatByPut: {
    path: {
      /** The chat */
      id: ChatId;
    };
    data: Archived;
  };
  /** Changes a webhook */
  changeWebhook: {
    path: {
      /** The webhook */
      id: WebhookId;
    };
    body: ChangeWebhook;
    data: OneWebhook;
  };
  /** Makes a chat: 201 with a new one, or 200 with the direct chat that these two people have */
  createChat: {
    body: CreateChat;
    data: OneChat;
  };
  /** Makes a webhook, and shows its secret, this once */
  createWebhook: {
    body: CreateWebhook;
    data: WebhookWithSecret;
  };
  /** Leaves a tombstone; for the author, and for admins */
  deleteMessage: {
    path: {
      /** The chat */
      id: ChatId;
      /** The message */
      messageId: MessageId;
    };
    data: OneMessage;
  };
  /** Takes name and picture from a user and revokes its tokens; what it wrote stays */
  deleteUser: {
    path: {
      /** The user */
      id: UserId;
    };
    data: OneUser;
  };
  /** Removes a webhook, with everything that waits for it and with its log */
  deleteWebhook: {
    path: {
      /** The webhook */
      id: WebhookId;
    };
    data: OneWebhook;
  };
  /** What a `GET` of the whole file says of it */
  describeFile: {
    path: {
      /** The chat */
      id: ChatId;
      /** The file */
      attachmentId: AttachmentId;
    };
    query?: {
      /** Of a link, with all the others: whom it was made for. */
      user?: UserId;
      /** As what. */
      role?: string;
      /** When, in seconds of the Unix epoch. */
      issued?: number;
      /** The second from which on it counts no more. */
      expires?: number;
      /** The proof that it was made here. */
      signature?: string;
    };
    data: null;
  };
  /** The file, or a range of it */
  downloadFile: {
    path: {
      /** The chat */
      id: ChatId;
      /** The file */
      attachmentId: AttachmentId;
    };
    query?: {
      /** Of a link, with all the others: whom it was made for. */
      user?: UserId;
      /** As what. */
      role?: string;
      /** When, in seconds of the Unix epoch. */
      issued?: number;
      /** The second from which on it counts no more. */
      expires?: number;
      /** The proof that it was made here. */
      signature?: string;
    };
    header?: {
      /** `bytes=0-499` */
      Range?: string;
      /** The `ETag` of the file of which a range is wanted */
      "If-Range"?: string;
    };
    data: Blob;
  };
  /** Changes the text, for its author, for 15 minutes */
  editMessage: {
    path: {
      /** The chat */
      id: ChatId;
      /** The message */
      messageId: MessageId;
    };
    body: EditMessage;
    data: OneMessage;
  };
  /** One chat with everybody's unread counts */
  getChat: {
    path: {
      /** The chat */
      id: ChatId;
    };
    data: OneChat;
  };
  /** One delivery with its attempts */
  getDelivery: {
    path: {
      /** The webhook */
      id: WebhookId;
      /** The delivery */
      deliveryId: DeliveryId;
    };
    data: DeliveryWithAttempts;
  };
  /** What the caller wants of notifications; the defaults of one who has never said */
  getPreferences: {
    data: OnesPreferences;
  };
  /** Totals over the caller's chats */
  getStats: {
    data: Stats;
  };
  /** Shows a user: oneself; anyone for the host application and for admins */
  getUser: {
    path: {
      /** The user */
      id: UserId;
    };
    data: OneUser;
  };
  /** One webhook */
  getWebhook: {
    path: {
      /** The webhook */
      id: WebhookId;
    };
    data: OneWebhook;
  };
  /** The file's address for where no token can be sent, as `<img src>`, for a short while */
  linkFile: {
    path: {
      /** The chat */
      id: ChatId;
      /** The file */
      attachmentId: AttachmentId;
    };
    data: FileLink;
  };
  /** A page of what happened after a version */
  listChanges: {
    path: {
      /** The chat */
      id: ChatId;
    };
    query: {
      /** A version that the server gave. */
      since: Version;
      /** The history of that version; without it, the present one is meant. */
      epoch?: string;
    };
    data: Changes;
  };
  /** The caller's chats, the one with the newest message first; with `type=support`, all that there are for one of the support pool */
  listChats: {
    query?: {
      /** From 1. */
      page?: number;
      /** 20 by default; above 100 counts as 100. */
      limit?: number;
      type?: ChatType;
      /** Only what the caller has put away, or only what not. */
      archived?: boolean;
    };
    data: Chats;
  };
  /** A page of what a webhook was told, or is to be told */
  listDeliveries: {
    path: {
      /** The webhook */
      id: WebhookId;
    };
    query?: {
      /** Only of this state. */
      state?: DeliveryState;
      /** Only those before this one: the last of the page before. */
      before?: DeliveryId;
      /** 50 if left out; more than 100 counts as 100. */
      limit?: number;
    };
    data: Deliveries;
  };
  /** A page of the history, newest first unless `order=asc` */
  listMessages: {
    path: {
      /** The chat */
      id: ChatId;
    };
    query?: {
      /** From 1. */
      page?: number;
      /** 50 by default; above 100 counts as 100. */
      limit?: number;
      /** A time (ISO 8601), a message id or a seq, which is itself left out; with both, the page is taken from between them. */
      before?: string | number;
      /** A time (ISO 8601), a message id or a seq, which is itself left out; with both, the page is taken from between them. */
      after?: string | number;
      /** A message id or a seq in the middle of the page; without `before`, `after` and further pages. */
      around?: string | number;
      /** `desc`, newest first, by default. */
      order?: "desc" | "asc";
    };
    data: Messages;
  };
  /** A page of them, in order of their ids */
  listParticipants: {
    path: {
      /** The chat */
      id: ChatId;
    };
    query?: {
      /** From 1. */
      page?: number;
      /** 50 by default; above 100 counts as 100. */
      limit?: number;
    };
    data: Participants;
  };
  /** Every webhook, the oldest first */
  listWebhooks: {
    data: Webhooks;
  };
  /** Marks the named messages as read; without names, all */
  markRead: {
    path: {
      /** The chat */
      id: ChatId;
    };
    body?: MarkRead;
    data: Read;
  };
  /** Marks a message and everything after it as unread */
  markUnread: {
    path: {
      /** The chat */
      id: ChatId;
    };
    body: MarkUnread;
    data: Unread;
  };
  /** No notifications of the chat for the caller, until then or until they say otherwise */
  muteChat: {
    path: {
      /** The chat */
      id: ChatId;
    };
    body: MuteChat;
    data: Muted;
  };
  /** The one chat of the caller, who buys, and the seller about this request: 201 the first time, 200 after */
  openPurchaseChat: {
    body: PurchaseRequest;
    data: OneChat;
  };
  /** Asks for help: 201 with a new chat, or 200 with the one of the click before */
  openSupportChat: {
    body?: OpenSupportChat;
    data: OneChat;
  };
  /** Has a webhook told an event that says nothing, to see whether it listens */
  pingWebhook: {
    path: {
      /** The webhook */
      id: WebhookId;
    };
    data: OneDelivery;
  };
  /** Says it, in place of all that was said before */
  putPreferences: {
    body: PutPreferences;
    data: OnesPreferences;
  };
  /** For the host application: makes or renames a user */
  putUser: {
    path: {
      /** The user */
      id: UserId;
    };
    body: PutUser;
    data: OneUser;
  };
  /** For the host application: makes or renames up to 1,000 different users at once, all or none */
  putUsers: {
    body: PutUsers;
    data: Count;
  };
  /** Takes somebody out; oneself: leaves */
  removeParticipant: {
    path: {
      /** The chat */
      id: ChatId;
      /** The participant */
      userId: UserId;
    };
    data: OneChat;
  };
  /** Has what was given up, or everything that happened in a time, told again: the oldest 10,000 after the last one of before, in their order and under their ids */
  replayDeliveries: {
    path: {
      /** The webhook */
      id: WebhookId;
    };
    body: ReplayRequest;
    data: Replay;
  };
  /** Has a delivery told again under its id */
  replayDelivery: {
    path: {
      /** The webhook */
      id: WebhookId;
      /** The delivery */
      deliveryId: DeliveryId;
    };
    data: OneDelivery;
  };
  /** Every token of the user that was issued up to now counts no more */
  revokeTokens: {
    path: {
      /** The user */
      id: UserId;
    };
    data: Revocation;
  };
  /** Gives a webhook another secret, and shows it, this once */
  rotateWebhookSecret: {
    path: {
      /** The webhook */
      id: WebhookId;
    };
    data: WebhookWithSecret;
  };
  /** Sends a message with a file: 201 once the message is committed; 200 for a replay */
  sendFile: {
    path: {
      /** The chat */
      id: ChatId;
    };
    header?: {
      /** The same as `clientMessageId`, and known before the form is read */
      "Idempotency-Key"?: ClientMessageId;
    };
    form: FileForm;
    data: OneMessage;
  };
  /** Sends a message: 201 once the message is committed; 200 for a replay */
  sendMessage: {
    path: {
      /** The chat */
      id: ChatId;
    };
    header?: {
      /** The same as `clientMessageId` */
      "Idempotency-Key"?: ClientMessageId;
    };
    body: SendMessage;
    form?: FileForm;
    data: OneMessage;
  };
}
