//! The protocol of one Engine.IO session, without I/O: what may happen when, and what it means.
//!
//! The clock is an argument. The machine says what to do next; others do it.

use super::packet::Packet;
use crate::handshake::Transport;
use crate::reason::DisconnectReason;
use bytes::Bytes;
use std::time::Duration;
use tokio::time::Instant;

/// How long a poll may stay parked once a probe was answered. The reference server asks every
/// 100 ms; a client that probes and upgrades in one go then never sees the `noop`.
const NOOP_DELAY: Duration = Duration::from_millis(100);

/// The timings a session lives by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Timings {
    pub(crate) ping_interval: Duration,
    pub(crate) ping_timeout: Duration,
}

/// One session.
#[derive(Debug)]
pub(crate) struct Machine {
    timings: Timings,
    phase: Phase,
    heartbeat: Heartbeat,
    /// When anything was last received.
    heard: Instant,
    /// Not read because of us: silence says nothing about the peer.
    paused: bool,
    /// How long the layer above will wait, and for what.
    patience: Option<(Instant, DisconnectReason)>,
}

#[derive(Debug)]
enum Phase {
    Polling(Polling),
    WebSocket,
    Closed {
        reason: DisconnectReason,
        /// The client said goodbye by POST; its poll may still be on the way to be released.
        noop_owed: bool,
    },
}

#[derive(Debug, Default)]
struct Polling {
    parked: bool,
    posting: bool,
    probe: Probe,
    /// When a parked poll is released for the upgrade.
    noop_at: Option<Instant>,
    /// The client gave up its poll, perhaps because its upgrade is on the way.
    given_up: bool,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Probe {
    #[default]
    None,
    /// A WebSocket is there.
    Open,
    /// Its probe was answered: it may upgrade.
    Answered,
}

#[derive(Clone, Copy, Debug)]
enum Heartbeat {
    PingAt(Instant),
    /// By then, after a ping that was due at `ping_due`.
    PongBy {
        by: Instant,
        ping_due: Instant,
    },
}

/// What a packet means for the session.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Received<'a> {
    Text(&'a str),
    Binary(Bytes),
    Nothing,
    Close(DisconnectReason),
}

/// What time has brought.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Due {
    /// Send a ping.
    Ping,
    /// Release the parked poll with a `noop`.
    Noop,
    Close(DisconnectReason),
}

/// Why a polling request, or an upgrade, is not for this session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    /// There is one already.
    Overlap,
    /// The session uses another transport.
    WrongTransport,
    /// There is no session any more.
    Closed,
    /// There is none any more, but this poll crossed the client's own goodbye.
    Farewell,
}

impl Machine {
    pub(crate) fn new(transport: Transport, timings: Timings, now: Instant) -> Self {
        let phase = match transport {
            Transport::Polling => Phase::Polling(Polling::default()),
            Transport::WebSocket => Phase::WebSocket,
        };
        Self {
            timings,
            phase,
            heartbeat: Heartbeat::PingAt(now + timings.ping_interval),
            heard: now,
            paused: false,
            patience: None,
        }
    }

    pub(crate) fn is_polling(&self) -> bool {
        matches!(self.phase, Phase::Polling(_))
    }

    pub(crate) fn closed(&self) -> Option<DisconnectReason> {
        match self.phase {
            Phase::Closed { reason, .. } => Some(reason),
            _ => None,
        }
    }

    /// Closes with the first reason that is given; says whether this was it.
    pub(crate) fn close(&mut self, reason: DisconnectReason) -> bool {
        let noop_owed = match &self.phase {
            Phase::Closed { .. } => return false,
            Phase::Polling(polling) => {
                reason == DisconnectReason::TransportClose && !polling.parked
            }
            Phase::WebSocket => false,
        };
        self.phase = Phase::Closed { reason, noop_owed };
        true
    }

    pub(crate) fn owes_noop(&self) -> bool {
        matches!(self.phase, Phase::Closed { noop_owed: true, .. })
    }

    /// Closes with `reason` at `at`, unless told otherwise before.
    pub(crate) fn set_patience(&mut self, patience: Option<(Instant, DisconnectReason)>) {
        self.patience = patience;
    }

