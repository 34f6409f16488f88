-- Notices: who is to be told, out of band, that something was said while they were away. One row for each participant who
-- ever was to be told, so that a message is told of once; a timer is armed by the fan-out of a message, and not by its send.
create table notices (
    chat_id   uuid        not null,
    user_id   text collate "C" not null,
    -- Up to here everything was told, or needed no telling.
    told_seq  bigint      not null,
    -- When it is to be looked at; of a claimed one: when the claim ends. Null: nothing was said since.
    due_at    timestamptz,
    -- The claim.
    holder    uuid,
    primary key (chat_id, user_id)
) with (fillfactor = 80);

create index notices_due on notices (due_at) where due_at is not null;

-- Turns the oldest rows of the outbox, at most so many, into deliveries. One process at a time, so that a chat's events
-- stay in order; whoever comes meanwhile gets null and has nothing to do. It is one call, so nobody can die or sleep in
-- between and hold up the others.
--
-- Pods of two releases run side by side: a change of this function gets a new name.
--
-- It also arms timers: of everybody in a chat but the authors, if a webhook wants notices and the chat has no more than `crowd`
-- participants. The timer of somebody that is armed already stays as it is: what was said meanwhile is collapsed into it.
create function fan_out_1(
    most integer, notice_delay interval, crowd integer, out rows_taken bigint, out deliveries bigint, out armed bigint
)
language plpgsql volatile
as $function$
begin
    -- Of 'parley', and the first of its kind.
    if not pg_try_advisory_xact_lock(x'7061726c'::int, 1) then
        return;
    end if;
    with taken as (
        delete from outbox o
        where o.id in (select oldest.id from outbox oldest order by oldest.id limit most)
        returning o.*
    )
    , happened as materialized (
        select
            gen_random_uuid() as event_id, t.id, t.kind, c.place, n.number, c.chat_id, c.seq + n.number as seq
            , t.detail, t.created_at
            , case when t.kind in ('user.online', 'user.offline')
                then overlay(
                    encode(substring(sha256(convert_to(t.detail ->> 'userId', 'UTF8')) from 1 for 16), 'hex') placing '8' from 13
                )::uuid
            end as user_lane
        from taken t
        cross join lateral unnest(t.chat_ids, t.seqs, t.counts)
            with ordinality as c (chat_id, seq, messages, place)
        cross join lateral generate_series(1, c.messages) as n (number)
    )
    , made as (
        insert into webhook_deliveries (
            webhook_id, lane, event_id, kind, seq, detail, occurred_at, retry_from
        )
        select
            w.id, coalesce(h.chat_id, h.user_lane, '00000000-0000-0000-0000-000000000000'), h.event_id, h.kind, h.seq, h.detail
            , h.created_at, h.created_at
        from happened h
        join webhooks w on w.disabled_at is null and w.removed_at is null and h.created_at >= w.created_at
            and (w.events = '{}' or h.kind = any(w.events))
        order by h.id, h.place, h.number, w.id
        returning webhook_id, lane
    )
    , opened as (
        insert into webhook_lanes as l (webhook_id, lane, waiting, due_at)
        select m.webhook_id, m.lane, count(*), clock_timestamp()
        from made m
        group by m.webhook_id, m.lane
        -- In one order, as everybody who locks several lanes.
        order by m.webhook_id, m.lane
        on conflict (webhook_id, lane) do update set
            waiting = l.waiting + excluded.waiting
            , due_at = case when l.waiting = 0 and l.holder is null then excluded.due_at else l.due_at end
    )
    , said as materialized (
        select h.chat_id, m.sender_id, min(h.seq) as first_seq, min(h.created_at) as first_at
        from happened h
        join messages m on m.chat_id = h.chat_id and m.seq = h.seq
        where h.kind = 'message.created' and exists (
            select from webhooks w
            where w.disabled_at is null and w.removed_at is null and h.created_at >= w.created_at
                and (w.events = '{}' or 'notification.due' = any(w.events))
        )
        group by h.chat_id, m.sender_id
    )
    , timers as (
        insert into notices as n (chat_id, user_id, told_seq, due_at)
        select p.chat_id, p.user_id, min(s.first_seq) - 1, min(s.first_at) + notice_delay
        from said s
        join chats c on c.id = s.chat_id and c.participant_count <= crowd
        join participants p on p.chat_id = s.chat_id and p.left_at is null and p.user_id <> s.sender_id
        group by p.chat_id, p.user_id
        -- In one order, as everybody who locks several of them.
        order by p.chat_id, p.user_id
        on conflict (chat_id, user_id) do update set due_at = excluded.due_at
        where n.due_at is null
        returning 1
    )
    select (select count(*) from taken), (select count(*) from made), (select count(*) from timers)
    into rows_taken, deliveries, armed;
