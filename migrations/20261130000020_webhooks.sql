-- Webhooks: what happened is told to the host application's servers.
--
-- A change leaves a row in `outbox` in its own transaction; `fan_out_1` turns such rows into one delivery for each webhook
-- that wants the event; couriers claim deliveries lane by lane. No row holds what anybody said: that is read when it is
-- delivered, so what was deleted meanwhile is told to nobody.

-- Where events go.
create table webhooks (
    id               uuid        primary key,
    url              text        not null,
    description      text,
    -- Which events; none named: all of them.
    events           text[]      not null,
    -- What deliveries are signed with, as its owner has it.
    secret           text        not null,
    -- The key before it, which signs too until then.
    former_secret    text,
    former_until     timestamptz,
    -- Switched off since, and why: 'asked', 'failing' or 'gone'.
    disabled_at      timestamptz,
    disabled_reason  text,
    -- Failures in a row, since when, and until when nothing is tried.
    failures         integer     not null default 0,
    failing_since    timestamptz,
    paused_until     timestamptz,
    -- Removed: nothing is delivered any more, and what is left of it goes piece by piece.
    removed_at       timestamptz,
    created_at       timestamptz not null default now(),
    updated_at       timestamptz not null default now()
);

-- What was committed and not fanned out yet. One row for each batch of sends, and one for any other change; none while no
-- webhook wants the event.
create table outbox (
    -- Taken under the chat's lock, so it rises with the chat's versions.
    id           bigint generated always as identity primary key,
    kind         text        not null,
    -- The chats; null for what is about none.
    chat_ids     uuid[]      not null,
    -- Of each chat, the seq before its first message that this is about, and how many messages it is.
    seqs         bigint[]    not null,
    counts       bigint[]    not null,
    -- What cannot be read later.
    detail       jsonb,
    created_at   timestamptz not null default clock_timestamp()
);

-- One event for one webhook.
create table webhook_deliveries (
    -- Rises with what happened, chat by chat.
    id           bigint generated always as identity primary key,
    webhook_id   uuid        not null,
    -- The chat, or a UUID of version 8 made of a user's id, or one of zeros: what is of one lane is delivered in order.
    lane         uuid        not null,
    -- The same at every webhook and at every attempt.
    event_id     uuid        not null,
    kind         text        not null,
    seq          bigint,
    detail       jsonb,
    occurred_at  timestamptz not null,
    -- waiting, delivered, dead
    state        text        not null default 'waiting',
    attempts     integer     not null default 0,
    -- How many of them have failed since retry_from.
    failed       integer     not null default 0,
    -- From here on it is waited for another day; later than occurred_at for what is replayed.
    retry_from   timestamptz not null,
    -- When it was delivered or given up.
    settled_at   timestamptz
);

-- A lane's deliveries that wait, in order.
create index webhook_deliveries_waiting on webhook_deliveries (webhook_id, lane, id) where state = 'waiting';
-- The log of a webhook.
create index webhook_deliveries_by_webhook on webhook_deliveries (webhook_id, id);
-- What was given up, and what happened in a time of all that does not wait any more: to be looked at and replayed. Neither is
-- written when a delivery is made.
create index webhook_deliveries_given_up on webhook_deliveries (webhook_id, id) where state = 'dead';
create index webhook_deliveries_by_time on webhook_deliveries (webhook_id, occurred_at, id) where state <> 'waiting';
-- What has waited for too long for a webhook that is switched off.
create index webhook_deliveries_retried on webhook_deliveries (webhook_id, retry_from) where state = 'waiting';
-- What is old enough to be forgotten; what was given up is kept for longer.
create index webhook_deliveries_delivered on webhook_deliveries (settled_at) where state = 'delivered';
create index webhook_deliveries_dead on webhook_deliveries (settled_at) where state = 'dead';

-- Each attempt at a delivery.
create table webhook_attempts (
    delivery_id  bigint      not null,
    attempt      integer     not null,
    began_at     timestamptz not null,
    millis       integer     not null,
    -- The answer's status; null if there was none, and then why.
    status       integer,
    error        text,
    -- How the answer began.
    answer       text,
    primary key (delivery_id, attempt)
);

-- Deliveries of one chat to one webhook, one after the other: the unit of a claim.
create table webhook_lanes (
    webhook_id   uuid        not null,
    lane         uuid        not null,
    -- Deliveries that wait.
    waiting      bigint      not null,
    -- When it may be claimed; of a claimed one: when the claim ends.
    due_at       timestamptz not null,
    -- The claim.
    holder       uuid,
    primary key (webhook_id, lane)
) with (fillfactor = 70);

create index webhook_lanes_due on webhook_lanes (webhook_id, due_at) where waiting > 0;
