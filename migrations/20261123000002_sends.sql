-- Sends in batches, exact unread counts that cost the same however much was said, and what a dead pod leaves behind.
--
-- (The columns that are filled below would be filled by a job in batches, were there a release before this one.)

-- Unread = what lies above the floor (the greater of read_seq and joined_seq), less one's own messages, less what was
-- deleted, less what was read singly. Own ones are counted, so that nobody has to look for them.
alter table participants
    -- Messages that this participant has ever sent here.
    add column sent_count      bigint  not null default 0,
    -- How many of them lie at or below the floor.
    add column own_read_count  bigint  not null default 0,
    -- Rows of read_exceptions.
    add column exception_count integer not null default 0,
    -- Who added or removed this participant last.
    add column changed_by      text collate "C",
    -- A send counts here too: room for the next version of a row on its page.
    set (fillfactor = 80);

update participants p
set sent_count = counted.sent
  , own_read_count = counted.own_read
from (
    select m.chat_id, m.sender_id, count(*) as sent
        , count(*) filter (where m.seq <= greatest(q.read_seq, q.joined_seq)) as own_read
    from messages m
    join participants q on q.chat_id = m.chat_id and q.user_id = m.sender_id
    group by m.chat_id, m.sender_id
) counted
where p.chat_id = counted.chat_id and p.user_id = counted.sender_id;

-- Messages deleted so far: 0 saves looking for them.
alter table chats add column deleted_count bigint not null default 0;

-- What is not unread although it lies above a floor.
create index messages_by_deletion on messages (chat_id, seq) include (sender_id) where deleted_at is not null;

-- Messages above a participant's pointer that were read singly. The pointer takes them up as it reaches them.
create table read_exceptions (
    chat_id  uuid   not null,
    user_id  text collate "C" not null,
    seq      bigint not null,
    primary key (chat_id, user_id, seq)
);

-- What was committed and perhaps not told. Every transaction that takes versions writes one row, and it goes once the
-- bus has the events; a row that stays was left by a pod that died, and the other pods tell its chats' events.
create table pending_heads (
    id          bigint generated always as identity primary key,
    chat_ids    uuid[]      not null,
    -- The first version that was taken, chat by chat.
    versions    bigint[]    not null,
    created_at  timestamptz not null default clock_timestamp()
);

-- How many messages each current participant has not read. The work is bounded by the deleted messages and the singly
-- read ones above the floor, not by the messages.
create view unread_counts as
select
    p.chat_id
    , p.user_id
    , case when c.last_seq <= above.floor then 0 else
        c.last_seq - above.floor - (p.sent_count - p.own_read_count)
        - case when c.deleted_count = 0 then 0 else (
            select count(*)
            from messages m
            where m.chat_id = p.chat_id and m.seq > above.floor and m.deleted_at is not null
                and m.sender_id <> p.user_id
        ) end
        - case when p.exception_count = 0 then 0 else (
            select count(*)
            from read_exceptions e
            where e.chat_id = p.chat_id and e.user_id = p.user_id and e.seq > above.floor
                and not exists (
                    select from messages m
                    where m.chat_id = e.chat_id and m.seq = e.seq and m.deleted_at is not null
                )
        ) end
    end as unread
from participants p
join chats c on c.id = p.chat_id
cross join lateral (select greatest(p.read_seq, p.joined_seq) as floor) above
where p.left_at is null;

