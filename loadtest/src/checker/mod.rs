//! The history checker: reads what happened to every client and what Postgres has, and says whether it may be so.
//!
//! It shares nothing with the clients but the form of the lines. What is judged, by the invariants' names:
//!
//! * **I1** every 2xx has its row, and a file its bytes; **I2** one key, one message, and the same one in every answer;
//! * **I3** on a connection, a chat's versions rise, and none comes twice;
//! * **I4** after a join everything comes, unless the client was told to reload; and in the end every client is whole;
//! * **I5** `seq` and `version` have no holes, and creation versions rise with `seq`;
//! * **I6** who is no member is let in nowhere and hears nothing; who is removed, nothing after the removal's version; whose
//!   token has ended, nothing soon after that;
//! * **I7** everybody is told of as many unread messages as a count of all messages gives.
//!
//! A change that a later one of the same message, participant or chat stands for is in Postgres no more, and may be left
//! out: what must be heard is what Postgres has.

mod chat;
mod recovery;
mod room;
mod tokens;
mod unread;
mod verdict;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::path::Path;

use anyhow::{Result, bail};
use parley_local::say;

use crate::history::{self, FORMAT, Line, Record};
use chat::Chat;
use recovery::{Fault, Place};
use room::Room;
use tokens::Limit;
pub(crate) use verdict::{Fault as Violated, Recovery, Verdict};

/// Judges a recorded history.
pub(crate) fn judge(path: &Path) -> Result<Verdict> {
    let mut court = Court::default();
    for line in history::read(path)? {
        court.hear(line?)?;
    }
    court.decide()
}

/// Judges a history and says so: `check FILE`. True when it is clean; the verdict is the last line.
pub fn check(path: &Path) -> Result<bool> {
    let verdict = judge(path)?;
    say::line(format_args!("{}\n\n{}", verdict.command, verdict.report()));
    say::line(verdict.line());
    Ok(verdict.is_clean())
}

/// Everything that the lines have said so far.
#[derive(Default)]
struct Court {
    chats: HashMap<u32, Chat>,
    clients: HashMap<u32, Client>,
    connections: HashMap<u32, Connection>,
    faults: Vec<Fault>,
    /// When the history ended for the clients.
    settled: Option<u64>,
    complete: bool,
    verdict: Verdict,
}

struct Client {
    user: String,
    chats: HashSet<u32>,
    /// Chats that somebody has begun to take it out of.
    leaving: HashSet<u32>,
    /// It has gone for good.
    is_gone: bool,
    /// When it was answered that its tokens count no more.
    revoked: Option<u64>,
}

struct Connection {
    client: u32,
    rooms: HashMap<u32, Room>,
    closed: Option<u64>,
    /// It was not the client's own habit that closed it.
    lost: bool,
    /// Up to when the token counts that it was opened with.
    expires: Option<u64>,
}

