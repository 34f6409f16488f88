//! One random operation: done by the store, told to the oracle, its answer compared.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use parley_domain::change::ChangeKind;
use parley_domain::ids::MessageId;
use parley_domain::message::NewMessage;
use parley_store::{
    AddParticipant, AppendMessage, ChangeAs, DeleteAs, DeleteMessage, EditMessage, MarkRead,
    MarkUnread, RemoveParticipant,
};
use rand::Rng;
use rand::rngs::StdRng;
use std::time::Duration;
use uuid::Uuid;

use super::oracle::Event;
use super::{ModelChat, POOL, Set, same};
use crate::fixture::{World, content, new_message, room_for, user};

type Told = Result<(), String>;

impl Set {
    pub(super) async fn act(&mut self, world: &World, rng: &mut StdRng, index: usize) -> Told {
        let (names, chat) = (&self.names, &mut self.chats[index]);
        let act = Act { world, names, chat };
        match rng.random_range(0..100) {
            0..32 => act.send(rng).await,
            32..36 => act.edit(rng).await,
            36..44 => act.delete(rng).await,
            44..64 => act.read(rng).await,
            64..72 => act.read_all(rng).await,
            72..82 => act.unread(rng).await,
            82..91 => act.add(rng).await,
            _ => act.remove(rng).await,
        }
    }
}

struct Act<'a> {
    world: &'a World,
    names: &'a [String],
    chat: &'a mut ModelChat,
}

