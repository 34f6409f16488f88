-- Sends as they nearly always are: by participants, for the first time. What append_messages_1 finds out about each of
-- them before it writes (an earlier try, the membership), this function lets the writing itself find out: the index of
-- client message ids takes no second one, and a sender is counted who is there. If anything does not fit, it does nothing,
-- and append_messages_1 decides about the same batch. So it reads a third less, and answers chat by chat.
--
-- What holds there holds here: the chats are locked first, in the order of their ids, and everything else has a newer
-- snapshot; only a row that is inserted takes a number; a chat that somebody else has locked is passed over.
--
-- It has no settings of its own, which cost more than a message: whoever calls it has those of append_messages_1 for its
-- session.
--
-- Pods of two releases run side by side: a change of this function gets a new name.
create function append_messages_3(
    -- The chats of the batch, in the order of their ids, and how many of the messages each has.
    chat_ids           uuid[],
    chat_messages      bigint[],
    -- Who sends into which of them (the first is 1), each once, and how many messages.
    sender_chats       integer[],
    sender_ids         text[],
    sender_messages    bigint[],
    -- The messages: in which of the chats, and as which one of those that are new there.
    message_chats      integer[],
    places             integer[],
    senders            text[],
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
    told               bigint[],
    -- Whether it was done. If not, nothing was.
    out done           boolean,
    -- Of each chat: where it stood, and when its first new message came, in milliseconds too; null if it is locked
    -- elsewhere, and nothing was done in it.
    out seqs           bigint[],
    out versions       bigint[],
    out moments        timestamptz[],
    out millis         bigint[],
    -- Who has sent (of sender_ids, the first is 1), and as what they are shown.
    out shown          bigint[],
    out names          text[],
    out avatars        text[],
    -- The metadata as it was kept, message by message; null if there is none at all.
    out kept           text[],
    out head           bigint
)
language plpgsql volatile
as $function$
#variable_conflict use_column
declare
    locked   uuid[];
    whole    boolean;
    expected bigint;
begin
    done := false;
    -- The locks stand in the same block as the changes: a row that is locked by the transaction and changed by a part of it
    -- would be noted as held by two.
    begin
        -- The moments are read after the locks were waited for: a later message must not carry an earlier time.
        if patient then
            select
                array_agg(c.id), array_agg(c.last_seq), array_agg(c.version), array_agg(c.moment)
                , array_agg((date_part('epoch', c.moment) * 1000)::bigint)
            into locked, seqs, versions, moments, millis
            from (
                select held.*
                    , greatest(
                        date_trunc('milliseconds', clock_timestamp()), held.last_message_at + interval '1 millisecond'
                    ) as moment
                from (
                    select c.id, c.last_seq, c.version, c.last_message_at
                    from chats c
                    where c.id = any(chat_ids)
                    order by c.id
                    for no key update
                ) held
                offset 0
            ) c;
        else
            select
                array_agg(c.id), array_agg(c.last_seq), array_agg(c.version), array_agg(c.moment)
                , array_agg((date_part('epoch', c.moment) * 1000)::bigint)
            into locked, seqs, versions, moments, millis
            from (
                select held.*
                    , greatest(
                        date_trunc('milliseconds', clock_timestamp()), held.last_message_at + interval '1 millisecond'
                    ) as moment
                from (
                    select c.id, c.last_seq, c.version, c.last_message_at
                    from chats c
                    where c.id = any(chat_ids)
                    order by c.id
                    for no key update skip locked
                ) held
                offset 0
            ) c;
        end if;
        whole := cardinality(locked) = cardinality(chat_ids);
        if whole is not true then
            select
                array_agg(c.seq order by wanted.place), array_agg(c.version order by wanted.place)
                , array_agg(c.moment order by wanted.place), array_agg(c.milli order by wanted.place)
                -- What nobody can lock is not there.
                , bool_or(c.id is null and not exists (select from chats c where c.id = wanted.id))
            into seqs, versions, moments, millis, done
            from unnest(chat_ids) with ordinality as wanted (id, place)
            left join unnest(locked, seqs, versions, moments, millis) as c (id, seq, version, moment, milli)
                on c.id = wanted.id;
            if done then
                done := false;
                return;
            end if;
        end if;
        if array_remove(reply_to_ids, null) <> '{}' and exists (
            select
            from unnest(message_chats, reply_to_ids) as answer (chat, id)
            where answer.id is not null and not exists (
                select from messages m where m.chat_id = chat_ids[answer.chat] and m.id = answer.id
            )
        ) then
            return;
        end if;
        with sent as (
            update participants p
            set sent_count = p.sent_count + s.messages
            from unnest(sender_chats, sender_ids, sender_messages) with ordinality as s (chat, id, messages, place)
            join users u on u.id = s.id
            where p.chat_id = chat_ids[s.chat] and p.user_id = s.id and seqs[s.chat] is not null
            returning s.place, u.name, u.avatar, p.left_at
        )
        select array_agg(sent.place), array_agg(sent.name), array_agg(sent.avatar)
        into shown, names, avatars
        from sent
        where sent.left_at is null;
        expected := cardinality(sender_ids);
        if whole is not true then
            select count(*) into expected from unnest(sender_chats) as s (chat) where seqs[s.chat] is not null;
        end if;
        if coalesce(cardinality(shown), 0) <> expected then
            raise exception using errcode = 'PY001', message = 'a sender is no participant';
        end if;
        with forgotten as (
            delete from pending_heads where id = any(told)
        )
        , inserted as (
            insert into messages (
                chat_id, seq, id, version, sender_id, type, content, reply_to_id, metadata, client_message_id
                , request_hash, created_at
            )
            select
                chat_ids[m.chat], seqs[m.chat] + m.place
                , (lpad(to_hex(millis[m.chat] + m.place - 1), 12, '0') || m.id_tail)::uuid
                , versions[m.chat] + m.place, m.sender_id, m.type, m.content, m.reply_to_id, m.metadata::jsonb
                , m.client_message_id, m.request_hash
                , moments[m.chat] + (m.place - 1) * interval '1 millisecond'
            from unnest(
                message_chats, places, senders, types, contents, reply_to_ids, metadatas, client_message_ids
                , request_hashes, id_tails
            ) as m (
                chat, place, sender_id, type, content, reply_to_id, metadata, client_message_id, request_hash
                , id_tail
            )
            where seqs[m.chat] is not null
        )
        , moved as (
            update chats c
            set version = c.version + m.messages
              , last_seq = c.last_seq + m.messages
              , last_message_at = m.moment + (m.messages - 1) * interval '1 millisecond'
            from unnest(chat_ids, chat_messages, moments) as m (id, messages, moment)
            where c.id = m.id and m.moment is not null
        )
        insert into pending_heads (chat_ids, versions)
        select array_agg(c.id), array_agg(c.version + 1)
        from unnest(chat_ids, versions) as c (id, version)
        where c.version is not null
        having count(*) > 0
        returning pending_heads.id into head;
    exception
        when unique_violation or sqlstate 'PY001' then
            return;
    end;
    if array_remove(metadatas, null) <> '{}' then
        select array_agg(m.metadata::jsonb::text order by m.place)
        into kept
        from unnest(metadatas) with ordinality as m (metadata, place);
    end if;
    done := true;
end
$function$;
