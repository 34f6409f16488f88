//! An attempt as Redis is asked about it, and what it answers, packed as `charge.lua` takes them.

use std::time::Duration;

use deadpool_redis::redis::{ErrorKind, RedisError, RedisResult};

use super::member::UserKey;
use super::window::{Memory, Told};
use super::{Member, Policy};

/// Bytes of a number.
const NUMBER: usize = 8;
/// Numbers of a ruling.
const RULING: usize = 4;

/// One attempt to send.
pub(crate) struct Attempt {
    pub(crate) user: UserKey,
    pub(crate) policy: Policy,
    pub(crate) member: Member,
}

/// What the server is asked.
pub(crate) struct Question {
    pub(crate) key: String,
    pub(crate) packed: Vec<u8>,
    /// How many members it tells the server of.
    pub(crate) told: usize,
}

/// What the server has decided, at which time by its clock.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ruling {
    pub(crate) verdict: Verdict,
    pub(crate) time: u64,
    /// What tells this window from one that was lost before.
    pub(crate) birth: u64,
    pub(crate) count: u32,
    pub(crate) wait: Duration,
}

/// Numbered as in the script.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Nothing is decided: the server has lost what this pod remembers.
    Lost,
    /// It may be sent, and is in the window now.
    Added,
    /// It may be sent, and was in the window before.
    Replay,
    /// The window is full.
    Limited,
    /// Too many attempts.
    Attempts,
}

impl Question {
    pub(crate) fn of(attempt: &Attempt, attempts: Policy, memory: &Memory) -> Self {
        let Attempt { user, policy, member } = attempt;
        let told: &[Told] = match memory {
            Memory::Everything(all) => all,
            Memory::Nothing | Memory::Newest { .. } => &[],
        };
        let mut packed = Vec::with_capacity(80 + 32 * told.len());
        packed.extend_from_slice(member.bytes());
        packed.extend_from_slice(&f64::from(policy.limit).to_le_bytes());
        for time in [policy.window, attempts.spacing(), attempts.window] {
            packed.extend_from_slice(&micros(time));
        }
        let (birth, newest, score) = match memory {
            Memory::Newest { birth, member, score } => (number(*birth), member, number(*score)),
            Memory::Nothing | Memory::Everything(_) => (NONE, member, NONE),
        };
        packed.extend_from_slice(&birth);
        packed.extend_from_slice(newest.bytes());
        packed.extend_from_slice(&score);
        for Told { member, score, age, .. } in told {
            packed.extend_from_slice(member.bytes());
            packed.extend_from_slice(&score.map_or(NONE, number));
            packed.extend_from_slice(&micros(*age));
        }
        Self { key: user.window(), packed, told: told.len() }
    }
}

impl Ruling {
    /// The rulings about so many questions; an error for one that could not be decided.
    pub(crate) fn all(packed: &[u8], questions: usize) -> RedisResult<Vec<RedisResult<Self>>> {
        let numbers: Vec<f64> = packed
            .chunks_exact(NUMBER)
            .map(|bytes| bytes.try_into().map_or(f64::NAN, f64::from_le_bytes))
            .collect();
        match numbers.split_first() {
            Some((time, rulings)) if rulings.len() == questions * RULING => {
                Ok(rulings.chunks_exact(RULING).map(|ruling| Self::of(*time, ruling)).collect())
            }
            _ => Err(unexpected("not as many rulings as questions")),
        }
    }

    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "whole numbers, and a cast to what cannot hold one takes the nearest: what is over is over"
    )]
    fn of(time: f64, ruling: &[f64]) -> RedisResult<Self> {
        let &[verdict, birth, count, wait] = ruling else {
            return Err(unexpected("no ruling of ours"));
        };
        Ok(Self {
            verdict: Verdict::of(verdict as u8)?,
            time: time as u64,
            birth: birth as u64,
            count: count as u32,
            wait: Duration::from_micros(wait as u64),
        })
    }
}

impl Verdict {
    fn of(number: u8) -> RedisResult<Self> {
        match number {
            0 => Ok(Self::Lost),
            1 => Ok(Self::Added),
            2 => Ok(Self::Replay),
            3 => Ok(Self::Limited),
            4 => Ok(Self::Attempts),
            _ => Err(unexpected("the window cannot be read")),
        }
    }
}

fn unexpected(what: &'static str) -> RedisError {
    RedisError::from((ErrorKind::UnexpectedReturnType, what))
}

/// As numbers that are not known are told.
const NONE: [u8; NUMBER] = (-1.0f64).to_le_bytes();

#[expect(clippy::cast_precision_loss, reason = "microseconds of this century are exact in an f64")]
fn number(number: u64) -> [u8; NUMBER] {
    (number as f64).to_le_bytes()
}

fn micros(duration: Duration) -> [u8; NUMBER] {
    number(u64::try_from(duration.as_micros()).unwrap_or(u64::MAX))
}
