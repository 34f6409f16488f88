//! Very many connections that listen, on one thread: an audience, for measurements of what a server spends on it.
//!
//! Readiness by hand and no task for a connection, because the audience must not be what a measurement waits for. Each
//! event is counted, and none is read.

mod frames;
mod listening;
mod seat;

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use mio::{Events, Interest, Poll, Token};
use parley_local::Interrupt;
use serde_json::Value;

pub(crate) use listening::Listening;
pub(crate) use seat::Guest;
use seat::Seat;

/// Connections on their way in at a time.
const AT_A_TIME: usize = 32;
const BUFFER: usize = 256 * 1024;
/// How long the next of an audience may take to come in.
const PATIENCE: Duration = Duration::from_secs(20);
/// By when everything that was said must have been heard.
pub(crate) const HEARD_WITHIN: Duration = Duration::from_secs(10);
/// How long nothing more may come then: what is held back for a moment, or told twice, comes within.
const SILENCE: Duration = Duration::from_millis(300);

/// What a server is spoken to with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Speech {
    /// Socket.IO with a token, and a join that is acknowledged.
    Parley { token: String },
    /// Socket.IO; the room is named with CONNECT.
    SocketIo,
    /// A bare WebSocket; the room is in the URL.
    Raw,
}

/// Connections that listen.
pub(crate) struct Audience {
    poll: Poll,
    events: Events,
    seats: Vec<Seat>,
    buffer: Box<[u8]>,
    /// Events heard by all of them so far.
    heard: u64,
}

impl Audience {
    pub(crate) fn new() -> Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            seats: Vec::new(),
            buffer: vec![0; BUFFER].into_boxed_slice(),
            heard: 0,
        })
    }

    /// Lets these come in, and waits until each is in its room.
    pub(crate) fn gather(
        &mut self,
        address: SocketAddr,
        guests: impl IntoIterator<Item = Guest>,
        interrupt: &Interrupt,
    ) -> Result<()> {
        let mut waiting: VecDeque<Guest> = guests.into_iter().collect();
        let mut coming: Vec<usize> = Vec::new();
        let mut progress = Instant::now();
        while !(waiting.is_empty() && coming.is_empty()) {
            while coming.len() < AT_A_TIME
                && let Some(guest) = waiting.pop_front()
            {
                coming.push(self.seat(address, guest)?);
            }
            self.turn(Some(Duration::from_millis(50)))?;
            let before = coming.len();
            coming.retain(|seat| !self.seats[*seat].is_in());
            if coming.len() < before {
                progress = Instant::now();
            }
            if interrupt.asked() || progress.elapsed() > PATIENCE {
                bail!("{} connections do not come in", coming.len() + waiting.len());
            }
        }
        Ok(())
    }

    fn seat(&mut self, address: SocketAddr, guest: Guest) -> Result<usize> {
        let place = self.seats.len();
        let mut seat = Seat::open(address, guest)?;
        let both = Interest::READABLE | Interest::WRITABLE;
        self.poll.registry().register(&mut seat.stream, Token(place), both)?;
        self.seats.push(seat);
        Ok(place)
    }

    /// Does what there is to do, at most waiting so long for it; how many events were heard.
    pub(crate) fn turn(&mut self, wait: Option<Duration>) -> Result<u64> {
        self.turn_telling(wait, |_, _| ())
    }

    /// The same; says of each place that has heard events how many they were, at once.
    pub(crate) fn turn_telling(
        &mut self,
        wait: Option<Duration>,
        mut tell: impl FnMut(usize, u64),
    ) -> Result<u64> {
        match self.poll.poll(&mut self.events, wait) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => return Ok(0),
            other => other.context("cannot wait for sockets")?,
        }
        let mut heard = 0;
        for event in &self.events {
            let place = event.token().0;
            let seat = &mut self.seats[place];
            if event.is_writable() {
                seat.flush()?;
            }
            if event.is_readable() {
                let here = seat.read(&mut self.buffer)?;
                if here > 0 {
                    tell(place, here);
                }
                heard += here;
            }
        }
        self.heard += heard;
        Ok(heard)
    }

    /// Events that all of them have heard since the beginning.
    pub(crate) fn heard(&self) -> u64 {
        self.heard
    }

    /// Waits until they have heard so many in all, and no more than that.
    pub(crate) fn hears(&mut self, wanted: u64) -> Result<()> {
        let deadline = Instant::now() + HEARD_WITHIN;
        while self.heard < wanted && Instant::now() < deadline {
            self.turn(Some(Duration::from_millis(20)))?;
        }
        let silence = Instant::now() + SILENCE;
        while Instant::now() < silence {
            self.turn(Some(Duration::from_millis(20)))?;
        }
        if self.heard != wanted {
            bail!("{} deliveries of {wanted}", self.heard);
        }
        Ok(())
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.seats.len()
    }

    /// Lets the one at this place say something, as far as it can be written at once.
    pub(crate) fn say(&mut self, place: usize, text: &[&[u8]]) -> Result<()> {
        self.seats[place].say(text);
        self.seats[place].flush()
    }

    /// What the join of the one at this place was answered.
    pub(crate) fn joined(&self, place: usize) -> Option<&Value> {
        self.seats[place].joined.as_ref()
    }
}
