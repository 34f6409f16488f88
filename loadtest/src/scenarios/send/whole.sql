-- A send as one statement that does all the work of a send: it looks for an earlier try and for the membership, takes the
-- chat's next place, inserts the message, counts it for its sender, leaves the trace by which a dead pod's message is found
-- and removes the one before, and reads what the answer shows of the sender.
-- :chat and :sender are numbers that the lines above these have drawn; :head is this client's last trace.
\set message random(1, 9000000000000000000)
with earlier as (
    select seq
    from messages
    where chat_id = ('00000000-0000-7000-8000-' || lpad(to_hex(:chat::int), 12, '0'))::uuid
        and sender_id = 'peer-' || :sender::int
        and client_message_id = lpad(to_hex(:message::bigint), 32, '0')
)
, moved as (
    update chats
    set version = version + 1
        , last_seq = last_seq + 1
        , last_message_at = greatest(
            date_trunc('milliseconds', clock_timestamp())
            , last_message_at + interval '1 millisecond'
        )
    where id = ('00000000-0000-7000-8000-' || lpad(to_hex(:chat::int), 12, '0'))::uuid
        and exists (
            select from participants
            where chat_id = ('00000000-0000-7000-8000-' || lpad(to_hex(:chat::int), 12, '0'))::uuid
                and user_id = 'peer-' || :sender::int
                and left_at is null
        )
        and not exists (select from earlier)
    returning id, version, last_seq, last_message_at
)
, inserted as (
    insert into messages
        (chat_id, seq, id, version, sender_id, type, content, client_message_id, request_hash, created_at)
    select id, last_seq, uuidv7(), version, 'peer-' || :sender::int, 'text', :content::text
        , lpad(to_hex(:message::bigint), 32, '0'), :hash::bytea, last_message_at
    from moved
    returning id, seq, version, created_at
)
, counted as (
    update participants
    set sent_count = sent_count + 1
    where chat_id = ('00000000-0000-7000-8000-' || lpad(to_hex(:chat::int), 12, '0'))::uuid
        and user_id = 'peer-' || :sender::int
        and exists (select from moved)
)
, forgotten as (
    delete from pending_heads where id = :head::bigint
)
, noted as (
    insert into pending_heads (chat_ids, versions)
    select array[id], array[version] from moved
    returning id
)
select noted.id as head, inserted.id, inserted.seq, inserted.version, inserted.created_at, users.name, users.avatar
from inserted, noted, users
where users.id = 'peer-' || :sender::int \gset