    pub(crate) fn receive<'a>(&mut self, packet: Packet<'a>, now: Instant) -> Received<'a> {
        if self.closed().is_some() {
            return Received::Nothing;
        }
        self.heard = now;
        match packet {
            Packet::Text(text) => Received::Text(text),
            Packet::Binary(data) => Received::Binary(data),
            Packet::Pong => {
                if let Heartbeat::PongBy { ping_due, .. } = self.heartbeat {
                    // From when the last was due: the way there and back must not add up.
                    let next = ping_due + self.timings.ping_interval;
                    self.heartbeat = Heartbeat::PingAt(next.max(now));
                }
                Received::Nothing
            }
            Packet::Ignored => Received::Nothing,
            Packet::Close => Received::Close(DisconnectReason::TransportClose),
            Packet::Ping => Received::Close(DisconnectReason::ProtocolError),
        }
    }

    /// Nothing is read for now, and that is our doing.
    pub(crate) fn pause(&mut self) {
        self.paused = true;
    }

    /// Reading goes on: what the peer said meanwhile may take until now to be seen.
    pub(crate) fn resume(&mut self, now: Instant) {
        if self.paused {
            self.paused = false;
            self.heard = now;
        }
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.paused
    }

    /// When [`Self::due`] has something to say.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let heartbeat = match (&self.phase, self.heartbeat) {
            (Phase::Closed { .. }, _) => return None,
            (_, Heartbeat::PingAt(at)) => Some(at),
            (_, Heartbeat::PongBy { .. }) if self.paused => None,
            (_, Heartbeat::PongBy { by, .. }) => Some(self.silent_until(by)),
        };
        let noop = match &self.phase {
            Phase::Polling(polling) if polling.parked => polling.noop_at,
            _ => None,
        };
        let patience = self.patience.map(|(at, _)| at);
        [heartbeat, noop, patience].into_iter().flatten().min()
    }

    /// A client that was heard is alive, even if its pong waits behind other messages. Only whole
    /// messages count: one that takes longer than `ping_timeout` to come, with the pong behind it,
    /// closes the session.
    fn silent_until(&self, by: Instant) -> Instant {
        by.max(self.heard + self.timings.ping_timeout)
    }

    /// What is due now, one thing at a time.
    pub(crate) fn due(&mut self, now: Instant) -> Option<Due> {
        if self.closed().is_some() {
            return None;
        }
        if let Some((at, reason)) = self.patience
            && at <= now
        {
            return Some(Due::Close(reason));
        }
        match self.heartbeat {
            Heartbeat::PingAt(at) if at <= now => {
                // Counted from when it was due: a late timer must not make a dead session live on.
                // But a process that stood still has not asked yet, and waits for an answer.
                let timeout = self.timings.ping_timeout;
                let by = (at + timeout).max(now + timeout / 2);
                self.heartbeat = Heartbeat::PongBy { by, ping_due: at };
                return Some(Due::Ping);
            }
            Heartbeat::PongBy { by, .. } if !self.paused && self.silent_until(by) <= now => {
                return Some(Due::Close(DisconnectReason::PingTimeout));
            }
            _ => {}
        }
        match &mut self.phase {
            Phase::Polling(polling) if polling.parked => {
                polling.noop_at.take_if(|at| *at <= now).map(|_| Due::Noop)
            }
            _ => None,
        }
    }

    fn polling(&mut self) -> Result<&mut Polling, Refused> {
        match &mut self.phase {
            Phase::Polling(polling) => Ok(polling),
            Phase::WebSocket => Err(Refused::WrongTransport),
            Phase::Closed { .. } => Err(Refused::Closed),
        }
    }

    /// A GET: it is parked until there is something for it.
    pub(crate) fn begin_poll(&mut self, now: Instant) -> Result<(), Refused> {
        if let Phase::Closed { noop_owed, .. } = &mut self.phase
            && std::mem::take(noop_owed)
        {
            return Err(Refused::Farewell);
        }
        let polling = self.polling()?;
        if polling.parked {
            return Err(Refused::Overlap);
        }
        polling.parked = true;
        polling.given_up = false;
        if polling.probe == Probe::Answered {
            polling.noop_at = Some(now + NOOP_DELAY);
        }
        Ok(())
    }

    /// The parked GET is answered, or gone.
    pub(crate) fn end_poll(&mut self) {
        if let Ok(polling) = self.polling() {
            polling.parked = false;
            polling.noop_at = None;
        }
    }

    /// The parked GET went away, unanswered. Whether that is the end of the session: nothing was
    /// lost, and a client that may upgrade now, or has, needs its polls no more.
    pub(crate) fn give_up_poll(&mut self) -> bool {
        let Ok(polling) = self.polling() else { return false };
        polling.parked = false;
        polling.noop_at = None;
        polling.given_up = polling.probe == Probe::Answered;
        !polling.given_up
    }

    pub(crate) fn begin_post(&mut self) -> Result<(), Refused> {
        let polling = self.polling()?;
        if std::mem::replace(&mut polling.posting, true) {
            return Err(Refused::Overlap);
        }
        Ok(())
    }

    pub(crate) fn end_post(&mut self) {
        if let Ok(polling) = self.polling() {
            polling.posting = false;
        }
    }

    /// A WebSocket came for this session.
    pub(crate) fn begin_probe(&mut self) -> Result<(), Refused> {
        let polling = self.polling()?;
        if polling.probe != Probe::None {
            return Err(Refused::Overlap);
        }
        polling.probe = Probe::Open;
        Ok(())
    }

    /// It sent its probe: polling is asked to come to an end.
    pub(crate) fn answer_probe(&mut self, now: Instant) {
        if let Ok(polling) = self.polling() {
            polling.probe = Probe::Answered;
            polling.noop_at = Some(now + NOOP_DELAY);
        }
    }

    /// It went away, or did something else: polling goes on, unless the client gave that up as well.
    /// Whether it did.
    pub(crate) fn end_probe(&mut self) -> bool {
        let Ok(polling) = self.polling() else { return false };
        polling.probe = Probe::None;
        polling.noop_at = None;
        polling.given_up
    }

    /// It sent `upgrade`. Without a probe before, or without a session, there is none.
    pub(crate) fn upgrade(&mut self, now: Instant) -> Result<(), Refused> {
        if self.polling()?.probe != Probe::Answered {
            return Err(Refused::WrongTransport);
        }
        self.phase = Phase::WebSocket;
        // A ping may have been on the way over polling.
        self.heard = now;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTERVAL: Duration = Duration::from_millis(300);
    const TIMEOUT: Duration = Duration::from_millis(200);

    fn machine(transport: Transport) -> (Machine, Instant) {
        let now = Instant::now();
        let timings = Timings { ping_interval: INTERVAL, ping_timeout: TIMEOUT };
        (Machine::new(transport, timings, now), now)
    }

    #[test]
    fn a_ping_is_due_every_interval_whenever_its_pong_comes() {
        let (mut session, start) = machine(Transport::WebSocket);
        assert_eq!(session.next_due(), Some(start + INTERVAL));
        assert_eq!(session.due(start), None);
        assert_eq!(session.due(start + INTERVAL), Some(Due::Ping));
        assert_eq!(session.due(start + INTERVAL), None);
        let pong = start + INTERVAL + Duration::from_millis(10);
        assert_eq!(session.receive(Packet::Pong, pong), Received::Nothing);
        assert_eq!(session.next_due(), Some(start + INTERVAL * 2));
        assert_eq!(session.receive(Packet::Pong, pong), Received::Nothing);
        assert_eq!(session.next_due(), Some(start + INTERVAL * 2), "nobody asked for this one");
        assert_eq!(session.due(start + INTERVAL * 2), Some(Due::Ping));
        session.pause();
        let late = start + INTERVAL * 4;
        session.resume(late);
        assert_eq!(session.receive(Packet::Pong, late), Received::Nothing);
        assert_eq!(session.next_due(), Some(late), "and never in the past");
    }

    #[test]
    fn a_process_that_stood_still_asks_before_it_closes() {
        let (mut session, start) = machine(Transport::WebSocket);
        let late = start + INTERVAL * 10;
        assert_eq!(session.due(late), Some(Due::Ping));
        assert_eq!(session.due(late), None);
        let due = session.due(late + TIMEOUT / 2);
        assert_eq!(due, Some(Due::Close(DisconnectReason::PingTimeout)));
    }

    #[test]
    fn a_poll_may_be_given_up_for_an_upgrade() {
        let (mut session, start) = machine(Transport::Polling);
        assert_eq!(session.begin_poll(start), Ok(()));
        assert!(session.give_up_poll(), "for nothing: the client is gone");
        let (mut session, start) = machine(Transport::Polling);
        assert_eq!(session.begin_probe(), Ok(()));
        session.answer_probe(start);
        assert_eq!(session.begin_poll(start), Ok(()));
        assert!(!session.give_up_poll());
        assert_eq!(session.upgrade(start), Ok(()));
        assert!(!session.give_up_poll());
        let (mut session, start) = machine(Transport::Polling);
        assert_eq!(session.begin_probe(), Ok(()));
        session.answer_probe(start);
        assert_eq!(session.begin_poll(start), Ok(()));
        assert!(!session.give_up_poll());
        assert!(session.end_probe(), "neither transport is left");
    }

    #[test]
    fn silence_after_a_ping_closes_on_time_even_if_the_timer_was_late() {
        let (mut session, start) = machine(Transport::Polling);
        let late = Duration::from_millis(50);
        assert_eq!(session.due(start + INTERVAL + late), Some(Due::Ping));
        assert_eq!(session.next_due(), Some(start + INTERVAL + TIMEOUT));
        let due = session.due(start + INTERVAL + TIMEOUT);
        assert_eq!(due, Some(Due::Close(DisconnectReason::PingTimeout)));
    }

    #[test]
    fn a_peer_that_is_heard_is_alive() {
        let (mut session, start) = machine(Transport::WebSocket);
        assert_eq!(session.due(start + INTERVAL), Some(Due::Ping));
        let heard = start + INTERVAL + Duration::from_millis(150);
        session.receive(Packet::Text("x"), heard);
        assert_eq!(session.due(start + INTERVAL + TIMEOUT), None);
        assert_eq!(session.due(heard + TIMEOUT), Some(Due::Close(DisconnectReason::PingTimeout)));
    }

    #[test]
    fn a_pause_of_ours_is_not_the_peers_silence() {
        let (mut session, start) = machine(Transport::WebSocket);
        assert_eq!(session.due(start + INTERVAL), Some(Due::Ping));
        session.pause();
        let long_after = start + INTERVAL * 10;
        assert_eq!((session.next_due(), session.due(long_after)), (None, None));
        session.resume(long_after);
        assert_eq!(session.next_due(), Some(long_after + TIMEOUT));
    }

    #[test]
    fn one_poll_and_one_post_at_a_time() {
        let (mut session, start) = machine(Transport::Polling);
        assert_eq!(session.begin_poll(start), Ok(()));
        assert_eq!(session.begin_poll(start), Err(Refused::Overlap));
        session.end_poll();
        assert_eq!(session.begin_poll(start), Ok(()));
        assert_eq!(session.begin_post(), Ok(()));
        assert_eq!(session.begin_post(), Err(Refused::Overlap));
        session.end_post();
        assert_eq!(session.begin_post(), Ok(()));
    }

    #[test]
    fn an_upgrade_needs_a_probe_and_happens_once() {
        let (mut session, start) = machine(Transport::Polling);
        assert!(session.upgrade(start).is_err());
        assert_eq!(session.begin_probe(), Ok(()));
        assert!(session.upgrade(start).is_err());
        assert_eq!(session.begin_probe(), Err(Refused::Overlap));
        session.answer_probe(start);
        assert_eq!(session.upgrade(start), Ok(()));
        assert_eq!(session.begin_poll(start), Err(Refused::WrongTransport));
        assert_eq!(session.begin_probe(), Err(Refused::WrongTransport));
    }

    #[test]
    fn an_answered_probe_releases_polls_with_a_noop() {
        let (mut session, start) = machine(Transport::Polling);
        assert_eq!(session.begin_probe(), Ok(()));
        session.answer_probe(start);
        assert_eq!(session.begin_poll(start), Ok(()));
        assert_eq!(session.due(start), None);
        assert_eq!(session.due(start + NOOP_DELAY), Some(Due::Noop));
        session.end_poll();
        assert!(!session.end_probe());
        assert_eq!(session.begin_poll(start), Ok(()));
        assert_eq!(session.due(start + NOOP_DELAY), None);
        assert_eq!(session.begin_probe(), Ok(()), "a failed probe may be followed by another");
    }

    #[test]
    fn a_poll_that_crossed_the_clients_goodbye_is_owed_a_noop_once() {
        let (mut session, start) = machine(Transport::Polling);
        let close = session.receive(Packet::Close, start);
        assert_eq!(close, Received::Close(DisconnectReason::TransportClose));
        assert!(session.close(DisconnectReason::TransportClose));
        assert!(!session.close(DisconnectReason::PingTimeout), "the first reason stands");
        assert_eq!(session.begin_poll(start), Err(Refused::Farewell));
        assert_eq!(session.begin_poll(start), Err(Refused::Closed));
        assert_eq!(session.closed(), Some(DisconnectReason::TransportClose));
    }

    #[test]
    fn a_clients_ping_is_an_error_and_the_rest_is_ignored() {
        let (mut session, start) = machine(Transport::WebSocket);
        let error = Received::Close(DisconnectReason::ProtocolError);
        assert_eq!(session.receive(Packet::Ping, start), error);
        assert_eq!(session.receive(Packet::Ignored, start), Received::Nothing);
    }

    #[test]
    fn patience_ends_unless_it_was_renewed() {
        let (mut session, start) = machine(Transport::WebSocket);
        let at = start + Duration::from_millis(100);
        session.set_patience(Some((at, DisconnectReason::ConnectTimeout)));
        assert_eq!(session.next_due(), Some(at));
        assert_eq!(session.due(at), Some(Due::Close(DisconnectReason::ConnectTimeout)));
        session.set_patience(None);
        assert_eq!(session.due(at), None);
    }
}
