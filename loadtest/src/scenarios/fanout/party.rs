//! One side with its listeners, and what it is made to do.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use parley_local::Interrupt;

use super::saying::{Room, Speaker};
use crate::audience::Audience;
use crate::servers::{Servers, Spent};
use crate::window::WARM_UP;

const TURN: Duration = Duration::from_millis(20);

/// How fast is spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    /// So many messages a second.
    PerSecond(u32),
    /// So many messages that not everybody has heard yet.
    InFlight(u64),
}

/// A side.
pub(crate) struct Party {
    pub(crate) name: &'static str,
    /// Its server among those whose costs are read.
    pub(crate) group: &'static str,
    pub(crate) audience: Audience,
    pub(super) speaker: Speaker,
    rooms: Vec<Room>,
    members: u64,
    /// Messages said so far.
    said: u64,
    /// Events heard before the first of them.
    before: u64,
}

/// What a round has brought.
#[derive(Debug)]
pub(crate) struct Round {
    pub(crate) deliveries: u64,
    pub(crate) spent: Spent,
}

impl Party {
    pub(super) fn new(
        (name, group): (&'static str, &'static str),
        audience: Audience,
        speaker: Speaker,
        rooms: Vec<Room>,
        members: u64,
    ) -> Self {
        let before = audience.heard();
        Self { name, group, audience, speaker, rooms, members, said: 0, before }
    }

    /// Speaks for a while, and says what the part after the warm-up has cost.
    pub(crate) fn round(
        &mut self,
        pace: Pace,
        seconds: u64,
        servers: &Servers,
        interrupt: &Interrupt,
    ) -> Result<Round> {
        let load = std::process::id();
        if let Speaker::Bus(bus) = &mut self.speaker {
            bus.keep_alive()?;
        }
        self.speak(pace, WARM_UP, interrupt)?;
        let (from, heard) = (servers.usage(load)?, self.heard());
        self.speak(pace, Duration::from_secs(seconds), interrupt)?;
        let (to, deliveries) = (servers.usage(load)?, self.heard() - heard);
        self.audience.hears(self.before + self.said * self.members).context(self.name)?;
        Ok(Round { deliveries, spent: to.since(&from) })
    }

    fn heard(&self) -> u64 {
        self.audience.heard() - self.before
    }

    fn speak(&mut self, pace: Pace, time: Duration, interrupt: &Interrupt) -> Result<()> {
        let (begun, said) = (Instant::now(), self.said);
        while begun.elapsed() < time {
            if interrupt.asked() {
                bail!("interrupted");
            }
            let wait = match pace {
                Pace::InFlight(most) => {
                    while self.said - self.heard() / self.members < most {
                        self.say()?;
                    }
                    TURN
                }
                Pace::PerSecond(rate) => {
                    let next = |it: &Self| begun + Duration::from_secs(it.said - said) / rate;
                    while next(self) <= Instant::now() {
                        self.say()?;
                    }
                    next(self).saturating_duration_since(Instant::now())
                }
            };
            self.audience.turn(Some(wait.min(TURN)))?;
        }
        Ok(())
    }

    /// Into one room after the other.
    fn say(&mut self) -> Result<()> {
        let place = usize::try_from(self.said)? % self.rooms.len();
        let room = self.rooms.get_mut(place).context("there is no room")?;
        self.speaker.say(&mut self.audience, room)?;
        self.said += 1;
        Ok(())
    }
}
