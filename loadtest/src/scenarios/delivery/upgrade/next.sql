-- What a next release may do to a database in use, once each: see migrations/README.md. The pods know nothing of it.
alter table messages add column next_release text
alter table chats add column next_release integer not null default 0
alter table participants add column next_release timestamptz
alter table users add column next_release boolean not null default false
create index concurrently messages_next_release on messages (chat_id, next_release) where next_release is not null
alter table messages add constraint messages_next_release check (length(next_release) < 100) not valid
alter table messages validate constraint messages_next_release
create table next_release (chat_id uuid primary key references chats (id), noted_at timestamptz not null default now())
create function next_release() returns integer language sql immutable return 2
