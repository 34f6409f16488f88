//! What follows from what the database and the gateways know. Without I/O.

use chrono::{DateTime, Utc};
use parley_domain::delivery::{
    ConnectionAccount, ConnectionEnded, DeliveryAccount, KnownBy, Leaving, MembershipAccount,
    MembershipEnded, Telling, Way,
};
use parley_domain::version::Version;
use parley_store::{MembershipRecord, MessagePlace};

/// What is known.
pub(super) struct Facts<'a> {
    pub(super) user: &'a str,
    pub(super) message: &'a MessagePlace,
    pub(super) membership: Option<&'a MembershipRecord>,
    pub(super) accounts: &'a [DeliveryAccount],
    /// Gateways that are there, and have not answered.
    pub(super) silent: &'a [String],
}

/// The answer, as a stable word and as a sentence.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) code: &'static str,
    pub(super) sentence: String,
}

/// How near one connection came to hearing of it; the nearest decides. From here on down, another connection that
/// nobody remembers may have been nearer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Nearness {
    Written,
    Had,
    Waits,
    /// Another gateway had handed it over, before the session came to this one.
    Elsewhere,
    Behind,
    LeftBefore,
    NotJoined,
    NotConnected,
}

struct Finding {
    nearness: Nearness,
    verdict: Verdict,
}

