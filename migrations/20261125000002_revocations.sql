-- Api pods look for recent revocations every few seconds, so that one whose announcement was lost bites all the same.
--
-- Not concurrently: that waits for every older snapshot, and a pod that waits for its turn to migrate holds one. No row
-- is in this index yet, so that writes to users wait for one scan of the table and not for a sort.
create index users_by_revocation on users (tokens_valid_after, id) where tokens_valid_after is not null;