impl Court {
    #[expect(clippy::too_many_lines, reason = "a table: one arm for each thing that can happen")]
    fn hear(&mut self, (at, record): Line) -> Result<()> {
        let counts = &mut self.verdict.counts;
        match record {
            Record::Began { format, command, .. } => {
                if format != FORMAT {
                    bail!("a history of format {format}; this reads {FORMAT}");
                }
                self.verdict.command = command;
            }
            Record::Chat { chat, id } => drop(self.chats.insert(chat, Chat::new(id))),
            Record::Client { client, user, chats } => {
                let chats = chats.into_iter().collect();
                let (leaving, is_gone, revoked) = (HashSet::new(), false, None);
                self.clients.insert(client, Client { user, chats, leaving, is_gone, revoked });
                counts.clients += 1;
            }
            Record::Open { client, connection, .. } => {
                counts.connections += 1;
                let (rooms, closed, lost) = (HashMap::new(), None, false);
                let new = Connection { client, rooms, closed, lost, expires: None };
                if self.connections.insert(connection, new).is_some() {
                    bail!("connection {connection} is opened twice");
                }
            }
            Record::Expires { connection, at } => {
                counts.expiries += 1;
                self.connection(connection)?.expires = Some(at);
            }
            Record::TurnedAway { client, why } => {
                counts.turned_away += 1;
                let text = format!("client {client} was turned away: {why}");
                self.verdict.add(Violated::Refused, at, text);
            }
            Record::Join { connection, chat, since } => {
                counts.joins += 1;
                counts.resumes += u64::from(since.is_some());
                self.room(connection, chat)?.asks(since);
            }
            Record::Joined { connection, chat, version, resync, .. } => {
                counts.joined += 1;
                counts.resyncs_at_join += u64::from(resync);
                self.room(connection, chat)?.joined(at, version, resync);
                self.must_be_member(connection, chat, at, "was let in")?;
            }
            Record::Refused { connection, chat, code } => {
                counts.refused += 1;
                if self.is_member(connection, chat)? && !self.is_leaving(connection, chat)? {
                    let text = format!("connection {connection} was refused chat {chat}: {code}");
                    self.verdict.add(Violated::Refused, at, text);
                }
            }
            Record::Heard { connection, chat, version, event, message } => {
                counts.deliveries += 1;
                self.must_be_member(connection, chat, at, "heard")?;
                let wrong = self.room(connection, chat)?.hears(at, version);
                if let Some(wrong) = wrong {
                    let text = format!(
                        "connection {connection}, chat {chat}: {event} {message} at version {version}"
                    );
                    self.verdict.add(wrong, at, text);
                }
                if let Some(chat) = self.chats.get_mut(&chat) {
                    chat.is_known(version);
                }
            }
            Record::Resync { connection, chat, reason } => {
                *counts.resyncs_told.entry(reason).or_default() += 1;
                self.room(connection, chat)?.is_told(at);
            }
            Record::Reloaded { client, chat, version } => {
                counts.reloads += 1;
                if let Some(chat) = self.chats.get_mut(&chat) {
                    chat.reloaded(client, at, version);
                }
            }
            Record::Closed { connection, why } => {
                // What exactly was not understood is for the reader of the history.
                let why = why.split(':').next().unwrap_or_default().to_owned();
                // Whatever is not the client's own habit.
                let lost = why != "cut" && why != "over";
                *counts.closed.entry(why).or_default() += 1;
                let connection = self.connection(connection)?;
                (connection.closed, connection.lost) = (Some(at), lost);
            }
            Record::Adding { chat, .. } => self.chat(chat)?.adding(),
            Record::Leaving { client, chat } => drop(self.client(client)?.leaving.insert(chat)),
            Record::Revoked { client } => {
                counts.revocations += 1;
                self.client(client)?.revoked = Some(at);
            }
            Record::Gone { client } => self.client(client)?.is_gone = true,
            Record::Send { key, attempt, chat, .. } => {
                counts.tries += 1;
                counts.sends += u64::from(attempt == 1);
                self.chat(chat)?.asked(&key);
            }
            Record::Answered { key, chat, status, message, version } => {
                *counts.answers.entry(status).or_default() += 1;
                let good = (200..300).contains(&status);
                if good && let Some(text) = self.chat(chat)?.answered(at, &key, message, version) {
                    self.verdict.add(Violated::TwoMessages, at, text);
                }
                if matches!(status, 401 | 403 | 404) {
                    let text = format!("chat {chat}: {key} was answered with {status}");
                    self.verdict.add(Violated::Refused, at, text);
                }
            }
            Record::Uploads { key, chat, sum } => {
                counts.files += 1;
                self.chat(chat)?.uploads(key, sum);
            }
            Record::File { chat, message, sum } => self.chat(chat)?.file(message, sum),
            Record::Reads { client, chat, seqs } => self.chat(chat)?.may_have_read(client, seqs),
            Record::HasRead { client, chat, seqs } => {
                counts.reads += 1;
                self.chat(chat)?.has_read(client, seqs);
            }
            Record::Unread { client, chat, count } => {
                counts.unread += 1;
                self.chat(chat)?.is_told_unread(client, count);
            }
            Record::Unanswered { .. } => counts.unanswered += 1,
            Record::GivenUp { .. } => counts.given_up += 1,
            Record::FaultBegins { fault, what } => self.faults.push(Fault::begins(fault, what, at)),
            Record::FaultEnds { fault } => {
                if let Some(known) = self.faults.iter_mut().find(|it| it.number == fault) {
                    known.ends(at);
                }
            }
            Record::Counter { pod, name, value } => {
                self.verdict.counters.insert((name, pod), value);
            }
            Record::Settled { whole } => {
                self.settled = Some(at);
                if !whole {
                    let text =
                        "not every client was in its room with everything when time was over";
                    self.verdict.add(Violated::Absent, at, text.to_owned());
                }
            }
            Record::Head { chat, version, seq } => self.chat(chat)?.head(version, seq),
            Record::Row { chat, seq, version, changed, id, key, author, deleted } => {
                counts.rows += 1;
                let row = chat::Row { seq, version, changed, id, key, author, deleted };
                self.chat(chat)?.row(row);
            }
            Record::Change { chat, version } => self.chat(chat)?.change(version),
            Record::Removed { chat, user, version } => {
                counts.removals += 1;
                self.chat(chat)?.removed(user, version);
            }
            Record::Paused { .. } | Record::Resumed { .. } | Record::Phase { .. } => {}
            Record::Ended => self.complete = true,
        }
        Ok(())
    }