impl Facts<'_> {
    /// Why, in one sentence.
    pub(super) fn verdict(&self) -> Verdict {
        if let Some(verdict) = self.was_outside() {
            return verdict;
        }
        let findings = self.accounts.iter().flat_map(|account| self.findings(account));
        let nearest = findings.min_by_key(|finding| finding.nearness);
        if let Some(verdict) = self.came_after()
            && nearest.as_ref().is_none_or(|finding| {
                !matches!(finding.nearness, Nearness::Written | Nearness::Waits)
            })
        {
            return verdict;
        }
        match nearest {
            Some(finding) if finding.nearness <= Nearness::Waits => finding.verdict,
            nearest => {
                let known = nearest.map(|finding| finding.verdict);
                self.unknown(known.as_ref()).unwrap_or_else(|| known.unwrap_or_else(|| self.away()))
            }
        }
    }

    /// Whether the user had no business with it.
    fn was_outside(&self) -> Option<Verdict> {
        let (user, version) = (self.user, self.message.version.0);
        let Some(membership) = self.membership else {
            let sentence = format!(
                "{user} has never been a participant of the chat, so nothing of it is told them."
            );
            return Some(Verdict { code: "not_participant", sentence });
        };
        let changed = membership.changed_version;
        if let Some(left_at) = membership.left_at
            && changed < self.message.version
        {
            let sentence = format!(
                "{user} was out of the chat before the message: they left, or were removed, at version {}, {}; the message is version {version}.",
                changed.0,
                time(left_at)
            );
            return Some(Verdict { code: "removed_before", sentence });
        }
        None
    }

    /// Whether they came after it. What is stored is when they came for the last time: what they were told before that, only
    /// gateways remember.
    fn came_after(&self) -> Option<Verdict> {
        let membership = self.membership.filter(|it| it.joined_seq >= self.message.seq)?;
        let sentence = format!(
            "{} came into the chat, or came back, after the message, {}: it stands in the history, and was not told them since.",
            self.user,
            time(membership.joined_at)
        );
        Some(Verdict { code: "joined_after", sentence })
    }

    fn findings(&self, account: &DeliveryAccount) -> Vec<Finding> {
        let memberships = account.memberships.iter();
        let mut findings: Vec<Finding> =
            memberships.map(|membership| self.of_membership(account, membership)).collect();
        let outside = account.connections.iter().filter(|connection| {
            account.memberships.iter().all(|membership| membership.socket != connection.socket)
        });
        findings.extend(outside.map(|connection| self.of_connection(account, connection)));
        findings
    }

    fn of_membership(&self, account: &DeliveryAccount, at: &MembershipAccount) -> Finding {
        let version = self.message.version;
        let (pod, socket) = (&account.pod, &at.socket);
        if version <= at.known {
            return self.had(account, at);
        }
        if version > at.up_to {
            return match at.ended {
                None => self.behind(account, at),
                Some(ended) => self.left_before(account, at, ended),
            };
        }
        let how = if version <= at.entered_at {
            format!("among what it had missed when it joined, {}", time(at.joined_at))
        } else {
            how(account.told)
        };
        let has_moved = at.ended.is_some_and(|ended| ended.why == Leaving::Moved);
        let told = format!("Gateway {pod} handed it to {}'s connection {socket}, {how}", self.user);
        match self.connection_of(account, at) {
            Some(ConnectionAccount { waiting: waiting @ 1.., ended: Some(ended), .. }) => {
                let sentence = format!(
                    "{told}; but that connection ended {} ({}) with {waiting} frames that were never written, and it may be among them.",
                    time(ended.at),
                    ended.why
                );
                Finding::new(Nearness::Waits, "unwritten", sentence)
            }
            Some(ConnectionAccount { waiting: waiting @ 1.., .. }) => {
                let sentence = format!(
                    "{told}; of what was handed to that connection, {waiting} frames wait to be read by the client, and it may be among them."
                );
                Finding::new(Nearness::Waits, "unread", sentence)
            }
            Some(_) => {
                let sentence = format!(
                    "{told}, and everything was written to the network: what became of it there, Parley does not see."
                );
                Finding::new(Nearness::Written, "told", sentence)
            }
            None if has_moved => {
                let sentence = format!(
                    "{told}; with what was not written yet, that session went to another gateway, and which one is not known any more."
                );
                Finding::new(Nearness::Waits, "moved", sentence)
            }
            None => {
                let sentence =
                    format!("{told}; how that connection ended is not remembered any more.");
                Finding::new(Nearness::Written, "told", sentence)
            }
        }
    }

    /// The connection of a membership. A session that has moved took along what was not written: it is where it went.
    fn connection_of<'a>(
        &'a self,
        account: &'a DeliveryAccount,
        at: &MembershipAccount,
    ) -> Option<&'a ConnectionAccount> {
        let others = self.accounts.iter().filter(|other| other.instance != account.instance);
        let connections = match at.ended {
            Some(MembershipEnded { why: Leaving::Moved, .. }) => {
                others.flat_map(|other| &other.connections).collect::<Vec<_>>()
            }
            _ => account.connections.iter().collect(),
        };
        connections.into_iter().find(|it| it.socket == at.socket)
    }

    fn had(&self, account: &DeliveryAccount, at: &MembershipAccount) -> Finding {
        let (user, pod, socket) = (self.user, &account.pod, &at.socket);
        let (known, joined) = (at.known.0, time(at.joined_at));
        let version = self.message.version.0;
        let (nearness, code, sentence) = match at.known_by {
            KnownBy::Client => (
                Nearness::Had,
                "had_it",
                format!(
                    "{user}'s connection {socket} at gateway {pod} joined {joined} and said that it had everything up to version {known}, so version {version} was not told it again."
                ),
            ),
            KnownBy::Join => (
                Nearness::Had,
                "loads_history",
                format!(
                    "{user}'s connection {socket} at gateway {pod} joined {joined} at version {known}, after the message, without saying where it was: it has to load version {version} with the history."
                ),
            ),
            KnownBy::Resync => (
                Nearness::Had,
                "resync",
                format!(
                    "{user}'s connection {socket} at gateway {pod} was too far behind when it joined {joined}, and was told to reload the chat (resync), version {version} with it."
                ),
            ),
            KnownBy::Moved => (
                Nearness::Elsewhere,
                "moved",
                format!(
                    "{user}'s connection {socket} came to gateway {pod} {joined}, from another gateway that had handed it everything up to version {known}, version {version} among it."
                ),
            ),
        };
        Finding::new(nearness, code, sentence)
    }

    fn behind(&self, account: &DeliveryAccount, at: &MembershipAccount) -> Finding {
        let sentence = format!(
            "Gateway {} has not told it yet: {}'s connection {} is in the room, which stands at version {}; the message is version {}.",
            account.pod, self.user, at.socket, at.up_to.0, self.message.version.0
        );
        Finding::new(Nearness::Behind, "behind", sentence)
    }

    fn left_before(
        &self,
        account: &DeliveryAccount,
        at: &MembershipAccount,
        ended: MembershipEnded,
    ) -> Finding {
        let connection = account.connections.iter().find(|it| it.socket == at.socket);
        let reason = connection.and_then(|it| it.ended.as_ref()).map(|it| it.why.as_str());
        let why = match (ended.why, reason) {
            (Leaving::Left, _) => "the client had left the room".to_owned(),
            (Leaving::Removed, _) => "the user was removed from the chat".to_owned(),
            (Leaving::SentAway, _) => {
                "the room could not tell what came next, and closed it so that it comes back"
                    .to_owned()
            }
            (Leaving::Moved, _) => "the session went to another gateway".to_owned(),
            (Leaving::Closed, Some(reason)) => format!("the connection had ended ({reason})"),
            (Leaving::Closed, None) => "the connection had ended".to_owned(),
        };
        let sentence = format!(
            "{}'s connection {} at gateway {} had heard up to version {} when it left the room, {}: {why}. No connection of theirs has joined the room since.",
            self.user,
            at.socket,
            account.pod,
            at.up_to.0,
            time(ended.at)
        );
        Finding::new(Nearness::LeftBefore, "left_before", sentence)
    }

    fn of_connection(&self, account: &DeliveryAccount, it: &ConnectionAccount) -> Finding {
        let (user, pod, socket) = (self.user, &account.pod, &it.socket);
        match &it.ended {
            None => {
                let sentence = format!(
                    "{user} is connected ({socket} at gateway {pod}, since {}), and has not joined the chat's room.",
                    time(it.connected_at)
                );
                Finding::new(Nearness::NotJoined, "not_joined", sentence)
            }
            Some(ConnectionEnded { at, why }) => {
                let sentence = format!(
                    "{user} is not connected; connection {socket} at gateway {pod} ended {} ({why}), without having joined the chat's room.",
                    time(*at)
                );
                Finding::new(Nearness::NotConnected, "not_connected", sentence)
            }
        }
    }

    /// Why it cannot be said, if it cannot: somebody who does not answer, or does not remember, may have told it.
    fn unknown(&self, known: Option<&Verdict>) -> Option<Verdict> {
        let sent = self.message.created_at;
        let mut doubts = Vec::new();
        if !self.silent.is_empty() {
            doubts.push(format!("{} does not answer", gateways(self.silent)));
        }
        let later = |account: &&DeliveryAccount| account.started_at > sent;
        let started: Vec<_> =
            self.accounts.iter().filter(later).map(|account| account.pod.clone()).collect();
        if !started.is_empty() {
            doubts.push(format!("{} started after the message", gateways(&started)));
        }
        let forgot = |account: &&DeliveryAccount| {
            account.remembers_from > sent && account.started_at <= sent
        };
        let forgot: Vec<_> =
            self.accounts.iter().filter(forgot).map(|account| account.pod.clone()).collect();
        if !forgot.is_empty() {
            doubts.push(format!("{} has forgotten what ended at that time", gateways(&forgot)));
        }
        if self.accounts.is_empty() && self.silent.is_empty() {
            doubts.push("no gateway answers".to_owned());
        }
        if doubts.is_empty() {
            return None;
        }
        let rest = known.map_or_else(
            || "Those who answered know of no connection of theirs.".to_owned(),
            |known| format!("What is known: {}", known.sentence),
        );
        let sentence = format!(
            "It is not known whether it was told to {}: {}. {rest}",
            self.user,
            doubts.join(", and ")
        );
        Some(Verdict { code: "not_known", sentence })
    }

    fn away(&self) -> Verdict {
        let sentence = format!(
            "{} has had no connection since before the message was sent, as far as the gateways that are there remember.",
            self.user
        );
        Verdict { code: "not_connected", sentence }
    }
}

