//! A connection that goes on at another gateway, because its WebSocket came there: what it takes along, and how it comes
//! up to its rooms again. The client notices nothing.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use parley_domain::ask::RevokedAsk;
use parley_domain::event::{Resync, ResyncReason};
use parley_domain::ids::{ChatId, UserId};
use parley_domain::typing::Typist;
use parley_domain::user::{Name, Role};
use parley_socketio::{Frame, Socket, Used};
use serde::{Deserialize, Serialize};

use crate::asks::{self, Token};
use crate::bearers::Heard;
use crate::connection::{Chat, Entered, Session};
use crate::joins::JoinOutcome;
use crate::metrics::SentAway;
use crate::room::Standing;
use crate::rooms::Departure;

/// A connection on its way. Both gateways may be of different releases.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Luggage {
    user: UserId,
    role: Role,
    #[serde(default)]
    issued_at: Option<DateTime<Utc>>,
    /// The name in the token.
    #[serde(default)]
    name: Option<String>,
    /// When the connection ends with its token.
    ends_at: DateTime<Utc>,
    /// Its rooms, and up to where it has heard everything there.
    rooms: Vec<(ChatId, Standing)>,
    /// Who writes there, as it was told; of rooms in which somebody does.
    #[serde(default)]
    typing: HashMap<ChatId, Vec<Typist>>,
    /// What it has heard of the set of its user's chats.
    #[serde(default)]
    heard: Option<Heard>,
}

impl Chat {
    /// Takes the connection out of everything, and notes where it was. Nothing reaches its socket any more.
    pub(crate) async fn pack(&self, session: &mut Session) -> Option<Vec<u8>> {
        let (mut rooms, mut typing) = (Vec::new(), HashMap::new());
        for chat in session.rooms.take() {
            // One in which it is no member any more stays behind.
            if let Some(departure) = self.rooms.depart(chat, &session.socket).await {
                let Departure { place, typing: writers } = departure;
                rooms.push((chat, place));
                if !writers.is_empty() {
                    typing.insert(chat, writers);
                }
            }
        }
        let heard = session.place.depart();
        let (user, role, issued_at) = (session.user.clone(), session.role, session.issued_at);
        let name = session.name.as_ref().map(|name| name.as_str().to_owned());
        let ends_at = session.expiry.at();
        let luggage = Luggage { user, role, issued_at, name, ends_at, rooms, typing, heard };
        serde_json::to_vec(&luggage).ok()
    }

    /// Goes on where the other gateway stopped. `None`: nobody can say what was missed, and the client has to come again.
    pub(crate) async fn unpack(&self, luggage: &[u8], socket: Socket) -> Option<Session> {
        let Luggage { user, role, issued_at, name, ends_at, rooms, mut typing, heard } =
            serde_json::from_slice(luggage)
                .inspect_err(|error| {
                    tracing::error!(%error, "a connection came that cannot be read");
                })
                .ok()?;
        // Before it is asked about: what is said between the two is heard.
        let connected_at = self.clock.now();
        let place = self.bearers.hold(&user, role, issued_at, (&socket, connected_at))?;
        let ask = RevokedAsk { user_id: user.clone(), issued_at };
        let patience = self.rooms.patience(&socket);
        match asks::ask_revoked_patiently(&self.asks, &ask, &patience).await {
            Some(Token::Counts(membership)) => place.resumes(heard, membership),
            Some(Token::Revoked) => {
                self.metrics.sent_away(SentAway::TokenRevoked);
                return None;
            }
            None => {
                self.metrics.sent_away(SentAway::JoinTimeout);
                return None;
            }
        }
        let expiry = self.expiries.add(ends_at, &socket);
        let mut session = Session {
            user,
            name: name.and_then(|name| Name::parse(&name).ok()),
            role,
            issued_at,
            socket,
            connected_at,
            rooms: Entered::default(),
            typed: None,
            unasked: None,
            place,
            expiry,
            joins: Used::default(),
        };
        for (chat, at) in rooms {
            let told = typing.remove(&chat).unwrap_or_default();
            if !self.enter_again(&mut session, chat, (at, told)).await {
                for chat in session.rooms.take() {
                    self.rooms.forget(chat, &session.socket).await;
                }
                return None;
            }
        }
        Some(session)
    }

    /// Into a room; `false` if nobody can say what was missed there.
    async fn enter_again(
        &self,
        session: &mut Session,
        chat: ChatId,
        was: (Standing, Vec<Typist>),
    ) -> bool {
        match self.rooms.resume(&session.socket, &session.user, chat, was).await {
            JoinOutcome::Joined => {
                self.metrics.join("resumed");
                session.rooms.insert(chat);
            }
            // It was removed in between, and did not hear it: it finds out by reloading.
            JoinOutcome::Refused(refusal, _) => {
                self.metrics.join(refusal.refusal().code);
                let reason = ResyncReason::Gap;
                self.metrics.resync(reason);
                let resync = Resync { chat_id: Some(chat), reason };
                // A socket that is closed needs to know nothing.
                let _ = session.socket.send(&Frame::event("/", &resync.encode()));
            }
            JoinOutcome::Unavailable => {
                self.metrics.join("unavailable");
                self.metrics.sent_away(SentAway::JoinTimeout);
                return false;
            }
        }
        true
    }
}