-- Commits a batch of sends in one round trip and reports item by item.
--
-- Its first statement locks the batch's chats in the order of their ids, so that two batches cannot wait for each
-- other, and passes over chats that somebody else has locked (`busy`). Its second has a new snapshot, as every statement
-- of a volatile function has, and so sees what was committed before it got the locks: membership, earlier tries and the
-- next numbers are those of the moment at which the messages take their place. Only a row that is inserted takes a
-- number.
--
-- Pods of two releases run side by side: a change of this function gets a new name.
create function append_messages_1(
    chat_ids           uuid[],
    sender_ids         text[],
    -- The host application itself speaks: it may, without being in the chat.
    by_host            boolean[],
    types              text[],
    contents           text[],
    reply_to_ids       uuid[],
    metadatas          text[],
    client_message_ids text[],
    request_hashes     bytea[],
    -- The last 20 hexadecimal digits of the new ids; the first 12 are the time.
    id_tails           text[],
    -- Wait for locks; for batches of a single chat only.
    patient            boolean,
    -- Rows of pending_heads whose events have been told.
    told               bigint[]
) returns table (
    item               bigint,
    -- appended, replay, conflict, chat_not_found, not_participant, reply_not_found, busy
    outcome            text,
    seq                bigint,
    version            bigint,
    id                 uuid,
    created_at         timestamptz,
    metadata           text,
    sender_name        text,
    sender_avatar      text,
    head               bigint
)
language plpgsql volatile
-- One plan is made per connection, perhaps while the tables are empty and every plan looks as good as any other. So it is
-- left no choice: what is looked up by key always is, and "the first between the key and the key" can only mean the index
-- that has this order. Planning anew would cost more than the whole batch.
set plan_cache_mode = force_generic_plan
set enable_sort = off
set enable_incremental_sort = off
set enable_bitmapscan = off
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $function$
#variable_conflict use_column
declare
    locked uuid[];
    moment timestamptz;
begin
    if patient then
        select array_agg(held.id) into locked from (
            select c.id from chats c where c.id = any(chat_ids) order by c.id for no key update
        ) held;
    else
        select array_agg(held.id) into locked from (
            select c.id from chats c where c.id = any(chat_ids) order by c.id for no key update skip locked
        ) held;
    end if;
    -- Read after the locks were waited for: a later message must not carry an earlier time.
    moment := date_trunc('milliseconds', clock_timestamp());
    return query
    with forgotten as (
        delete from pending_heads where id = any(told)
    )
    , placed as materialized (
        select
            j.*
            , j.last_seq + j.place as new_seq
            , j.chat_version + j.place as new_version
            , (
                lpad(to_hex((date_part('epoch', j.new_created_at) * 1000)::bigint), 12, '0') || j.id_tail
            )::uuid as new_id
            , j.metadata::jsonb as kept_metadata
        from (
            select
                m.*
                , greatest(moment, m.last_message_at + interval '1 millisecond')
                    + (m.place - 1) * interval '1 millisecond' as new_created_at
            from (
            select
                n.*
                , count(*) filter (where n.verdict = 'appended')
                    over (partition by n.chat_id order by n.item rows unbounded preceding) as place
            from (
                select
                    i.*
                    , c.last_seq
                    , c.version as chat_version
                    , c.last_message_at
                    , earlier.seq as earlier_seq
                    , u.name
                    , u.avatar
                    , case
                        when c.id is null then 'chat_not_found'
                        when not c.id = any(coalesce(locked, '{}')) then 'busy'
                        when (p.user_id is null or p.left_at is not null) and not i.by_host then 'not_participant'
                        when earlier.seq is not null then
                            case when earlier.request_hash = i.request_hash then 'replay' else 'conflict' end
                        when i.reply_to_id is not null and answered.id is null then 'reply_not_found'
                        else 'appended'
                    end as verdict
                from unnest(
                    chat_ids, sender_ids, by_host, types, contents, reply_to_ids, metadatas, client_message_ids
                    , request_hashes, id_tails
                ) with ordinality as i (
                    chat_id, sender_id, by_host, type, content, reply_to_id, metadata, client_message_id
                    , request_hash, id_tail, item
                )
                left join chats c on c.id = i.chat_id
                left join participants p on p.chat_id = i.chat_id and p.user_id = i.sender_id
                left join users u on u.id = i.sender_id
                left join lateral (
                    select m.seq, m.request_hash
                    from messages m
                    where m.chat_id = i.chat_id and m.sender_id = i.sender_id
                        and m.client_message_id between i.client_message_id and i.client_message_id
                    order by m.client_message_id
                    limit 1
                ) earlier on true
                left join lateral (
                    select m.id
                    from messages m
                    where m.chat_id = i.chat_id and m.id between i.reply_to_id and i.reply_to_id
                    order by m.id
                    limit 1
                ) answered on true
                offset 0
            ) n
            ) m
        ) j
    )
    , inserted as (
        insert into messages (
            chat_id, seq, id, version, sender_id, type, content, reply_to_id, metadata, client_message_id
            , request_hash, created_at
        )
        select
            p.chat_id, p.new_seq, p.new_id, p.new_version, p.sender_id, p.type, p.content, p.reply_to_id
            , p.kept_metadata, p.client_message_id, p.request_hash, p.new_created_at
        from placed p
        where p.verdict = 'appended'
    )
    , moved as (
        select
            p.chat_id, count(*) as messages, max(p.new_created_at) as last_at, min(p.new_version) as first_version
        from placed p
        where p.verdict = 'appended'
        group by p.chat_id
    )
    , counted as (
        update chats c
        set version = c.version + m.messages
          , last_seq = c.last_seq + m.messages
          , last_message_at = m.last_at
        from moved m
        where c.id = m.chat_id
    )
    , sent as (
        update participants p
        set sent_count = p.sent_count + s.messages
        from (
            select p.chat_id, p.sender_id, count(*) as messages
            from placed p
            where p.verdict = 'appended'
            group by p.chat_id, p.sender_id
        ) s
        where p.chat_id = s.chat_id and p.user_id = s.sender_id
    )
    , noted as (
        insert into pending_heads (chat_ids, versions)
        select array_agg(m.chat_id), array_agg(m.first_version)
        from moved m
        having count(*) > 0
        returning pending_heads.id
    )
    select
        p.item, p.verdict, case when p.verdict = 'appended' then p.new_seq else p.earlier_seq end
        , p.new_version, p.new_id, p.new_created_at, p.kept_metadata::text, p.name, p.avatar, (select noted.id from noted)
    from placed p;