impl Finding {
    fn new(nearness: Nearness, code: &'static str, sentence: String) -> Self {
        Self { nearness, verdict: Verdict { code, sentence } }
    }
}

fn how(told: Option<Telling>) -> String {
    match told {
        Some(Telling { way: Way::Live, from, until }) => format!("live, {}", between(from, until)),
        Some(Telling { way: Way::CatchUp, from, until }) => format!(
            "in a catch-up of its room, {}, because the bus had lost it or something before it",
            between(from, until)
        ),
        None => "too long ago to say how".to_owned(),
    }
}

fn between(from: DateTime<Utc>, until: DateTime<Utc>) -> String {
    if from == until {
        return format!("at {}", time(from));
    }
    format!("between {} and {}", time(from), time(until))
}

fn time(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true)
}

fn gateways(pods: &[String]) -> String {
    let word = if pods.len() == 1 { "gateway" } else { "each of the gateways" };
    format!("{word} {}", pods.join(", "))
}

/// Whether somebody was a participant at a version, for those who read the facts and not the sentence.
pub(super) fn was_participant(membership: &MembershipRecord, message: &MessagePlace) -> bool {
    let out = membership.left_at.is_some() && membership.changed_version < message.version;
    !out && membership.joined_seq < message.seq
}

/// The version at which somebody left, if they have.
pub(super) fn left_at_version(membership: &MembershipRecord) -> Option<Version> {
    membership.left_at.map(|_| membership.changed_version)
}

