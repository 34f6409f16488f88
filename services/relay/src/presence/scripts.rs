//! The commands and scripts of presence.

use std::time::Duration;

use chrono::{DateTime, Utc};
use deadpool_redis::redis::{RedisResult, Script, cmd};
use parley_domain::ids::{ChatId, UserId};
use parley_domain::typing::Typist;

use crate::limits::convoy::Convoy;
use crate::limits::member::UserKey;

const GATEWAYS: &str = "parley:gateways";
/// Whoever a gateway has, and whether that was begun lately.
const THERE: [&str; 2] = ["parley:there", "parley:there:lately"];
/// What the name of a pod's set of users begins with.
const ONLINE: &str = "parley:online:";

pub(super) struct Scripts {
    beat: Script,
    here: Script,
    typing: Script,
    typists: Script,
    turns: Script,
}

fn users_at(pod: &str) -> String {
    format!("{ONLINE}{pod}")
}

fn seen_key(user: &UserId) -> String {
    format!("parley:seen:{}", UserKey::of(user).as_str())
}

fn typing_key(chat: ChatId) -> String {
    format!("parley:typing:{chat}")
}

/// Without the one that stands for nobody.
fn users(ids: &[String]) -> Vec<UserId> {
    ids.iter().filter_map(|id| UserId::parse(id).ok()).collect()
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

impl Scripts {
    pub(super) fn new() -> Self {
        Self {
            beat: Script::new(include_str!("beat.lua")),
            here: Script::new(include_str!("here.lua")),
            typing: Script::new(include_str!("typing.lua")),
            typists: Script::new(include_str!("typists.lua")),
            turns: Script::new(include_str!("turns.lua")),
        }
    }

    /// Whether the pod's users are still known.
    pub(super) async fn beat(
        &self,
        connection: &mut Convoy,
        pod: &str,
        life: Duration,
    ) -> RedisResult<bool> {
        let mut call = self.beat.key(GATEWAYS);
        call.key(users_at(pod)).arg(pod).arg(millis(life)).invoke_async(connection).await
    }

    /// Whether anybody of the pod was known before.
    pub(super) async fn here(
        &self,
        connection: &mut Convoy,
        pod: &str,
        life: Duration,
        anew: bool,
        (come, gone): (&[UserId], &[UserId]),
    ) -> RedisResult<bool> {
        let mut call = self.here.key(users_at(pod));
        call.arg(millis(life)).arg(u8::from(anew)).arg(come.len());
        for user in come.iter().chain(gone) {
            call.arg(user.as_str());
        }
        call.invoke_async(connection).await
    }

    /// Of those who have come to a pod, who was nowhere; of those who have gone from it, who is nowhere.
    pub(super) async fn turns(
        &self,
        connection: &mut Convoy,
        (come, gone): (&[UserId], &[UserId]),
        everybody: bool,
        (life, lately): (Duration, Duration),
    ) -> RedisResult<(Vec<UserId>, Vec<UserId>)> {
        let mut call = self.turns.key(&THERE[..]);
        call.key(GATEWAYS).arg(ONLINE).arg(millis(life)).arg(millis(lately));
        call.arg(u8::from(everybody)).arg(come.len());
        for user in come.iter().chain(gone) {
            call.arg(user.as_str());
        }
        let (came, went): (Vec<String>, Vec<String>) = call.invoke_async(connection).await?;
        Ok((users(&came), users(&went)))
    }

    /// Some of those who are somewhere, from a place in the list, and the next place; 0 after the last.
    pub(super) async fn somewhere(
        &self,
        connection: &mut Convoy,
        cursor: u64,
        about: usize,
    ) -> RedisResult<(u64, Vec<UserId>)> {
        let mut scan = cmd("SSCAN");
        scan.arg(THERE[0]).arg(cursor).arg("COUNT").arg(about);
        let (next, some): (u64, Vec<String>) = scan.query_async(connection).await?;
        Ok((next, users(&some)))
    }

    pub(super) async fn seen(
        &self,
        connection: &mut Convoy,
        user: &UserId,
        if_known: bool,
        (now, life): (Duration, Duration),
    ) -> RedisResult<()> {
        let mut set = cmd("SET");
        set.arg(seen_key(user)).arg(millis(now)).arg("PX").arg(millis(life));
        if if_known {
            set.arg("XX");
        }
        set.query_async(connection).await
    }

    pub(super) async fn forget(&self, connection: &mut Convoy, user: &UserId) -> RedisResult<()> {
        cmd("DEL").arg(seen_key(user)).query_async(connection).await
    }

    pub(super) async fn leave(&self, connection: &mut Convoy, pod: &str) -> RedisResult<()> {
        cmd("ZREM").arg(GATEWAYS).arg(pod).query_async::<()>(connection).await?;
        cmd("DEL").arg(users_at(pod)).query_async(connection).await
    }

    pub(super) async fn gateways(&self, connection: &mut Convoy) -> RedisResult<Vec<String>> {
        cmd("ZRANGE").arg(GATEWAYS).arg(0).arg(-1).query_async(connection).await
    }

    pub(super) async fn which_are_at(
        &self,
        connection: &mut Convoy,
        pod: &str,
        users: &[UserId],
    ) -> RedisResult<Vec<bool>> {
        let mut ask = cmd("SMISMEMBER");
        ask.arg(users_at(pod));
        for user in users {
            ask.arg(user.as_str());
        }
        ask.query_async(connection).await
    }

    pub(super) async fn last_seen(
        &self,
        connection: &mut Convoy,
        users: &[UserId],
    ) -> RedisResult<Vec<Option<DateTime<Utc>>>> {
        let mut ask = cmd("MGET");
        for user in users {
            ask.arg(seen_key(user));
        }
        let seen: Vec<Option<i64>> = ask.query_async(connection).await?;
        Ok(seen.into_iter().map(|at| DateTime::from_timestamp_millis(at?)).collect())
    }

    pub(super) async fn writes(
        &self,
        connection: &mut Convoy,
        chat: ChatId,
        typist: &Typist,
        (life, most): (Duration, usize),
    ) -> RedisResult<()> {
        let mut call = self.typing.key(typing_key(chat));
        call.arg(typist.user_id.as_str()).arg(typist.name.as_deref().unwrap_or_default());
        call.arg(millis(life)).arg(most).invoke_async::<u8>(connection).await.map(drop)
    }

    pub(super) async fn stops(
        &self,
        connection: &mut Convoy,
        chat: ChatId,
        user: &UserId,
    ) -> RedisResult<()> {
        cmd("HDEL").arg(typing_key(chat)).arg(user.as_str()).query_async(connection).await
    }

    pub(super) async fn typists(
        &self,
        connection: &mut Convoy,
        chat: ChatId,
    ) -> RedisResult<Vec<(Typist, Duration)>> {
        let call = self.typists.key(typing_key(chat));
        let all: Vec<(String, String, u64)> = call.invoke_async(connection).await?;
        let known = all.into_iter().filter_map(|(user, name, left)| {
            let user_id = UserId::parse(&user).ok()?;
            let name = (!name.is_empty()).then_some(name);
            Some((Typist { user_id, name }, Duration::from_millis(left)))
        });
        Ok(known.collect())
    }
}
