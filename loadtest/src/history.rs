//! A history: everything that clients did, were answered and heard, one JSON line each, in the order in which it
//! happened to them; and in the end what Postgres has.
//!
//! This is all that the clients, who write it, and the checker, who reads it, have in common.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

/// Of the lines; another one is not read.
pub(crate) const FORMAT: u32 = 2;
/// The number of a chat that nobody has announced.
pub(crate) const UNKNOWN_CHAT: u32 = u32::MAX;

/// A line: microseconds since the beginning, and what happened then.
pub(crate) type Line = (u64, Record);

/// What happened. Chats, clients and connections have numbers here, to keep lines short.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Record {
    /// The first line.
    Began {
        format: u32,
        command: String,
        since_1970_ms: u64,
    },
    /// There is a chat.
    Chat {
        chat: u32,
        id: String,
    },
    /// There is a client, of a user who is in these chats; an outsider is in none.
    Client {
        client: u32,
        user: String,
        chats: Vec<u32>,
    },

    /// A connection is there: a Socket.IO CONNECT was accepted.
    Open {
        client: u32,
        connection: u32,
        gateway: String,
    },
    /// The token that it was opened with counts up to this moment.
    Expires {
        connection: u32,
        at: u64,
    },
    /// A client came with a token and was refused a connection.
    TurnedAway {
        client: u32,
        why: String,
    },
    /// It asks to enter a room.
    Join {
        connection: u32,
        chat: u32,
        since: Option<u64>,
    },
    /// It is in.
    Joined {
        connection: u32,
        chat: u32,
        version: u64,
        epoch: String,
        resync: bool,
        pod: String,
    },
    /// It is not.
    Refused {
        connection: u32,
        chat: u32,
        code: String,
    },
    /// It hears a durable event.
    Heard {
        connection: u32,
        chat: u32,
        version: u64,
        event: String,
        message: String,
    },
    /// It is told that it may have missed something.
    Resync {
        connection: u32,
        chat: u32,
        reason: String,
    },
    /// It is gone, and how.
    Closed {
        connection: u32,
        why: String,
    },
    /// The request that brings a client's user into a chat goes out.
    Adding {
        client: u32,
        chat: u32,
    },
    /// The request that takes a client's user out of a chat goes out.
    Leaving {
        client: u32,
        chat: u32,
    },
    /// It was answered that the tokens of a client's user count no more.
    Revoked {
        client: u32,
    },
    /// The client has gone for good: nothing is owed to it any more.
    Gone {
        client: u32,
    },
    /// The client has reloaded a chat over REST, which stands there now.
    Reloaded {
        client: u32,
        chat: u32,
        version: u64,
    },

    /// A request goes out, for the how manyth time.
    Send {
        key: String,
        chat: u32,
        attempt: u32,
        pod: String,
    },
    /// Its answer; message and version are there when it is a good one.
    Answered {
        key: String,
        chat: u32,
        status: u16,
        message: String,
        version: u64,
    },
    /// There was no answer that says what became of it.
    Unanswered {
        key: String,
        chat: u32,
        why: String,
    },
    /// Nobody will ask for it again.
    GivenUp {
        key: String,
        chat: u32,
    },

    /// A request that marks these messages as read for a client's user goes out, and was answered.
    Reads {
        client: u32,
        chat: u32,
        seqs: Vec<u64>,
    },
    HasRead {
        client: u32,
        chat: u32,
        seqs: Vec<u64>,
    },
    /// What is sent under this key has a file of these bytes.
    Uploads {
        key: String,
        chat: u32,
        sum: u64,
    },

    /// A client reads its connection no more, and then again.
    Paused {
        connection: u32,
    },
    Resumed {
        connection: u32,
    },

    /// What is measured has another name from here on.
    Phase {
        name: String,
    },
    /// Something is broken on purpose.
    FaultBegins {
        fault: u32,
        what: String,
    },
    /// It is whole again, as far as the fault is concerned.
    FaultEnds {
        fault: u32,
    },
    /// A counter of a pod.
    Counter {
        pod: String,
        name: String,
        value: u64,
    },
    /// Nothing is sent any more; every client is whole, as far as it can know, or time is over.
    Settled {
        whole: bool,
    },

    /// How many messages a client's user is told in the end not to have read.
    Unread {
        client: u32,
        chat: u32,
        count: u64,
    },
    /// The bytes of a message's file, as it is given out in the end.
    File {
        chat: u32,
        message: String,
        sum: u64,
    },
    /// Where Postgres says that a chat stands.
    Head {
        chat: u32,
        version: u64,
        seq: u64,
    },
    /// A message in Postgres.
    Row {
        chat: u32,
        seq: u64,
        version: u64,
        changed: Option<u64>,
        id: String,
        key: String,
        author: String,
        deleted: bool,
    },
    /// Another durable change in Postgres, of a participant or of the chat itself.
    Change {
        chat: u32,
        version: u64,
    },
    /// Somebody who is no participant any more, from this version on.
    Removed {
        chat: u32,
        user: String,
        version: u64,
    },
    /// The last line: nothing was cut off.
    Ended,
}