    fn decide(mut self) -> Result<Verdict> {
        let Some(settled) = self.settled.filter(|_| self.complete) else {
            bail!("the history is cut off: nothing can be said of it");
        };
        for (number, chat) in &self.chats {
            chat.decide(*number, settled, &mut self.verdict);
        }
        self.removed();
        self.outlived();
        self.unread(settled);
        self.complete(settled);
        self.recoveries();
        self.verdict.sort();
        Ok(self.verdict)
    }

    /// I6: whoever was removed hears nothing above the version of that, and is not let in again.
    fn removed(&mut self) {
        let mut connections: Vec<_> = self.connections.iter().collect();
        connections.sort_by_key(|(number, _)| **number);
        for (number, connection) in connections {
            for (at_chat, room) in &connection.rooms {
                let Some(left) = self.left_at(connection.client, *at_chat) else { continue };
                for (at, what) in room.beyond(left) {
                    let text = format!(
                        "client {}, removed from chat {at_chat} at version {left}, {what} on connection {number}",
                        connection.client
                    );
                    self.verdict.add(Violated::Leaked, at, text);
                }
            }
        }
    }

    /// I6: whose token has ended hears nothing soon after that, and is not let in.
    fn outlived(&mut self) {
        for (number, connection) in &self.connections {
            let revoked = self.clients.get(&connection.client).and_then(|client| client.revoked);
            let Some(limit) = Limit::of(connection.expires, revoked, &self.faults) else {
                continue;
            };
            for (chat, room) in &connection.rooms {
                for (at, what) in room.later(limit.until) {
                    let text = format!(
                        "client {}, whose token {} at {:.3} s, {what} of chat {chat} on connection {number}",
                        connection.client,
                        limit.how,
                        verdict::seconds(limit.ended),
                    );
                    self.verdict.add(Violated::Outlived, at, text);
                }
            }
        }
    }

    /// I7: what everybody is told in the end.
    fn unread(&mut self, settled: u64) {
        for (number, chat) in &self.chats {
            for (client, count) in chat.told_unread() {
                let Some(user) = self.clients.get(client).map(|client| &client.user) else {
                    continue;
                };
                let right = chat.unread(*client, user);
                if !right.contains(count) {
                    let text = format!(
                        "client {client} ({user}) is told of {count} unread messages in chat {number}; there are {right:?}"
                    );
                    self.verdict.add(Violated::Unread, settled, text);
                }
            }
        }
    }

    /// The version from which on a client is out of a chat.
    fn left_at(&self, client: u32, chat: u32) -> Option<u64> {
        let user = &self.clients.get(&client)?.user;
        self.chats.get(&chat)?.left_at(user)
    }

    /// Whether a client is to have everything of a chat in the end.
    fn is_owed(&self, client: u32, chat: u32) -> bool {
        let stays = self.clients.get(&client).is_some_and(|client| !client.is_gone);
        stays && self.left_at(client, chat).is_none()
    }