end
$function$;

-- Decides about notices that are due: of whom has neither `seen` the chat nor is to be told `later`, those who have unread
-- messages of which they were not told become an event, with how many there are and with all that they have not read, and
-- everybody's timer ends. Answers with how many were told, and how many needed nothing.
--
-- The first statement locks the rows, the second has a newer snapshot: a message whose fan-out found the timer armed is committed
-- by then, and is counted. So none is missed, and none is told twice.
--
-- Who has seen the chat, has up to the message that was its last before anybody was asked. They may have left since: what is
-- unread behind that has a timer of its own.
create function decide_notices_1(
    chats uuid[], users text[], claim uuid, seen bigint[], later timestamptz[], previews boolean[], notice_delay interval
    , out told bigint, out needless bigint
)
language plpgsql volatile
as $function$
declare
    mine integer[];
begin
    select array_agg(locked.place) into mine from (
        select d.place
        from unnest(chats, users) with ordinality as d (chat_id, user_id, place)
        join notices n on n.chat_id = d.chat_id and n.user_id = d.user_id
        where n.holder = claim
        order by n.chat_id, n.user_id
        for no key update of n
    ) locked;
    with decided as materialized (
        select
            d.chat_id, d.user_id, d.seen, d.later, d.previews, n.told_seq, c.last_seq
            , coalesce(c.title, c.subject) as title
            , p.user_id is not null and coalesce(p.muted_until <= clock_timestamp(), true) as wants
            , greatest(n.told_seq, p.read_seq, p.joined_seq, d.seen) as floor
            , p.exception_count
        from unnest(chats, users, seen, later, previews)
            with ordinality as d (chat_id, user_id, seen, later, previews, place)
        join notices n on n.chat_id = d.chat_id and n.user_id = d.user_id
        join chats c on c.id = d.chat_id
        left join participants p on p.chat_id = d.chat_id and p.user_id = d.user_id and p.left_at is null
        where d.place = any(mine)
    )
    , counted as materialized (
        select d.*, u.unread, u.last_unread
        from decided d
        cross join lateral (
            select count(*) as unread, max(m.seq) as last_unread
            from messages m
            where d.wants and m.chat_id = d.chat_id and m.seq > d.floor and m.seq <= d.last_seq
                and m.sender_id <> d.user_id and m.deleted_at is null
                and (d.exception_count = 0 or not exists (
                    select from read_exceptions e
                    where e.chat_id = m.chat_id and e.user_id = d.user_id and e.seq = m.seq
                ))
        ) u
    )
    , outward as (
        insert into outbox (kind, chat_ids, seqs, counts, detail)
        select 'notification.due', array[c.chat_id], array[c.last_unread - 1], '{1}', jsonb_build_object(
            'userId', c.user_id, 'count', c.unread, 'title', c.title, 'previews', c.previews
            , 'badge', (select sum(u.unread) from unread_counts u where u.user_id = c.user_id)
        )
        from counted c
        where c.unread > 0 and c.seen is null and c.later is null
        returning 1
    )
    , ended as (
        update notices n set
            told_seq = case
                when c.unread = 0 then c.last_seq
                when c.seen is not null then greatest(n.told_seq, c.seen)
                when c.later is not null then n.told_seq
                else c.last_seq
            end
            , due_at = case
                when c.unread = 0 then null
                when c.seen is not null then clock_timestamp() + notice_delay
                else c.later
            end
            , holder = null
        from counted c
        where n.chat_id = c.chat_id and n.user_id = c.user_id
        returning 1
    )
    select (select count(*) from outward), (select count(*) from ended) - (select count(*) from outward)
    into told, needless;
end
$function$;