end
$function$;

-- Marks messages of a chat as read for one participant: these, or all (null). Answers no row for somebody who is no
-- participant.
--
-- The first statement locks the participant's row, the rest has newer snapshots. A send of the participant's own needs
-- that lock too, so what is seen then agrees with sent_count; sends of others may go on and are unread, or not seen yet.
-- It is one call because a lock on the row must never wait for a pod.
create function mark_read_1(chat uuid, reader text, message_ids uuid[]) returns table (
    modified    bigint,
    unread      bigint,
    read_seq    bigint,
    -- Who wrote what was read: of at most the newest 1 000 messages.
    authors     text[],
    -- What was read, when it was read singly.
    read_ids    uuid[],
    -- Participants of the chat.
    people      integer
)
language plpgsql volatile
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $function$
#variable_conflict use_column
declare
    -- Own, deleted and singly read messages that the pointer passes in one call; the next call goes on.
    reach   constant bigint := 5000;
    own     participants%rowtype;
    floor_  bigint;
    last_   bigint;
    next_   bigint;
    newly   bigint;
    passed  bigint;
    removed bigint;
    written text[];
    singly  uuid[];
begin
    select p.* into own
    from participants p
    where p.chat_id = chat and p.user_id = reader and p.left_at is null
    for no key update;
    if not found then
        return;
    end if;
    floor_ := greatest(own.read_seq, own.joined_seq);
    if message_ids is null then
        select c.last_seq, u.unread into last_, newly
        from chats c
        join unread_counts u on u.chat_id = c.id and u.user_id = reader
        where c.id = chat;
        if newly > 0 then
            select array_agg(distinct m.sender_id) into written
            from messages m
            where m.chat_id = chat and m.seq > greatest(floor_, last_ - 1000) and m.seq <= last_
                and m.sender_id <> reader and m.deleted_at is null;
        end if;
        delete from read_exceptions e where e.chat_id = chat and e.user_id = reader;
        -- last_ may lie below sent_count's latest message for nobody: own sends wait for this row's lock.
        update participants p
        set read_seq = greatest(p.read_seq, last_), own_read_count = p.sent_count, exception_count = 0
        where p.chat_id = chat and p.user_id = reader;
    else
        with marked as (
            insert into read_exceptions (chat_id, user_id, seq)
            select m.chat_id, reader, m.seq
            from messages m
            where m.chat_id = chat and m.id = any(message_ids) and m.seq > floor_
                and m.sender_id <> reader and m.deleted_at is null
            on conflict do nothing
            returning read_exceptions.seq
        )
        select count(*), array_agg(distinct m.sender_id), array_agg(m.id) into newly, written, singly
        from marked
        join messages m on m.chat_id = chat and m.seq = marked.seq;
        -- The pointer goes up to the first message that is still unread. One statement, and so one snapshot: a message
        -- that arrives meanwhile must not be passed over.
        select coalesce(
            (
                select m.seq
                from messages m
                where m.chat_id = chat and m.seq > floor_ and m.seq <= floor_ + reach
                    and m.sender_id <> reader and m.deleted_at is null
                    and not exists (
                        select from read_exceptions e
                        where e.chat_id = chat and e.user_id = reader and e.seq = m.seq
                    )
                order by m.seq
                limit 1
            )
            , least(c.last_seq, floor_ + reach) + 1
        ) into next_
        from chats c
        where c.id = chat;
        select count(*) into passed
        from messages m
        where m.chat_id = chat and m.seq > floor_ and m.seq < next_ and m.sender_id = reader;
        delete from read_exceptions e where e.chat_id = chat and e.user_id = reader and e.seq < next_;
        get diagnostics removed = row_count;
        update participants p
        set read_seq = greatest(p.read_seq, next_ - 1)
          , own_read_count = p.own_read_count + passed
          , exception_count = p.exception_count + newly - removed
        where p.chat_id = chat and p.user_id = reader;
    end if;
    return query
    select newly, u.unread, p.read_seq, coalesce(written, '{}'), singly, c.participant_count
    from participants p
    join chats c on c.id = p.chat_id
    join unread_counts u on u.chat_id = p.chat_id and u.user_id = p.user_id
    where p.chat_id = chat and p.user_id = reader;