    /// I4: every connection for itself, and then every client.
    fn complete(&mut self, settled: u64) {
        let mut heard: HashMap<(u32, u32), BTreeSet<u64>> = HashMap::new();
        let mut lost = BTreeSet::new();
        let mut connections: Vec<_> = self.connections.iter().collect();
        connections.sort_by_key(|(number, _)| **number);
        for (number, connection) in connections {
            let is_open = connection.closed.is_none_or(|closed| closed > settled);
            for (at_chat, room) in &connection.rooms {
                let Some(chat) = self.chats.get(at_chat) else { continue };
                let left = self.left_at(connection.client, *at_chat);
                for (version, at) in room.missing(chat, is_open.then_some(settled), left) {
                    if lost.insert((connection.client, *at_chat, version)) {
                        let text = format!(
                            "connection {number} of client {}, chat {at_chat}: version {version} never came",
                            connection.client
                        );
                        self.verdict.add(Violated::Lost, at, text);
                    }
                }
                let all = heard.entry((connection.client, *at_chat)).or_default();
                all.extend(room.heard().map(|(_, version)| version));
            }
        }
        let mut clients: Vec<_> = self.clients.iter().collect();
        clients.sort_by_key(|(number, _)| **number);
        for (number, client) in clients {
            for at_chat in &client.chats {
                let Some(chat) = self.chats.get(at_chat) else { continue };
                if !self.is_owed(*number, *at_chat) {
                    continue;
                }
                let heard = heard.remove(&(*number, *at_chat)).unwrap_or_default();
                let known = chat.reloaded_to(*number);
                if known.is_none() {
                    let text =
                        format!("client {number} ({}) never came into chat {at_chat}", client.user);
                    self.verdict.add(Violated::Absent, settled, text);
                    continue;
                }
                for version in chat.after(known.unwrap_or(0)) {
                    if !heard.contains(&version) && lost.insert((*number, *at_chat, version)) {
                        let text = format!(
                            "client {number} ({}), chat {at_chat}: version {version} was never heard, and never reloaded",
                            client.user
                        );
                        self.verdict.add(Violated::Lost, settled, text);
                    }
                }
            }
        }
    }

    /// How long after each fault every client knew again all that had been answered before its end.
    fn recoveries(&mut self) {
        let mut places: HashMap<(u32, u32), Place> = HashMap::new();
        for (number, client) in &self.clients {
            for chat in client.chats.iter().filter(|chat| self.is_owed(*number, **chat)) {
                places.insert((*number, *chat), Place::default());
            }
        }
        for connection in self.connections.values() {
            for (chat, room) in &connection.rooms {
                if let Some(place) = places.get_mut(&(connection.client, *chat)) {
                    place.visit(room, connection.closed, connection.lost);
                }
            }
        }
        for ((client, chat), place) in &mut places {
            let reloads = self.chats.get(chat).map(|chat| chat.reloads_of(*client));
            place.settle(reloads.unwrap_or_default());
        }
        for fault in &self.faults {
            let heads =
                |chat: u32, at| self.chats.get(&chat).map_or(0, |chat| chat.answered_by(at));
            self.verdict.recoveries.push(fault.recovery(&places, heads));
        }
    }

    fn chat(&mut self, chat: u32) -> Result<&mut Chat> {
        match self.chats.get_mut(&chat) {
            Some(chat) => Ok(chat),
            None => bail!("chat {chat} was never announced"),
        }
    }

    fn connection(&mut self, connection: u32) -> Result<&mut Connection> {
        match self.connections.get_mut(&connection) {
            Some(connection) => Ok(connection),
            None => bail!("connection {connection} was never opened"),
        }
    }

    fn client(&mut self, client: u32) -> Result<&mut Client> {
        match self.clients.get_mut(&client) {
            Some(client) => Ok(client),
            None => bail!("client {client} was never announced"),
        }
    }

    fn room(&mut self, connection: u32, chat: u32) -> Result<&mut Room> {
        Ok(self.connection(connection)?.rooms.entry(chat).or_default())
    }

    fn is_member(&mut self, connection: u32, chat: u32) -> Result<bool> {
        let client = self.connection(connection)?.client;
        Ok(self.clients.get(&client).is_some_and(|client| client.chats.contains(&chat)))
    }

    fn is_leaving(&mut self, connection: u32, chat: u32) -> Result<bool> {
        let client = self.connection(connection)?.client;
        Ok(self.client(client)?.leaving.contains(&chat))
    }

    fn must_be_member(&mut self, connection: u32, chat: u32, at: u64, what: &str) -> Result<()> {
        if !self.is_member(connection, chat)? {
            let client = self.connection(connection)?.client;
            let text = format!(
                "client {client}, no member, {what} on connection {connection}: chat {chat}"
            );
            self.verdict.add(Violated::Leaked, at, text);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
