//! The rarer scripts that run in Redis, and how they are called.

use std::time::Duration;

use deadpool_redis::redis::{RedisResult, Script};

use super::Member;
use super::convoy::Convoy;
use super::member::UserKey;

/// All of them. The server is sent their names; their text only if it does not know one.
pub(crate) struct Scripts {
    give_back: Script,
    keep: Script,
}

impl Scripts {
    pub(crate) fn new() -> Self {
        Self {
            give_back: Script::new(include_str!("give_back.lua")),
            keep: Script::new(include_str!("keep.lua")),
        }
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

fn micros(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}
