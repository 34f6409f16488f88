//! One connection: who it is, and what it asks for.

use std::collections::HashSet;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use parley_domain::ask::RevokedAsk;
use parley_domain::event::{self, Refusal};
use parley_domain::ids::{ChatId, UserId};
use parley_domain::time::Clock;
use parley_domain::token::{Caller, TokenError};
use parley_domain::user::Role;
use parley_relay::Bus;
use parley_socketio::{
    Ack, Application, Arrival, CloseReason, Connect, ConnectError, DisconnectReason, Event, Socket,
};
use serde_json::{Value, json};

use crate::asks::{self, Patience, Token};
use crate::bearers::{Bearers, Place};
use crate::joins::JoinOutcome;
use crate::metrics::Metrics;
use crate::protocol::{self, parse_join, parse_leave};
use crate::rooms::Rooms;
use crate::tokens::Tokens;

/// What the Socket.IO server runs.
pub(crate) struct Chat {
    pub(crate) tokens: Tokens,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) bus: Bus,
    pub(crate) bearers: Bearers,
    pub(crate) rooms: Rooms,
    pub(crate) metrics: Metrics,
}

/// A connection whose token counts.
pub(crate) struct Session {
    pub(crate) user: UserId,
    pub(crate) role: Role,
    pub(crate) issued_at: Option<DateTime<Utc>>,
    pub(crate) socket: Socket,
    pub(crate) rooms: HashSet<ChatId>,
    /// What is still to be asked about the token, because nobody could say when it came. Without an answer the
    /// connection enters no room, and hears nothing.
    pub(crate) unasked: Option<RevokedAsk>,
    pub(crate) place: Place,
}

impl Application for Chat {
    type Session = Session;

    async fn connect(&self, connect: Connect, socket: Socket) -> Result<Session, ConnectError> {
        if connect.namespace != "/" {
            return Err(ConnectError::invalid_namespace());
        }
        match self.open(&connect, socket).await {
            Ok(session) => {
                self.metrics.connect("accepted");
                Ok(session)
            }
            Err(error) => {
                self.metrics.connect(error.code());
                let data = json!({ "code": error.code(), "message": error.to_string() });
                Err(ConnectError::new("unauthorized").with_data(data))
            }
        }
    }

    async fn event(&self, session: &mut Session, event: Event) {
        let argument = event.arg::<Value>(0).and_then(Result::ok);
        match event.name.as_str() {
            event::client::JOIN => self.join(session, argument.as_ref(), event.ack).await,
            event::client::LEAVE => self.leave(session, argument.as_ref(), event.ack).await,
            // As every Socket.IO server does with an event that nobody listens to.
            _ => {}
        }
    }

    async fn export(&self, session: &mut Session) -> Option<Vec<u8>> {
        self.pack(session).await
    }

    async fn import(&self, arrival: Arrival, socket: Socket) -> Option<Session> {
        self.unpack(&arrival.state, socket).await
    }

    async fn disconnect(&self, session: Session, _reason: DisconnectReason) {
        for chat in session.rooms {
            self.rooms.forget(chat, &session.socket).await;
        }
    }
}

impl Chat {
    async fn open(&self, connect: &Connect, socket: Socket) -> Result<Session, TokenError> {
        let caller = self.authenticate(connect).await?;
        // Before it is asked about: a revocation between the two is heard.
        let place = self.bearers.hold(&caller.id, caller.role, caller.issued_at, &socket);
        let ask = RevokedAsk { user_id: caller.id.clone(), issued_at: caller.issued_at };
        let unasked = match asks::ask_revoked(&self.bus, &ask).await {
            Some(Token::Revoked) => return Err(TokenError::Revoked),
            Some(Token::Counts(membership)) => {
                place.counts(membership);
                None
            }
            None => {
                tokio::spawn(place.later(self.bus.clone(), ask.clone(), socket.clone()));
                Some(ask)
            }
        };
        Ok(Session {
            user: caller.id,
            role: caller.role,
            issued_at: caller.issued_at,
            socket,
            rooms: HashSet::new(),
            unasked,
            place,
        })
    }

    /// The token stands in the CONNECT's auth, in the handshake's header, or in its query.
    async fn authenticate(&self, connect: &Connect) -> Result<Caller, TokenError> {
        let auth: Option<Value> =
            connect.auth.as_ref().and_then(|auth| serde_json::from_str(auth.get()).ok());
        let handshake = &connect.handshake;
        let token = auth
            .as_ref()
            .and_then(|auth| auth.get("token"))
            .and_then(Value::as_str)
            .or_else(|| handshake.authorization())
            .or_else(|| handshake.query("token"))
            .ok_or(TokenError::Missing)?;
        let token = token.strip_prefix("Bearer ").unwrap_or(token);
        self.tokens.verify(token, self.clock.now()).await
    }

    async fn join(&self, session: &mut Session, argument: Option<&Value>, ack: Option<Ack>) {
        let join = match parse_join(argument) {
            Ok(join) => join,
            Err(refusal) => return self.refuse(&session.socket, ack, &refusal),
        };
        if let Some(ask) = &session.unasked {
            let patience = Patience::of(&session.socket);
            match asks::ask_revoked_patiently(&self.bus, ask, &patience).await {
                Some(Token::Counts(membership)) => {
                    session.place.counts(membership);
                    session.unasked = None;
                }
                // Closed, it comes back, and is told why it may not.
                Some(Token::Revoked) => {
                    self.metrics.join(TokenError::Revoked.code());
                    return session.socket.close(CloseReason::GoingAway);
                }
                None => {
                    self.metrics.join("unavailable");
                    return session.socket.close(CloseReason::GoingAway);
                }
            }
        }
        let asker = (&session.user, session.role);
        match self.rooms.join(&session.socket, asker, join, ack).await {
            JoinOutcome::Joined => {
                self.metrics.join("joined");
                session.rooms.insert(join.chat);
            }
            JoinOutcome::Refused(refusal, ack) => {
                // Whoever was a member may not be one any more.
                if session.rooms.remove(&join.chat) {
                    self.rooms.leave(join.chat, &session.socket).await;
                }
                self.refuse(&session.socket, ack, &refusal.refusal());
            }
            JoinOutcome::Unavailable => {
                self.metrics.join("unavailable");
                // A stock client waits for an ack for ever; closed, it comes back.
                session.socket.close(CloseReason::GoingAway);
            }
        }
    }

    async fn leave(&self, session: &mut Session, argument: Option<&Value>, ack: Option<Ack>) {
        match parse_leave(argument) {
            Ok(chat) => {
                if session.rooms.remove(&chat) {
                    self.rooms.leave(chat, &session.socket).await;
                }
                if let Some(ack) = ack {
                    // A socket that is closed needs no answer.
                    let _ = session.socket.ack(ack, &protocol::leave_ack(chat));
                }
            }
            Err(refusal) => self.refuse(&session.socket, ack, &refusal),
        }
    }

    fn refuse(&self, socket: &Socket, ack: Option<Ack>, refusal: &Refusal) {
        self.metrics.join(refusal.code);
        // A socket that is closed needs no answer.
        match ack {
            Some(ack) => drop(socket.ack(ack, &protocol::refusal_ack(refusal))),
            None => drop(socket.emit(event::server::ERROR, refusal)),
        }
    }
}
