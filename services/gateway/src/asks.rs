//! Asking api pods, again and again while the reason is a dependency. What many connections ask at the same time leaves
//! together ([`crate::batches`]).

use std::collections::HashMap;
use std::time::Duration;

use parley_domain::ask::{
    JoinAnswer, JoinAsk, JoinOutcome, JoinRefusal, JoinSnapshot, Joins, JoinsAnswer, JoinsAsk,
    MAX_JOINS, MAX_USERS, RevokedAsk, UserStanding, UsersAnswer, UsersAsk,
};
use parley_domain::ids::UserId;
use parley_domain::token::is_revoked;
use parley_relay::{AskError, Bus};
use parley_socketio::{Frame, Socket};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout, timeout_at};

use crate::batches::{Batch, Batches, Told};
use crate::metrics::{Asking, Metrics};
use crate::passing;
use crate::room::Answer;

/// How long a CONNECT waits for word of its token.
const WORD_WITHIN: Duration = Duration::from_secs(2);
/// The pause after an ask in vain.
pub(crate) const PAUSE: Duration = Duration::from_millis(250);

/// What connections ask of api pods; clones share what waits.
#[derive(Clone)]
pub(crate) struct Asks {
    joins: Batches<JoinBatch>,
    standings: Batches<StandingBatch>,
}

impl Asks {
    /// Asks over `bus`.
    pub(crate) fn start(bus: &Bus, metrics: &Metrics) -> Self {
        let (joins, standings) = (bus.clone(), bus.clone());
        Self {
            joins: Batches::start(JoinBatch { bus: joins, metrics: metrics.clone() }),
            standings: Batches::start(StandingBatch { bus: standings, metrics: metrics.clone() }),
        }
    }
}

/// How long something is worth asking: a while, and for as long as whoever wants to know is there.
pub(crate) struct Patience {
    until: Instant,
    asker: Socket,
}

impl Patience {
    /// Of a connection; then it is closed, so that the client comes back by itself.
    pub(crate) fn of(asker: &Socket, patience: Duration) -> Self {
        Self { until: Instant::now() + patience, asker: asker.clone() }
    }

    pub(crate) fn is_over(&self) -> bool {
        Instant::now() >= self.until || self.asker.is_closed()
    }
}

/// A joiner is let in: the chat of one moment, and what was missed, of which those who missed the same share the frames.
#[derive(Debug, Clone)]
pub(crate) struct Admission {
    pub(crate) chat: JoinSnapshot,
    pub(crate) missed: Option<Answer<Frame>>,
}

impl From<JoinSnapshot> for Admission {
    fn from(mut chat: JoinSnapshot) -> Self {
        let missed = chat.missed.take().map(passing::missed);
        Self { chat, missed }
    }
}

/// What came of an ask.
#[derive(Debug, Clone)]
pub(crate) enum Asked {
    Joined(Admission),
    Refused(JoinRefusal),
    /// No api pod could say anything until the end of patience.
    Unavailable,
}

/// Asks until there is an answer, with all patience.
pub(crate) async fn ask_join(asks: &Asks, ask: &JoinAsk, patience: &Patience) -> Asked {
    loop {
        if let Ok(Some(answer)) = timeout_at(patience.until, asks.joins.ask(ask.clone())).await {
            return answer.map_or_else(Asked::Refused, Asked::Joined);
        }
        sleep(PAUSE).await;
        if patience.is_over() {
            return Asked::Unavailable;
        }
    }
}

/// What api pods say of a token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Token {
    /// It counts; how often the set of the bearer's chats had changed by then, if they say so.
    Counts(Option<u64>),
    Revoked,
}

/// Whether a token is revoked; `None` if nobody can say at the moment.
pub(crate) async fn ask_revoked(asks: &Asks, ask: &RevokedAsk) -> Option<Token> {
    let standing = timeout(WORD_WITHIN, asks.standings.ask(ask.user_id.clone())).await.ok()??;
    Some(match standing {
        Some(user) if is_revoked(ask.issued_at, user.tokens_valid_after) => Token::Revoked,
        user => Token::Counts(Some(user.map_or(0, |user| user.membership_version))),
    })
}

/// The same, with all patience.
pub(crate) async fn ask_revoked_patiently(
    asks: &Asks,
    ask: &RevokedAsk,
    patience: &Patience,
) -> Option<Token> {
    loop {
        if let Some(token) = ask_revoked(asks, ask).await {
            return Some(token);
        }
        sleep(PAUSE).await;
        if patience.is_over() {
            return None;
        }
    }
}

