//! The protocol of one Engine.IO session, without I/O: what may happen when, and what it means.
//!
//! The clock is an argument. The machine says what to do next; others do it.

use super::packet::Packet;
use super::transfer::Heart;
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
    /// A POST is being handled.
    posting: bool,
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
            posting: false,
        }
    }

    /// A session that goes on over a WebSocket here.
    pub(crate) fn arrived(heart: Heart, now: Instant) -> Self {
        let timings = Timings { ping_interval: heart.interval, ping_timeout: heart.timeout };
        let heartbeat = match heart.ping_in {
            Some(pause) => Heartbeat::PingAt(now + pause.min(heart.interval)),
            // The pong may have been on the way to the other server.
            None => Heartbeat::PongBy { by: now + heart.timeout, ping_due: now },
        };
        Self { heartbeat, ..Self::new(Transport::WebSocket, timings, now) }
    }

    /// What [`Self::arrived`] has to know.
    pub(crate) fn heart(&self, now: Instant) -> Heart {
        let ping_in = match self.heartbeat {
            Heartbeat::PingAt(at) => Some(at.saturating_duration_since(now)),
            Heartbeat::PongBy { .. } => None,
        };
        let Timings { ping_interval, ping_timeout } = self.timings;
        Heart { interval: ping_interval, timeout: ping_timeout, ping_in }
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

    /// The same of a GET that came by another server: nobody here knows whether it was parked, or
    /// answered in vain.
    pub(crate) fn give_up_forwarded_poll(&mut self) -> bool {
        match &self.phase {
            Phase::Polling(polling) if polling.parked => self.give_up_poll(),
            Phase::Polling(polling) => !polling.given_up,
            Phase::WebSocket | Phase::Closed { .. } => false,
        }
    }

    pub(crate) fn begin_post(&mut self) -> Result<(), Refused> {
        self.polling()?;
        if std::mem::replace(&mut self.posting, true) {
            return Err(Refused::Overlap);
        }
        Ok(())
    }

    pub(crate) fn end_post(&mut self) {
        self.posting = false;
    }

    pub(crate) fn is_posting(&self) -> bool {
        self.posting
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
mod tests;