end
$function$;

-- Marks a message and all after it as unread for one participant. Answers no row for somebody who is no participant,
-- and nulls when the chat has no such message.
create function mark_unread_1(chat uuid, reader text, message_id uuid) returns table (
    unread      bigint,
    read_seq    bigint
)
language plpgsql volatile
set enable_seqscan = off
set enable_hashjoin = off
set enable_mergejoin = off
as $function$
#variable_conflict use_column
declare
    own     participants%rowtype;
    first_  bigint;
    floor_  bigint;
    removed bigint;
begin
    select p.* into own
    from participants p
    where p.chat_id = chat and p.user_id = reader and p.left_at is null
    for no key update;
    if not found then
        return;
    end if;
    select m.seq into first_ from messages m where m.chat_id = chat and m.id = message_id;
    if first_ is null then
        return query select null::bigint, null::bigint;
        return;
    end if;
    floor_ := greatest(least(own.read_seq, first_ - 1), own.joined_seq);
    delete from read_exceptions e where e.chat_id = chat and e.user_id = reader and e.seq >= first_;
    get diagnostics removed = row_count;
    update participants p
    set read_seq = least(p.read_seq, first_ - 1)
      , own_read_count = p.own_read_count - (
            select count(*)
            from messages m
            where m.chat_id = chat and m.seq > floor_ and m.seq <= greatest(own.read_seq, own.joined_seq)
                and m.sender_id = reader
        )
      , exception_count = p.exception_count - removed
    where p.chat_id = chat and p.user_id = reader;
    return query
    select u.unread, p.read_seq
    from participants p
    join unread_counts u on u.chat_id = p.chat_id and u.user_id = p.user_id
    where p.chat_id = chat and p.user_id = reader;
end
$function$;
