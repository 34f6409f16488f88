-- The truth: who there is, which chats they have, what was said.
--
-- Every text id is the host application's own. Text is compared byte by byte (collate "C"): ids have no language, and
-- an operating system's update of a locale must not corrupt an index.

-- The directory. Rows come from tokens and from the host application's own calls.
create table users (
    id                  text collate "C" primary key,
    name                text,
    avatar              text,
    -- Tokens issued before this moment do not count; null: all do.
    tokens_valid_after  timestamptz,
    -- Rises whenever the set of the user's chats changes, so that a gateway notices what it did not hear.
    membership_version  bigint      not null default 0,
    last_seen_at        timestamptz,
    -- An anonymised user keeps its id, so that what it wrote still has an author.
    anonymised_at       timestamptz,
    created_at          timestamptz not null default now(),
    updated_at          timestamptz not null default now()
);

-- One row per chat; a send updates it once, whoever listens.
create table chats (
    id                   uuid        primary key,
    type                 text        not null check (type in ('direct', 'group', 'support')),
    title                text,
    subject              text,
    metadata             jsonb,
    purchase_request_id  text collate "C",
    buyer_id             text collate "C",
    seller_id            text collate "C",
    created_by           text collate "C" not null references users (id),
    -- Every durable change takes the next version. A chat is made at version 0 with its first participants.
    version              bigint      not null default 0,
    -- The version of the last change of the chat itself (title, metadata …).
    changed_version      bigint      not null default 0,
    -- The seq of the last message ever sent; never falls.
    last_seq             bigint      not null default 0,
    -- created_at of that message: the next one is later.
    last_message_at      timestamptz,
    -- Kept under the chat's lock, like version.
    participant_count    integer     not null default 0,
    created_at           timestamptz not null default now(),
    updated_at           timestamptz not null default now()
) with (fillfactor = 50); -- room for the next version of the row on the same page: sends stay heap-only updates

-- Claims what may exist once (the direct chat of two people, the chat of a purchase request) before the chat is made,
-- and says under which id. A table of its own, so that chats could be sharded by id.
create table chat_keys (
    key      text collate "C" primary key,
    chat_id  uuid not null
);

-- A membership; it ends with left_at and is never deleted.
create table participants (
    chat_id          uuid        not null references chats (id),
    user_id          text collate "C" not null references users (id),
    role             text        not null check (role in ('creator', 'member', 'agent')),
    joined_at        timestamptz not null default now(),
    -- The chat's last_seq when the participant joined or rejoined: what is older was never unread.
    joined_seq       bigint      not null default 0,
    left_at          timestamptz,
    archived         boolean     not null default false,
    -- Everything up to here is read.
    read_seq         bigint      not null default 0,
    -- The chat's version at which this row last changed for others.
    changed_version  bigint      not null default 0,
    primary key (chat_id, user_id)
);

-- A user's chats.
create index participants_by_user on participants (user_id, chat_id) where left_at is null;
-- What a catch-up has to tell of memberships.
create index participants_by_change on participants (chat_id, changed_version) where changed_version > 0;

-- What was said. There is no foreign key to chats or users: a message is only ever written under the lock of its chat
-- row and for a participant, and a key check would lock the author's users row once more on every send.
create table messages (
    chat_id            uuid        not null,
    -- 1, 2, 3 … without holes.
    seq                bigint      not null,
    -- A UUIDv7 of created_at: within a chat, seq, id and created_at rise together, so a time is a range of ids.
    id                 uuid        not null,
    -- The chat's version that the message took when it was sent.
    version            bigint      not null,
    -- The chat's version of its last edit or delete; null: never changed.
    changed_version    bigint,
    sender_id          text collate "C" not null,
    type               text        not null check (type in ('text', 'system')),
    content            text        not null,
    reply_to_id        uuid,
    metadata           jsonb,
    client_message_id  text collate "C",
    -- SHA-256 of the request that made the message: another request under the same client_message_id is refused.
    request_hash       bytea,
    created_at         timestamptz not null,
    edited_at          timestamptz,
    deleted_at         timestamptz,
    deleted_by         text collate "C",
    primary key (chat_id, seq),
    check ((client_message_id is null) = (request_hash is null))
);

create unique index messages_by_id on messages (chat_id, id);
-- One client message id makes one message, whatever is retried.
create unique index messages_by_client_id on messages (chat_id, sender_id, client_message_id)
    where client_message_id is not null;
-- What a catch-up has to tell of edits and deletes.
create index messages_by_change on messages (chat_id, changed_version) where changed_version is not null;

-- Files of messages; the bytes lie in object storage under storage_key.
create table attachments (
    chat_id      uuid        not null,
    id           uuid        not null,
    -- Null while the upload has not become part of a message.
    message_id   uuid,
    uploader_id  text collate "C" not null,
    filename     text        not null,
    mime_type    text        not null,
    size         bigint      not null check (size >= 0),
    storage_key  text        not null,
    created_at   timestamptz not null default now(),
    deleted_at   timestamptz,
    primary key (chat_id, id)
);

create index attachments_by_message on attachments (chat_id, message_id) where message_id is not null;
