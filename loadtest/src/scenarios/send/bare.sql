-- A send as one statement: what a service could reach that costs nothing itself. It takes the chat's row and its next
-- place, proves the membership, and inserts. A client message id that comes again fails at its unique index.
-- :chat and :sender are numbers that the lines above these have drawn.
\set message random(1, 9000000000000000000)
with moved as (
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
    returning id, version, last_seq, last_message_at
)
insert into messages
    (chat_id, seq, id, version, sender_id, type, content, client_message_id, request_hash, created_at)
select id, last_seq, uuidv7(), version, 'peer-' || :sender::int, 'text', :content::text
    , lpad(to_hex(:message::bigint), 32, '0'), :hash::bytea, last_message_at
from moved
returning id, seq, version, created_at;
