//! The peers of a send: pgbench with one statement per send, on a database of its own in the same server.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use parley_local::{Interrupt, migrate};

use super::{CONTENT, Measured, Shape, Where, Work};
use crate::database::Database;
use crate::pgbench::{Pgbench, Plan};
use crate::servers::Servers;
use crate::window::{WARM_UP, Window};

const WHOLE: &str = include_str!("whole.sql");
const BARE: &str = include_str!("bare.sql");

/// A database with Parley's schema and as many people and chats.
pub(crate) struct Peer {
    database: Database,
    folder: PathBuf,
    shape: Shape,
}

impl Peer {
    /// Makes and fills the database beside Parley's own.
    pub(crate) fn prepare(
        parley: &Database,
        folder: &Path,
        shape: Shape,
        interrupt: &Interrupt,
    ) -> Result<Self> {
        parley.ask("create database peer")?;
        let database = parley.beside("peer")?;
        migrate(&database.url, interrupt)?;
        Self::fill(database, folder, shape)
    }

    /// On a database that has the schema.
    fn fill(database: Database, folder: &Path, shape: Shape) -> Result<Self> {
        database.ask(&filling(shape)).context("cannot fill the peer's database")?;
        database.tidy()?;
        Ok(Self { database, folder: folder.to_owned(), shape })
    }

    pub(super) fn database(&self) -> &Database {
        &self.database
    }

    /// One round.
    pub(super) fn round(
        &self,
        place: Where,
        work: Work,
        seconds: u64,
        servers: &Servers,
        interrupt: &Interrupt,
    ) -> Result<Measured> {
        self.database.settle()?;
        let before = self.database.stand()?;
        // A second more, so that the window ends before it does.
        let time = WARM_UP + Duration::from_secs(seconds + 1);
        let pgbench = self.start((place, work), time, None)?;
        let window = Window::take(servers, pgbench.pid(), seconds, interrupt)?;
        let outcome = pgbench.finish()?;
        let after = self.database.stand()?;
        self.database.tidy()?;
        outcome.must_have_made(after.messages - before.messages)?;
        Ok(Measured { window, done: outcome.done, errors: 0, before, after })
    }

    /// The least that puts a message into its place, into many chats, so many times a second.
    pub(crate) fn commits(&self, rate: u32, time: Duration) -> Result<Pgbench> {
        self.database.settle()?;
        self.start((Where::ManyChats, Work::Bare), time, Some(rate))
    }

    fn start(
        &self,
        (place, work): (Where, Work),
        time: Duration,
        rate: Option<u32>,
    ) -> Result<Pgbench> {
        if self.folder.exists() {
            fs::remove_dir_all(&self.folder)?;
        }
        fs::create_dir_all(&self.folder)?;
        let script = self.folder.join("script.sql");
        let statement = if work == Work::Whole { WHOLE } else { BARE };
        fs::write(&script, format!("{}{statement}", draw(place)))?;
        Pgbench::start(&Plan {
            database: &self.database,
            script: &script,
            folder: &self.folder,
            clients: self.shape.clients,
            time,
            rate,
            variables: &[
                ("chats", self.shape.chats.to_string()),
                ("content", CONTENT.to_owned()),
                // Nobody's: the first statement of a client has no trace to remove.
                ("head", "0".to_owned()),
                ("hash", format!(r"\x{}", "5a".repeat(32))),
            ],
        })
    }
}

/// Draws the chat and the sender.
fn draw(place: Where) -> &'static str {
    match place {
        Where::ManyChats => "\\set chat random(1, :chats)\n\\set sender 2 * :chat - random(0, 1)\n",
        Where::HotChat => "\\set chat :chats + 1\n\\set sender 2 * :chats + 1 + :client_id\n",
    }
}

/// Direct chats of neighbours, and behind them the one chat of all clients.
fn filling(shape: Shape) -> String {
    let Shape { chats, clients, .. } = shape;
    let id = |number: &str| {
        format!("('00000000-0000-7000-8000-' || lpad(to_hex({number}), 12, '0'))::uuid")
    };
    let (people, hot) = (2 * chats + u32::from(clients), chats + 1);
    let (direct, crowd) = (id("(n + 1) / 2"), id(&hot.to_string()));
    format!(
        "begin;
        insert into users (id) select 'peer-' || n from generate_series(1, {people}) n;
        insert into chats (id, type, created_by, participant_count)
            select {each}, 'direct', 'peer-' || 2 * n, 2 from generate_series(1, {chats}) n;
        insert into chats (id, type, created_by, participant_count)
            values ({crowd}, 'group', 'peer-{people}', {clients});
        insert into participants (chat_id, user_id, role)
            select {direct}, 'peer-' || n, 'member' from generate_series(1, 2 * {chats}) n
            union all
            select {crowd}, 'peer-' || n, 'member' from generate_series(2 * {chats} + 1, {people}) n;
        commit;",
        each = id("n"),
    )
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use parley_local::{testing, workspace};

    use super::*;
    use crate::database::capture;

    /// A database as the migrations leave it, filled.
    fn peer() -> (Peer, tempfile::TempDir) {
        let psql = std::env::var_os("PARLEY_TEST_PSQL").expect("run `cargo parley test`");
        let programs = Path::new(&psql).parent().unwrap().to_owned();
        let url = testing::fresh_database(&testing::database_url());
        let database = Database { programs, url };
        let entries = fs::read_dir(workspace().join("migrations")).unwrap().flatten();
        let mut files: Vec<_> = entries.map(|entry| entry.path()).collect();
        files.retain(|path| path.extension().is_some_and(|extension| extension == "sql"));
        files.sort();
        for file in files {
            let mut psql = Command::new(&psql);
            psql.args(["-Xq", "-v", "ON_ERROR_STOP=1", "-f"]).arg(file).arg(&database.url);
            capture(&mut psql).unwrap();
        }
        let folder = tempfile::tempdir().unwrap();
        let shape = Shape { chats: 3, clients: 2 };
        (Peer::fill(database, &folder.path().join("pgbench"), shape).unwrap(), folder)
    }

    #[test]
    fn its_statements_send_under_the_schema_of_the_migrations() {
        let (peer, _folder) = peer();
        let mut made = 0;
        let places = [Where::ManyChats, Where::HotChat];
        let kinds = places.map(|place| [(place, Work::Whole), (place, Work::Bare)]);
        for (place, work) in kinds.into_iter().flatten() {
            let started = peer.start((place, work), Duration::from_secs(1), None).unwrap();
            let outcome = started.finish().unwrap();
            assert_eq!(outcome.done.len() as u64, outcome.transactions);
            let stand = peer.database().stand().unwrap();
            outcome.must_have_made(stand.messages - made).unwrap();
            made = stand.messages;
        }
        let rows = peer.database().ask("select count(*), count(distinct chat_id) from messages");
        assert_eq!(rows.unwrap(), format!("{made}|4"));
        let left = peer
            .database()
            .ask("select count(*) <= 4, sum(sent_count) > 0 from pending_heads, participants");
        assert_eq!(left.unwrap(), "f|t");
    }
}
