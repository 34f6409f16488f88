-- What is put away may come back by itself: with PARLEY_UNARCHIVE=message, the next message brings it back. Nobody's row is
-- written for that; a chat is put away as long as nothing was said after this seq. Null: for good.
alter table participants add column archived_until bigint;