/// Joins of this pod's connections, whatever their rooms.
struct JoinBatch {
    bus: Bus,
    metrics: Metrics,
}

impl Batch for JoinBatch {
    type Item = JoinAsk;
    type Answer = Result<Admission, JoinRefusal>;
    const MOST: usize = MAX_JOINS;

    async fn ask(&self, joins: Vec<JoinAsk>) -> Vec<Told<Self::Answer>> {
        self.metrics.asked_together(Asking::Join, joins.len());
        let ask = JoinsAsk { joins };
        match self.bus.ask(&ask).await {
            Ok(JoinsAnswer::Joins(joins)) => told(joins, &ask.joins),
            Ok(JoinsAnswer::Unavailable) => Vec::new(),
            // Perhaps there are only pods of the release before this one.
            Err(AskError::NoApiPod) => one_by_one(&self.bus, ask.joins).await,
            Err(error) => {
                tracing::debug!(joins = ask.joins.len(), %error, "an ask in vain");
                Vec::new()
            }
        }
    }
}

/// What each of the joins was told.
fn told(joins: Joins, asks: &[JoinAsk]) -> Vec<Told<Result<Admission, JoinRefusal>>> {
    let missed: Vec<_> = joins.missed.into_iter().map(passing::missed).collect();
    let admitted = |ask: &JoinAsk, outcome| match outcome {
        JoinOutcome::Joined { room, read, missed: at } => {
            let chat = joins.rooms.get(room)?.seen_by(&ask.user_id, read);
            let missed = match at {
                Some(at) => Some(missed.get(at)?.clone()),
                None => None,
            };
            Some(Told::Answer(Ok(Admission { chat, missed })))
        }
        JoinOutcome::Refused { refusal } => Some(Told::Answer(Err(refusal))),
        JoinOutcome::Unavailable => None,
        JoinOutcome::Later => Some(Told::Later),
    };
    let outcomes = asks.iter().zip(joins.joins);
    outcomes.map(|(ask, outcome)| admitted(ask, outcome).unwrap_or(Told::InVain)).collect()
}

async fn one_by_one(bus: &Bus, joins: Vec<JoinAsk>) -> Vec<Told<Result<Admission, JoinRefusal>>> {
    let mut told: Vec<_> = joins.iter().map(|_| Told::InVain).collect();
    let mut asking = JoinSet::new();
    for (place, ask) in joins.into_iter().enumerate() {
        let bus = bus.clone();
        asking.spawn(async move { (place, bus.ask(&ask).await) });
    }
    while let Some(answered) = asking.join_next().await {
        match answered {
            Ok((place, Ok(JoinAnswer::Joined(chat)))) => {
                told[place] = Told::Answer(Ok(chat.into()));
            }
            Ok((place, Ok(JoinAnswer::Refused { refusal }))) => {
                told[place] = Told::Answer(Err(refusal));
            }
            Ok((_, Ok(JoinAnswer::Unavailable))) | Err(_) => {}
            Ok((_, Err(error))) => tracing::debug!(%error, "an ask in vain"),
        }
    }
    told
}

/// How the bearers of this pod's connections stand.
struct StandingBatch {
    bus: Bus,
    metrics: Metrics,
}

impl Batch for StandingBatch {
    type Item = UserId;
    /// `None` of whom the directory does not know.
    type Answer = Option<UserStanding>;
    const MOST: usize = MAX_USERS / 2;

    async fn ask(&self, users: Vec<UserId>) -> Vec<Told<Self::Answer>> {
        self.metrics.asked_together(Asking::Token, users.len());
        let ask = UsersAsk { user_ids: users };
        match self.bus.ask(&ask).await {
            Ok(UsersAnswer::Users { users }) => {
                let known: HashMap<_, _> =
                    users.into_iter().map(|user| (user.user_id.clone(), user)).collect();
                let told = ask.user_ids.iter().map(|user| known.get(user).cloned());
                told.map(Told::Answer).collect()
            }
            Ok(UsersAnswer::Unavailable) => Vec::new(),
            Err(error) => {
                tracing::debug!(%error, "an ask about tokens in vain");
                Vec::new()
            }
        }
    }
}