impl Act<'_> {
    /// Mostly a participant, sometimes anybody.
    fn somebody(&self, rng: &mut StdRng) -> usize {
        let people: Vec<usize> = self.chat.history.people().into_iter().collect();
        if people.is_empty() || rng.random_ratio(1, 10) {
            return rng.random_range(0..POOL);
        }
        people[rng.random_range(0..people.len())]
    }

    fn is_in(&self, who: usize) -> bool {
        self.chat.history.people().contains(&who)
    }

    /// A message of the chat by its seq, or seq 0 for one that is unknown.
    fn some_message(&self, rng: &mut StdRng) -> (u64, MessageId) {
        if self.chat.messages.is_empty() || rng.random_ratio(1, 25) {
            return (0, Uuid::from_u128(rng.random()).into());
        }
        let index = rng.random_range(0..self.chat.messages.len());
        (index as u64 + 1, self.chat.messages[index])
    }

    async fn send(self, rng: &mut StdRng) -> Told {
        let senders: Vec<(usize, bool)> = (0..rng.random_range(1..=6))
            .map(|_| (self.somebody(rng), rng.random_ratio(1, 12)))
            .collect();
        let parallel = rng.random();
        self.chat.did.push(format!("send by {senders:?}, parallel: {parallel}"));
        let news = senders.iter().map(|(who, by_host)| NewMessage {
            by_host: *by_host,
            ..new_message(self.chat.id, &self.names[*who], "hi", None)
        });
        let sends = news.map(|new| self.world.append(new));
        let outcomes = if parallel {
            join_all(sends).await
        } else {
            let mut outcomes = Vec::new();
            for send in sends {
                outcomes.push(send.await);
            }
            outcomes
        };
        let mut sent = Vec::new();
        for ((who, by_host), outcome) in senders.into_iter().zip(outcomes) {
            match outcome {
                AppendMessage::Appended(new) if by_host || self.is_in(who) => {
                    sent.push((new.message.seq.0, who, new.message.id));
                }
                AppendMessage::NotParticipant if !by_host && !self.is_in(who) => {}
                other => return Err(format!("send by {who}: {other:?}")),
            }
        }
        sent.sort_unstable();
        for (seq, by, id) in sent {
            self.chat.messages.push(id);
            same("seq", &(self.chat.messages.len() as u64), &seq)?;
            self.chat.history.0.push(Event::Sent { seq, by });
        }
        Ok(())
    }

    async fn edit(self, rng: &mut StdRng) -> Told {
        let (seq, id) = self.some_message(rng);
        let authors = self.chat.history.authors();
        let who = match authors.get(&seq) {
            Some(author) if rng.random_ratio(5, 6) => *author,
            _ => self.somebody(rng),
        };
        self.chat.did.push(format!("edit {seq} by {who}"));
        let (editor, window) = (user(&self.names[who]), Duration::from_hours(1));
        let text = content("ho");
        let edited = self.world.store.edit_message(self.chat.id, id, &editor, &text, window);
        let mine = authors.get(&seq) == Some(&who);
        match edited.await.unwrap() {
            EditMessage::Edited(..) if mine && self.is_in(who) => {
                self.chat.history.0.push(Event::Edited);
            }
            EditMessage::NotParticipant if !self.is_in(who) => {}
            EditMessage::MessageNotFound if seq == 0 => {}
            EditMessage::NotAuthor if !mine => {}
            EditMessage::Deleted if self.chat.history.deleted().contains(&seq) => {}
            other => return Err(format!("edit: {other:?}")),
        }
        Ok(())
    }

    async fn delete(self, rng: &mut StdRng) -> Told {
        let (seq, id) = self.some_message(rng);
        let authors = self.chat.history.authors();
        let admin = rng.random_ratio(1, 2);
        let who = match authors.get(&seq) {
            Some(author) if !admin && rng.random_ratio(5, 6) => *author,
            _ => self.somebody(rng),
        };
        self.chat.did.push(format!("delete {seq} by {who}, admin: {admin}"));
        let authority = if admin { DeleteAs::Admin } else { DeleteAs::Author };
        let by = user(&self.names[who]);
        let mine = authors.get(&seq) == Some(&who);
        let before = self.chat.history.deleted().contains(&seq);
        match self.world.store.delete_message(self.chat.id, id, &by, authority).await.unwrap() {
            DeleteMessage::Deleted(..) if admin || mine && self.is_in(who) => {
                same("deleted before", &false, &before)?;
                self.chat.history.0.push(Event::Deleted { seq });
            }
            DeleteMessage::AlreadyDeleted(_) if before => {}
            DeleteMessage::NotParticipant if !admin && !self.is_in(who) => {}
            DeleteMessage::MessageNotFound if seq == 0 => {}
            DeleteMessage::NotAuthor if !admin && !mine => {}
            other => return Err(format!("delete: {other:?}")),
        }
        Ok(())
    }

    async fn read(self, rng: &mut StdRng) -> Told {
        let who = self.somebody(rng);
        let mut named: Vec<(u64, MessageId)> = Vec::new();
        if !self.chat.messages.is_empty() && rng.random_ratio(1, 2) {
            // A stretch, as a client does that shows one.
            let first = rng.random_range(0..self.chat.messages.len());
            let last = (first + rng.random_range(1..=50)).min(self.chat.messages.len());
            named.extend((first..last).map(|n| (n as u64 + 1, self.chat.messages[n])));
        } else {
            named.extend((0..rng.random_range(0..=50)).map(|_| self.some_message(rng)));
        }
        let seqs: Vec<u64> = named.iter().map(|(seq, _)| *seq).collect();
        self.chat.did.push(format!("read {seqs:?} by {who}"));
        let ids: Vec<MessageId> = named.iter().map(|(_, id)| *id).collect();
        let unread = self.chat.history.unread(who);
        let expected: BTreeSet<u64> = seqs.iter().copied().filter(|n| unread.contains(n)).collect();
        let reader = user(&self.names[who]);
        let marked = self.world.store.mark_read(self.chat.id, &reader, Some(&ids));
        let marked = match marked.await.unwrap() {
            MarkRead::Marked(marked) if self.is_in(who) => marked,
            MarkRead::NotParticipant if !self.is_in(who) => return Ok(()),
            other => return Err(format!("read: {other:?}")),
        };
        self.chat.history.0.push(Event::Read { who, seqs });
        same("modified", &(expected.len() as u64), &marked.modified)?;
        let left = self.chat.history.unread(who).len() as u64;
        same("unread after reading", &left, &marked.unread)?;
        let ids: BTreeSet<MessageId> = expected.iter().map(|seq| self.message(*seq)).collect();
        let told = marked.messages.as_ref().map(|ids| ids.iter().copied().collect());
        same("which were read", &Some(ids), &told)?;
        let authors: BTreeSet<_> = expected.iter().map(|seq| self.author(*seq)).collect();
        same("authors", &authors, &marked.authors.iter().cloned().collect())?;
        self.reached(who, marked.read_up_to.0)
    }

    async fn read_all(self, rng: &mut StdRng) -> Told {
        let who = self.somebody(rng);
        self.chat.did.push(format!("read all by {who}"));
        let reader = user(&self.names[who]);
        let marked = self.world.store.mark_read(self.chat.id, &reader, None);
        let marked = match marked.await.unwrap() {
            MarkRead::Marked(marked) if self.is_in(who) => marked,
            MarkRead::NotParticipant if !self.is_in(who) => return Ok(()),
            other => return Err(format!("read all: {other:?}")),
        };
        let before = self.chat.history.unread(who);
        self.chat.history.0.push(Event::ReadAll { who });
        same("modified", &(before.len() as u64), &marked.modified)?;
        same("unread after reading all", &0, &marked.unread)?;
        same("which were read", &None, &marked.messages)?;
        // Authors of what was read singly may be told once more.
        let told: BTreeSet<_> = marked.authors.iter().cloned().collect();
        let authors: BTreeSet<_> = before.iter().map(|seq| self.author(*seq)).collect();
        same("authors who are not told", &BTreeSet::new(), &authors.difference(&told).collect())?;
        same("oneself is told", &false, &told.contains(&user(&self.names[who])))?;
        same("read up to", &(self.chat.messages.len() as u64), &marked.read_up_to.0)?;
        self.reached(who, marked.read_up_to.0)
    }

    async fn unread(self, rng: &mut StdRng) -> Told {
        let who = self.somebody(rng);
        let (seq, id) = self.some_message(rng);
        self.chat.did.push(format!("unread from {seq} by {who}"));
        let reader = user(&self.names[who]);
        let marked = self.world.store.mark_unread(self.chat.id, &reader, id);
        match marked.await.unwrap() {
            MarkUnread::Marked { unread, read_up_to } if seq > 0 && self.is_in(who) => {
                self.chat.history.0.push(Event::UnreadFrom { who, seq });
                let left = self.chat.history.unread(who).len() as u64;
                same("unread after marking", &left, &unread)?;
                let before = self.chat.pointers.insert(who, read_up_to.0).unwrap_or_default();
                same("read up to, after marking", &before.min(seq - 1), &read_up_to.0)
            }
            MarkUnread::NotParticipant if !self.is_in(who) => Ok(()),
            MarkUnread::MessageNotFound if seq == 0 => Ok(()),
            other => Err(format!("unread: {other:?}")),
        }
    }

    async fn add(self, rng: &mut StdRng) -> Told {
        let (who, most) = (rng.random_range(0..POOL), 8);
        let direct = self.chat.did[0].starts_with("Direct");
        self.chat.did.push(format!("add {who}"));
        let (store, id) = (&self.world.store, user(&self.names[who]));
        let added =
            store.add_participant(self.chat.id, &id, &id, ChangeAs::Admin, &room_for(most)).await;
        let people = self.chat.history.people();
        match added.unwrap() {
            AddParticipant::Added(..) if !direct && !self.is_in(who) && people.len() < 8 => {
                self.chat.history.0.push(Event::Joined { who });
            }
            AddParticipant::NotGroup if direct => {}
            AddParticipant::AlreadyIn(_) if self.is_in(who) => {}
            AddParticipant::Full if people.len() == 8 => {}
            other => return Err(format!("add: {other:?}")),
        }
        Ok(())
    }

    async fn remove(self, rng: &mut StdRng) -> Told {
        let (who, leaves) = (self.somebody(rng), rng.random());
        let direct = self.chat.did[0].starts_with("Direct");
        self.chat.did.push(format!("remove {who}, leaves: {leaves}"));
        let id = user(&self.names[who]);
        let authority = if leaves { ChangeAs::Participant } else { ChangeAs::Admin };
        let removed = self.world.store.remove_participant(self.chat.id, &id, &id, authority);
        match removed.await.unwrap() {
            RemoveParticipant::Removed(_, committed) if !direct && self.is_in(who) => {
                self.chat.history.0.push(Event::Left { who });
                let heir = |kind: &ChangeKind| matches!(kind, ChangeKind::ParticipantsAdded { .. });
                let heirs = committed.changes.iter().filter(|change| heir(&change.kind)).count();
                self.chat.heirs += heirs as u64;
            }
            RemoveParticipant::NotGroup if direct => {}
            RemoveParticipant::NotParticipant if leaves && !self.is_in(who) => {}
            RemoveParticipant::NotThere if !leaves && !self.is_in(who) => {}
            other => return Err(format!("remove: {other:?}")),
        }
        Ok(())
    }

    fn message(&self, seq: u64) -> MessageId {
        self.chat.messages[usize::try_from(seq).unwrap() - 1]
    }

    fn author(&self, seq: u64) -> parley_domain::ids::UserId {
        user(&self.names[self.chat.history.authors()[&seq]])
    }

    /// Reading never takes a pointer back.
    fn reached(self, who: usize, up_to: u64) -> Told {
        let before = self.chat.pointers.insert(who, up_to).unwrap_or_default();
        same("the pointer went back", &false, &(up_to < before))
    }
}