#[cfg(test)]
mod tests {
    use parley_domain::ids::{ChatId, UserId};
    use parley_domain::version::Seq;
    use uuid::Uuid;

    use super::*;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).unwrap()
    }

    /// Version 10, sent at second 100.
    fn message() -> MessagePlace {
        MessagePlace {
            chat_id: ChatId::from(Uuid::from_u128(7)),
            seq: Seq(5),
            version: Version(10),
            changed_version: None,
            sender_id: UserId::parse("bob").unwrap(),
            created_at: at(100),
        }
    }

    fn member() -> MembershipRecord {
        MembershipRecord {
            joined_at: at(1),
            joined_seq: Seq(0),
            left_at: None,
            changed_version: Version(1),
        }
    }

    /// In the room from version 5 on, and told up to there.
    fn in_room(up_to: u64) -> MembershipAccount {
        MembershipAccount {
            socket: "s1".to_owned(),
            joined_at: at(50),
            known: Version(5),
            known_by: KnownBy::Client,
            entered_at: Version(7),
            up_to: Version(up_to),
            ended: None,
        }
    }

    fn connection(waiting: usize, ended: Option<&str>) -> ConnectionAccount {
        let ended = ended.map(|why| ConnectionEnded { at: at(120), why: why.to_owned() });
        ConnectionAccount { socket: "s1".to_owned(), connected_at: at(49), waiting, ended }
    }

    fn gateway(
        memberships: Vec<MembershipAccount>,
        connections: Vec<ConnectionAccount>,
    ) -> DeliveryAccount {
        let (started_at, remembers_from) = (at(0), at(0));
        let told = Some(Telling { way: Way::Live, from: at(100), until: at(101) });
        DeliveryAccount {
            pod: "g".to_owned(),
            instance: "g-1".to_owned(),
            started_at,
            remembers_from,
            room: Some(Version(10)),
            told,
            memberships,
            connections,
        }
    }

    fn verdict(accounts: &[DeliveryAccount], silent: &[String]) -> Verdict {
        let (message, membership) = (message(), member());
        let membership = Some(&membership);
        Facts { user: "alice", message: &message, membership, accounts, silent }.verdict()
    }

    fn code(memberships: Vec<MembershipAccount>, connections: Vec<ConnectionAccount>) -> String {
        verdict(&[gateway(memberships, connections)], &[]).code.to_owned()
    }

    #[test]
    fn how_far_a_connection_came_decides() {
        let open = || vec![connection(0, None)];
        assert_eq!(code(vec![in_room(10)], open()), "told");
        assert_eq!(code(vec![in_room(10)], vec![connection(3, None)]), "unread");
        let slow = vec![connection(16, Some("slow_consumer"))];
        assert_eq!(code(vec![in_room(10)], slow), "unwritten");
        assert_eq!(code(vec![in_room(9)], open()), "behind");
        let known = |known_by| MembershipAccount { known: Version(10), known_by, ..in_room(10) };
        assert_eq!(code(vec![known(KnownBy::Client)], open()), "had_it");
        assert_eq!(code(vec![known(KnownBy::Join)], open()), "loads_history");
        assert_eq!(code(vec![known(KnownBy::Resync)], open()), "resync");
        assert_eq!(code(vec![], open()), "not_joined");
        assert_eq!(code(vec![], vec![]), "not_connected");
    }

    #[test]
    fn what_a_joiner_had_missed_and_what_a_room_caught_up_with_is_told() {
        let joiner = MembershipAccount { entered_at: Version(12), ..in_room(12) };
        let told = verdict(&[gateway(vec![joiner], vec![connection(0, None)])], &[]);
        assert!(told.sentence.contains("among what it had missed"), "{}", told.sentence);
        let telling = Telling { way: Way::CatchUp, from: at(103), until: at(103) };
        let caught_up = gateway(vec![in_room(10)], vec![connection(0, None)]);
        let told = verdict(&[DeliveryAccount { told: Some(telling), ..caught_up }], &[]);
        assert!(told.sentence.contains("in a catch-up of its room"), "{}", told.sentence);
    }

    #[test]
    fn the_nearest_connection_counts_wherever_it_is() {
        let ended = Some(MembershipEnded { at: at(90), why: Leaving::Moved });
        let left = MembershipAccount { ended, ..in_room(9) };
        let first = gateway(vec![left], vec![]);
        assert_eq!(verdict(std::slice::from_ref(&first), &[]).code, "left_before");
        let second = gateway(vec![in_room(10)], vec![connection(0, None)]);
        assert_eq!(verdict(&[first, second], &[]).code, "told");
    }

    #[test]
    fn a_session_that_moved_took_along_what_was_not_written() {
        let ended = Some(MembershipEnded { at: at(110), why: Leaving::Moved });
        let old = gateway(vec![MembershipAccount { ended, ..in_room(10) }], vec![]);
        let came = MembershipAccount {
            known: Version(10),
            known_by: KnownBy::Moved,
            joined_at: at(111),
            ..in_room(10)
        };
        let new = |connection| DeliveryAccount {
            pod: "h".to_owned(),
            instance: "h-1".to_owned(),
            ..gateway(vec![came.clone()], vec![connection])
        };
        let both = |connection| verdict(&[old.clone(), new(connection)], &[]);
        assert_eq!(both(connection(0, None)).code, "told");
        assert_eq!(both(connection(2, None)).code, "unread");
        assert_eq!(both(connection(16, Some("slow_consumer"))).code, "unwritten");
        assert_eq!(verdict(&[old], &[]).code, "moved", "nobody knows where it is");
        let gone = ["g".to_owned()];
        assert_eq!(verdict(&[new(connection(0, None))], &gone).code, "not_known");
    }

    #[test]
    fn nobody_says_more_than_is_known() {
        let whole = gateway(vec![], vec![]);
        let silent = verdict(std::slice::from_ref(&whole), &["dead".to_owned()]);
        assert_eq!(silent.code, "not_known");
        assert!(silent.sentence.contains("gateway dead does not answer"), "{}", silent.sentence);
        let later = DeliveryAccount { started_at: at(110), ..whole.clone() };
        assert_eq!(verdict(&[later], &[]).code, "not_known");
        let forgetful = DeliveryAccount { remembers_from: at(110), ..whole };
        assert_eq!(verdict(&[forgetful], &[]).code, "not_known");
        assert_eq!(verdict(&[], &[]).code, "not_known", "no gateway answers");
        let told = gateway(vec![in_room(10)], vec![connection(0, None)]);
        assert_eq!(verdict(&[told], &["dead".to_owned()]).code, "told", "what is known is known");
    }

    #[test]
    fn who_was_no_participant_then_has_not_missed_it() {
        let of = |membership: Option<MembershipRecord>| {
            let message = message();
            let membership = membership.as_ref();
            let facts =
                Facts { user: "alice", message: &message, membership, accounts: &[], silent: &[] };
            facts.verdict().code
        };
        assert_eq!(of(None), "not_participant");
        let left_at = Some(at(90));
        let left = |version| MembershipRecord { left_at, changed_version: version, ..member() };
        assert_eq!(of(Some(left(Version(9)))), "removed_before");
        assert_eq!(of(Some(left(Version(11)))), "not_known", "removed later: it was theirs");
        assert_eq!(of(Some(MembershipRecord { joined_seq: Seq(5), ..member() })), "joined_after");
        let (message, back) = (message(), MembershipRecord { joined_seq: Seq(5), ..member() });
        let (membership, accounts) = (Some(&back), &[gateway(vec![in_room(10)], vec![])]);
        let facts = Facts { user: "alice", message: &message, membership, accounts, silent: &[] };
        assert_eq!(facts.verdict().code, "told", "before they left and came back");
        assert!(!was_participant(&left(Version(9)), &message));
        assert!(was_participant(&left(Version(11)), &message));
    }
}
