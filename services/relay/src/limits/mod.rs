//! How much a user may send: a sliding window that all pods share in Redis, and one of each pod's own for the time when
//! Redis is gone.
//!
//! While Redis is there, its script alone decides, by its clock: nobody gets more than the limit in any window, and nobody
//! less. Each pod remembers what it has granted itself. When a command fails or takes too long, the pod decides by that
//! memory at once, within its share of the limit, and a probe looks for Redis meanwhile.
//!
//! A Redis that comes back empty, however quickly, is told by each pod what that pod remembers, at its first question about
//! the user; until then it cannot know of it. No pod by itself ever grants more than the limit in a window. So a window that
//! touches an outage holds at most twice the limit with two pods, and less than three times with more of them.
//!
//! An attempt whose question was on its way when Redis was paused may be put into the window when Redis goes on, even if
//! this pod has refused it meanwhile. The place is not lost: the next attempt at the same message is a replay of it.

pub(crate) mod convoy;
pub(crate) mod link;
pub(crate) mod member;
mod metrics;
mod outcome;
mod policy;
mod question;
mod scripts;
mod users;
mod window;

use std::sync::Arc;
use std::time::Instant;

use deadpool_redis::redis::RedisResult;
use parley_domain::ids::UserId;
use prometheus::Registry;

use crate::{Peers, RedisSettings, RelayError};
use link::{Link, Live, Prober};
use member::UserKey;
use metrics::{Metrics, Outcome, Source};
use question::{Attempt, Question, Ruling, Verdict};
use scripts::Scripts;
use users::Users;
use window::{Decision, Memory};

pub use member::Member;
pub use outcome::{Charge, Charged, Limit, Refused, Usage};
pub use policy::{LimitSettings, MessageLimits, Policy};

/// Decides what may be sent. Clones share everything; with the last one, the connection to Redis ends.
#[derive(Clone)]
pub struct Limiter(Arc<Inner>);

struct Inner {
    scripts: Scripts,
    users: Users,
    attempts: Policy,
    link: Arc<Link>,
    peers: Peers,
    metrics: Metrics,
    _prober: Prober,
}

impl Limiter {
    /// A limiter; if Redis is away, one that decides by itself until it comes.
    pub async fn connect(
        redis: &RedisSettings,
        settings: &LimitSettings,
        peers: Peers,
        registry: &Registry,
    ) -> Result<Self, RelayError> {
        let metrics = Metrics::register(registry)?;
        let (link, prober) = Link::open(redis, metrics.up.clone()).await?;
        Ok(Self(Arc::new(Inner {
            scripts: Scripts::new(),
            users: Users::new(settings.limiter_users),
            attempts: settings.attempt_limit,
            link,
            peers,
            metrics,
            _prober: prober,
        })))
    }

    /// Asks for a place in the user's window. A user has one window: who comes with several roles shares it among them.
    pub async fn charge(&self, user: &UserId, policy: Policy, member: Member) -> Charge {
        let attempt = Attempt { user: UserKey::of(user), policy, member };
        let shared = match self.0.link.live() {
            Some(live) => self.0.shared(&attempt, &live).await,
            None => None,
        };
        shared.unwrap_or_else(|| self.0.alone(attempt))
    }

    /// Takes the member out again if this very attempt put it in: for an outcome that is certain, a refusal. To be awaited
    /// before the answer goes out, so that the place is free when the user knows: one round trip, not longer than Redis
    /// is given for an answer, and none while Redis is gone.
    pub async fn give_back(&self, charge: Charged) {
        if charge.added {
            self.0.give_back(&charge).await;
        }
    }

    /// Puts the member back in if it is gone, because the send has been committed. Only for an attempt that did not put it
    /// in itself is there anything to do, and that takes as long as giving back.
    pub async fn keep(&self, charge: &Charged) {
        if !charge.added {
            self.0.keep(charge).await;
        }
    }
}

impl Inner {
    /// As Redis decides; `None` if it does not.
    async fn shared(&self, attempt: &Attempt, live: &Live) -> Option<Charge> {
        let (memory, in_flight) = self.users.ask(&attempt.user, attempt.policy.window);
        let began = Instant::now();
        let ruled = self.link.run(live, self.rule(live, attempt, memory)).await;
        self.metrics.asked(began.elapsed());
        let (ruling, told) = ruled?;
        let granted = self.note(attempt, &ruling, &told, live);
        // Only now: a grant that is not noted yet must not be overlooked.
        drop(in_flight);
        Some(self.answer(attempt, &ruling, granted))
    }

