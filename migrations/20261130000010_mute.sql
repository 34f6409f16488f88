-- Until when a participant wants no notifications of a chat; 'infinity': until they say otherwise; null: not muted. Muting
-- changes no position of the chat and no index, so that the row stays heap-only.
alter table participants add column muted_until timestamptz;
