//! Very many messages and chats, by plain SQL: through REST they would take hours.

use anyhow::Result;

use crate::database::Database;

/// The chat with the long history.
pub(crate) const LONG_CHAT: &str = "0192f0a4-7c3b-7d2e-8a1b-000000000001";
/// Messages of each of many chats.
const EACH: u32 = 20;

/// A database that is being filled, and then is as if it had always been so.
pub(crate) struct Population<'a> {
    database: &'a Database,
    /// Who write beside those who read.
    others: u32,
}

impl<'a> Population<'a> {
    /// Makes so many people who write. Meanwhile the log may grow longer than it usually does between checkpoints, each of which
    /// would have pages written whole again.
    pub(crate) fn begin(database: &'a Database, others: u32) -> Result<Self> {
        database.ask("alter system set max_wal_size = '8GB'")?;
        database.ask("alter system set checkpoint_timeout = '1h'")?;
        database.ask("select pg_reload_conf()")?;
        database.ask(&format!(
            "insert into users (id) select 'other-' || n from generate_series(0, {others} - 1) n"
        ))?;
        Ok(Self { database, others })
    }

    /// One chat of two people with a long history, which this one reads.
    pub(crate) fn long_chat(&self, reader: &str, messages: u32) -> Result<()> {
        let id = message_id("1700000000000 + n");
        let sql = format!(
            "insert into users (id) values ('{reader}') on conflict do nothing;
            insert into chats (id, type, created_by, version, last_seq, last_message_at, participant_count)
            values ('{LONG_CHAT}', 'direct', '{reader}', {messages}, {messages},
                to_timestamp(1700000000 + {messages} / 1000.0), 2);
            insert into participants (chat_id, user_id, role)
            values ('{LONG_CHAT}', '{reader}', 'creator'), ('{LONG_CHAT}', 'other-0', 'member');
            insert into messages (chat_id, seq, id, version, sender_id, type, content, created_at)
            select '{LONG_CHAT}', n, {id}, n, 'other-0', 'text', 'message ' || n, to_timestamp(1700000000 + n / 1000.0)
            from generate_series(1, {messages}) n"
        );
        self.database.ask(&sql).map(drop)
    }

    /// Chats of this one with one other each, of 20 messages each, some of them half read.
    pub(crate) fn many_chats(&self, reader: &str, chats: u32) -> Result<()> {
        let others = self.others;
        let chat = format!("md5('{reader}' || n)::uuid");
        let id = message_id(&format!("1700000000000 + n * {EACH} + seq"));
        let sql = format!(
            "insert into users (id) values ('{reader}') on conflict do nothing;
            insert into chats (id, type, created_by, version, last_seq, last_message_at, participant_count)
            select {chat}, 'group', '{reader}', {EACH}, {EACH},
                to_timestamp(1700000000 + (n * {EACH} + {EACH}) / 1000.0), 2
            from generate_series(1, {chats}) n;
            insert into participants (chat_id, user_id, role, read_seq)
            select {chat}, '{reader}', 'creator', n % {EACH} from generate_series(1, {chats}) n
            union all
            select {chat}, 'other-' || n % {others}, 'member', 0 from generate_series(1, {chats}) n;
            insert into messages (chat_id, seq, id, version, sender_id, type, content, created_at)
            select {chat}, seq, {id}, seq, 'other-' || n % {others}, 'text', 'message ' || seq,
                to_timestamp(1700000000 + (n * {EACH} + seq) / 1000.0)
            from generate_series(1, {chats}) n, generate_series(1, {EACH}) seq"
        );
        self.database.ask(&sql).map(drop)
    }

    /// Everything is on the disk and known to the planner, and the server is set as before.
    pub(crate) fn end(self) -> Result<()> {
        self.database.tidy()?;
        self.database.settle()?;
        self.database.ask("alter system reset max_wal_size")?;
        self.database.ask("alter system reset checkpoint_timeout")?;
        self.database.ask("select pg_reload_conf()").map(drop)
    }
}

/// A `UUIDv7` of this millisecond, an expression of `n`.
fn message_id(ms: &str) -> String {
    format!(
        "(lpad(to_hex({ms}), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid"
    )
}