    /// Redis's ruling, and what it was told for it. One that has forgotten is told everything and asked again.
    async fn rule(
        &self,
        live: &Live,
        attempt: &Attempt,
        memory: Memory,
    ) -> RedisResult<(Ruling, Memory)> {
        let connection = live.connection();
        let ruling = connection.ask(Question::of(attempt, self.attempts, &memory)).await?;
        if ruling.verdict != Verdict::Lost {
            return Ok((ruling, memory));
        }
        let window = attempt.policy.window;
        let everything =
            self.users.with(&attempt.user, window, |mine, now| mine.everything(now, window));
        let memory = Memory::Everything(everything);
        let ruling = connection.ask(Question::of(attempt, self.attempts, &memory)).await?;
        Ok((ruling, memory))
    }

    /// Remembers what came of it; says when.
    fn note(&self, attempt: &Attempt, ruling: &Ruling, memory: &Memory, live: &Live) -> Instant {
        if matches!(memory, Memory::Everything(_)) {
            self.metrics.merges.inc();
        }
        self.users.with(&attempt.user, attempt.policy.window, |mine, now| {
            // A connection that is gone by now may have led to a Redis that has lost it since.
            let current = self.link.is_current(live);
            if current && ruling.verdict != Verdict::Attempts {
                mine.told(memory, ruling.birth, ruling.time);
            }
            if ruling.verdict == Verdict::Added {
                mine.note(now, attempt.member, current.then_some(ruling.time));
            }
            now
        })
    }

    fn answer(&self, attempt: &Attempt, ruling: &Ruling, granted: Instant) -> Charge {
        let Attempt { user, policy, member } = attempt;
        let allowed = |added| {
            let remaining = policy.limit.saturating_sub(ruling.count);
            let usage = Usage { policy: *policy, remaining, reset: ruling.wait };
            let (user, member, score) = (user.clone(), *member, Some(ruling.time));
            Charge::Allowed(Charged { added, usage, user, member, granted, score })
        };
        let refused = |why, policy| Charge::Limited(Refused::new(why, policy, ruling.wait));
        let (outcome, charge) = match ruling.verdict {
            Verdict::Added => (Outcome::Allowed, allowed(true)),
            Verdict::Replay => (Outcome::Replay, allowed(false)),
            // A Redis that was told everything misses nothing; should it say so, a refusal is safe.
            Verdict::Limited | Verdict::Lost => {
                (Outcome::Limited, refused(Limit::Messages, *policy))
            }
            Verdict::Attempts => (Outcome::Attempts, refused(Limit::Attempts, self.attempts)),
        };
        self.metrics.decided(Source::Redis, outcome);
        charge
    }

    /// As this pod decides by itself.
    fn alone(&self, attempt: Attempt) -> Charge {
        let Attempt { user, policy, member } = attempt;
        let pods = self.peers.count();
        let (messages, attempts) = (policy.share(pods), self.attempts.share(pods));
        let (decision, granted) = self.users.with(&user, policy.window, |mine, now| {
            (mine.decide(now, messages, attempts, member), now)
        });
        let allowed = |added, remaining, reset| {
            let usage = Usage { policy, remaining, reset };
            Charge::Allowed(Charged { added, usage, user, member, granted, score: None })
        };
        let refused = |why, policy, wait| Charge::Limited(Refused::new(why, policy, wait));
        let (outcome, charge) = match decision {
            Decision::Granted { remaining, reset } => {
                (Outcome::Allowed, allowed(true, remaining, reset))
            }
            Decision::Replay { remaining, reset } => {
                (Outcome::Replay, allowed(false, remaining, reset))
            }
            Decision::Full { wait } => (Outcome::Limited, refused(Limit::Messages, policy, wait)),
            Decision::Flood { wait } => {
                (Outcome::Attempts, refused(Limit::Attempts, self.attempts, wait))
            }
        };
        self.metrics.decided(Source::Fallback, outcome);
        charge
    }

    async fn give_back(&self, charge: &Charged) {
        let Charged { user, member, granted, .. } = charge;
        // Here first: what Redis no longer has must not be told to it as lost.
        let told = self.users.with_known(user, |mine| mine.take_out(*member, *granted));
        let (Some(score), Some(live)) = (told.flatten().or(charge.score), self.link.live()) else {
            return;
        };
        let mut connection = live.connection();
        let work = self.scripts.give_back(&mut connection, user, *member, score);
        self.link.run(&live, work).await;
    }

    async fn keep(&self, charge: &Charged) {
        let Charged { user, member, usage, .. } = charge;
        let window = usage.policy.window;
        let kept = match self.link.live() {
            Some(live) => {
                let mut connection = live.connection();
                let work = self.scripts.keep(&mut connection, user, *member, window);
                self.link.run(&live, work).await
            }
            None => None,
        };
        self.users.with(user, window, |mine, now| match kept {
            Some(None) => {}
            None if mine.contains(*member) => {}
            // As untold either way: nobody has asked whether the rest is still there.
            Some(Some(_)) | None => mine.note(now, *member, None),
        });
    }
}
