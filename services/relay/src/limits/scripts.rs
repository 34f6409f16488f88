//! The scripts that run in Redis, and how they are called.

use std::time::Duration;

use deadpool_redis::redis::{ErrorKind, RedisError, RedisResult, Script};

use super::convoy::Convoy;
use super::member::UserKey;
use super::window::{Memory, Told};
use super::{Member, Policy};

/// All of them. The server is sent their names; their text only if it does not know one.
pub(crate) struct Scripts {
    charge: Script,
    give_back: Script,
    keep: Script,
}

/// One attempt to send.
pub(crate) struct Attempt {
    pub(crate) user: UserKey,
    pub(crate) policy: Policy,
    pub(crate) member: Member,
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

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            charge: Script::new(include_str!("charge.lua")),
            give_back: Script::new(include_str!("give_back.lua")),
            keep: Script::new(include_str!("keep.lua")),
        }
    }

    pub(crate) async fn charge(
        &self,
        connection: &mut Convoy,
        attempt: &Attempt,
        attempts: Policy,
        memory: &Memory,
    ) -> RedisResult<Ruling> {
        let Attempt { user, policy, member } = attempt;
        let mut call = self.charge.key(user.window());
        call.arg(member.bytes()).arg(policy.limit).arg(micros(policy.window));
        call.arg(micros(attempts.spacing())).arg(micros(attempts.window));
        match memory {
            Memory::Newest { birth, member, score } => {
                call.arg(*birth).arg(member.bytes()).arg(*score)
            }
            Memory::Nothing | Memory::Everything(_) => call.arg("").arg("").arg(0),
        };
        if let Memory::Everything(all) = memory {
            for Told { member, score, age, .. } in all {
                call.arg(member.bytes()).arg(score.unwrap_or(0)).arg(micros(*age));
            }
        }
        let (verdict, time, birth, count, wait) = call.invoke_async(connection).await?;
        let verdict = Verdict::of(verdict)?;
        Ok(Ruling { verdict, time, birth, count, wait: duration(wait) })
    }

    /// Takes a member out, if it came at `score`.
    pub(crate) async fn give_back(
        &self,
        connection: &mut Convoy,
        user: &UserKey,
        member: Member,
        score: u64,
    ) -> RedisResult<()> {
        let mut call = self.give_back.key(user.window());
        call.arg(member.bytes()).arg(score).invoke_async(connection).await
    }

    /// Puts a member in, and says when it came if it was gone.
    pub(crate) async fn keep(
        &self,
        connection: &mut Convoy,
        user: &UserKey,
        member: Member,
        window: Duration,
    ) -> RedisResult<Option<u64>> {
        let mut call = self.keep.key(user.window());
        call.arg(member.bytes()).arg(micros(window));
        let (added, time): (bool, u64) = call.invoke_async(connection).await?;
        Ok(added.then_some(time))
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
            _ => Err(RedisError::from((ErrorKind::UnexpectedReturnType, "no verdict of ours"))),
        }
    }
}

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Never below zero: what is over is over.
fn duration(micros: i64) -> Duration {
    Duration::from_micros(u64::try_from(micros).unwrap_or(0))
}
