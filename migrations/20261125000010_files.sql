-- Files of messages: sent with their message in one transaction, gone with it, and no bytes left behind.

-- How many files the message has; null: none, and then nobody looks for any. (It costs such a row nothing: nulls take no
-- room.)
alter table messages add column attachment_count smallint;

-- Objects in storage that belong to no message: uploads under way, and what removed messages have left. An object is
-- named here before its first byte is written, and until the transaction that makes it part of a message has committed;
-- so whatever a pod dies of, nothing lies in storage that is named nowhere.
create table loose_objects (
    storage_key   text collate "C" primary key,
    -- From here on it can no longer become part of a message. It is later than any upload can end.
    remove_after  timestamptz not null,
    -- When it is to be removed from storage, at the earliest; later where that has failed.
    try_after     timestamptz not null
);

create index loose_objects_by_time on loose_objects (try_after);

-- append_messages_1 with files: each message that is appended gets its file in the same transaction, and the file is no
-- loose object any more. Batches without files go to append_messages_1 itself.
create function append_messages_2(
    chat_ids           uuid[],
    sender_ids         text[],
    by_host            boolean[],
    types              text[],
    contents           text[],
    reply_to_ids       uuid[],
    metadatas          text[],
    client_message_ids text[],
    request_hashes     bytea[],
    id_tails           text[],
    patient            boolean,
    told               bigint[],
    -- Of messages without a file, all of these are null.
    attachment_ids     uuid[],
    filenames          text[],
    mime_types         text[],
    sizes              bigint[],
    storage_keys       text[]
) returns table (
    item               bigint,
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
as $function$
declare
    done record;
begin
    for done in
        select *
        from append_messages_1(
            chat_ids, sender_ids, by_host, types, contents, reply_to_ids, metadatas, client_message_ids, request_hashes
            , id_tails, patient, told
        )
    loop
        if done.outcome = 'appended' and storage_keys[done.item] is not null then
            delete from loose_objects o
            where o.storage_key = storage_keys[done.item] and o.remove_after > clock_timestamp();
            if not found then
                raise exception 'the upload is not there any more';
            end if;
            insert into attachments (
                chat_id, id, message_id, uploader_id, filename, mime_type, size, storage_key
            ) values (
                chat_ids[done.item], attachment_ids[done.item], done.id, sender_ids[done.item], filenames[done.item]
                , mime_types[done.item], sizes[done.item], storage_keys[done.item]
            );
            update messages m
            set attachment_count = 1
            where m.chat_id = chat_ids[done.item] and m.seq = done.seq;
        end if;
        item := done.item;
        outcome := done.outcome;
        seq := done.seq;
        version := done.version;
        id := done.id;
        created_at := done.created_at;
        metadata := done.metadata;
        sender_name := done.sender_name;
        sender_avatar := done.sender_avatar;
        head := done.head;
        return next;
    end loop;
end
$function$;