/// Writes a history.
#[derive(Clone)]
pub(crate) struct Recorder(Arc<Shared>);

struct Shared {
    path: PathBuf,
    began: Instant,
    file: Mutex<Writing>,
}

struct Writing {
    out: BufWriter<File>,
    failed: Option<std::io::Error>,
}

impl Recorder {
    /// Begins a history.
    pub(crate) fn create(path: &Path, command: &str) -> Result<Self> {
        if let Some(folder) = path.parent() {
            std::fs::create_dir_all(folder)?;
        }
        let file =
            File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        let out = BufWriter::with_capacity(1 << 20, file);
        let recorder = Self(Arc::new(Shared {
            path: path.to_owned(),
            began: Instant::now(),
            file: Mutex::new(Writing { out, failed: None }),
        }));
        let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH)?;
        recorder.note(&Record::Began {
            format: FORMAT,
            command: command.to_owned(),
            since_1970_ms: u64::try_from(since_1970.as_millis())?,
        });
        Ok(recorder)
    }

    /// Notes something that happened just now. The lines are in the order of their times.
    pub(crate) fn note(&self, record: &Record) {
        let mut writing = self.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        let at = u64::try_from(self.0.began.elapsed().as_micros()).unwrap_or(u64::MAX);
        let Writing { out, failed } = &mut *writing;
        let written = serde_json::to_writer(&mut *out, &(at, record)).map_err(std::io::Error::from);
        if let Err(error) = written.and_then(|()| out.write_all(b"\n")) {
            // Told in the end: a client has nobody to tell it to.
            failed.get_or_insert(error);
        }
    }

    /// The moment that is so long from now, as lines have it.
    pub(crate) fn after(&self, time: Duration) -> u64 {
        u64::try_from((self.0.began.elapsed() + time).as_micros()).unwrap_or(u64::MAX)
    }

    /// Where it is written.
    pub(crate) fn path(&self) -> &Path {
        &self.0.path
    }

    /// Ends the history; says where it is.
    pub(crate) fn finish(&self) -> Result<PathBuf> {
        self.note(&Record::Ended);
        let mut writing = self.0.file.lock().unwrap_or_else(PoisonError::into_inner);
        writing.out.flush()?;
        if let Some(error) = writing.failed.take() {
            return Err(error).with_context(|| format!("cannot write {}", self.0.path.display()));
        }
        Ok(self.0.path.clone())
    }
}

/// Reads a history line by line.
pub(crate) fn read(path: &Path) -> Result<impl Iterator<Item = Result<Line>>> {
    let file = File::open(path).with_context(|| format!("cannot read {}", path.display()))?;
    let lines = BufReader::with_capacity(1 << 20, file).lines().enumerate();
    Ok(lines.map(|(number, line)| {
        let line = line?;
        serde_json::from_str(&line).with_context(|| format!("line {}: {line}", number + 1))
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_in_the_same_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("deep/history.jsonl");
        let recorder = Recorder::create(&path, "a test").unwrap();
        let records = [
            Record::Client { client: 1, user: "u".to_owned(), chats: vec![0] },
            Record::Join { connection: 7, chat: 0, since: None },
            Record::Row {
                chat: 0,
                seq: 1,
                version: 1,
                changed: None,
                id: "m".to_owned(),
                key: "k".to_owned(),
                author: "u".to_owned(),
                deleted: false,
            },
        ];
        for record in &records {
            recorder.note(record);
        }
        assert_eq!(recorder.finish().unwrap(), path);
        let lines: Vec<Line> = read(&path).unwrap().map(Result::unwrap).collect();
        assert!(matches!(lines[0].1, Record::Began { format: FORMAT, .. }));
        assert_eq!(lines[1..4].iter().map(|line| line.1.clone()).collect::<Vec<_>>(), records);
        assert_eq!(lines[4].1, Record::Ended);
        assert!(lines.is_sorted_by_key(|line| line.0));
    }

    #[test]
    fn a_line_that_is_cut_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        std::fs::write(&path, "[1,\"ended\"]\n[2,{\"chat\":{\"cha").unwrap();
        let lines: Vec<_> = read(&path).unwrap().collect();
        assert!(lines[0].is_ok() && lines[1].is_err());
    }
}
