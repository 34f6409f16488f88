//! One connection: who it is, and what it asks for.

mod entered;
mod refresh;

use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};
use parley_domain::ask::RevokedAsk;
use parley_domain::delivery::ConnectionEnded;
use parley_domain::event::{self, Refusal};
use parley_domain::ids::{ChatId, UserId};
use parley_domain::time::Clock;
use parley_domain::token::{Caller, TokenError};
use parley_domain::user::{Name, Role};
use parley_socketio::{
    Ack, Application, Arrival, CloseReason, Connect, ConnectError, DisconnectReason, Event, Rate,
    Socket, Used,
};
use serde_json::{Value, json};
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use crate::accounts;
use crate::asks::{self, Asks, Token};
use crate::bearers::{Bearers, Place};
use crate::expiry::{Expiries, Expiry};
use crate::joins::JoinOutcome;
use crate::metrics::{Metrics, SentAway};
use crate::protocol::{
    self, RATE_LIMITED, TOO_MANY_CONNECTIONS, TOO_MANY_ROOMS, bare_token, parse_chat, parse_join,
};
use crate::rooms::Rooms;
use crate::tokens::Tokens;
pub(crate) use entered::Entered;

/// A connection's typing in one chat is looked at no more often than this.
const TYPING_PAUSE: Duration = Duration::from_millis(500);

/// What the Socket.IO server runs.
pub(crate) struct Chat {
    pub(crate) tokens: Tokens,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) asks: Asks,
    pub(crate) bearers: Bearers,
    pub(crate) expiries: Expiries,
    pub(crate) rooms: Rooms,
    pub(crate) metrics: Metrics,
    /// Joins of one connection, and new tokens.
    pub(crate) joins: Rate,
    pub(crate) max_rooms: usize,
}

/// A connection whose token counts.
pub(crate) struct Session {
    pub(crate) user: UserId,
    pub(crate) name: Option<Name>,
    pub(crate) role: Role,
    pub(crate) issued_at: Option<DateTime<Utc>>,
    pub(crate) socket: Socket,
    pub(crate) connected_at: DateTime<Utc>,
    pub(crate) rooms: Entered,
    /// What was last said of typing: keys are pressed more often than anybody has to hear of it.
    pub(crate) typed: Option<(ChatId, bool, Instant)>,
    /// What is still to be asked about the token, because nobody could say when it came. Without an answer the
    /// connection enters no room, and hears nothing.
    pub(crate) unasked: Option<Unasked>,
    pub(crate) place: Place,
    pub(crate) expiry: Expiry,
    pub(crate) joins: Used,
}

/// A token that could not be asked about, and who goes on asking.
pub(crate) struct Unasked {
    ask: RevokedAsk,
    _later: AbortOnDropHandle<()>,
}

/// Why a connection does not come about.
enum Unwelcome {
    Token(TokenError),
    TooMany,
}

impl From<TokenError> for Unwelcome {
    fn from(error: TokenError) -> Self {
        Self::Token(error)
    }
}

impl Unwelcome {
    fn code(&self) -> &'static str {
        match self {
            Self::Token(error) => error.code(),
            Self::TooMany => TOO_MANY_CONNECTIONS.code,
        }
    }

    fn connect_error(&self) -> ConnectError {
        match self {
            Self::Token(error) => ConnectError::new("unauthorized")
                .with_data(json!({ "code": error.code(), "message": error.to_string() })),
            Self::TooMany => {
                ConnectError::new("too many connections").with_data(json!(TOO_MANY_CONNECTIONS))
            }
        }
    }
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
                Err(error.connect_error())
            }
        }
    }

    async fn event(&self, session: &mut Session, event: Event) {
        let argument = event.arg::<Value>(0).and_then(Result::ok);
        match event.name.as_str() {
            event::client::JOIN => self.join(session, argument.as_ref(), event.ack).await,
            event::client::LEAVE => self.leave(session, argument.as_ref(), event.ack).await,
            event::client::REFRESH => self.refresh(session, argument.as_ref(), event.ack).await,
            event::client::TYPING_START => {
                self.typing(session, argument.as_ref(), event.ack, true).await;
            }
            event::client::TYPING_STOP => {
                self.typing(session, argument.as_ref(), event.ack, false).await;
            }
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

    async fn disconnect(&self, mut session: Session, reason: DisconnectReason) {
        for chat in session.rooms.take() {
            self.rooms.forget(chat, &session.socket).await;
        }
        let ended = ConnectionEnded { at: self.clock.now(), why: reason.as_str().to_owned() };
        let account = accounts::connection(&session.socket, session.connected_at, Some(ended));
        self.rooms.recent().closed(session.user, account);
    }
}

impl Chat {
    async fn open(&self, connect: &Connect, socket: Socket) -> Result<Session, Unwelcome> {
        let caller = self.authenticate(connect).await?;
        // Before it is asked about: a revocation between the two is heard.
        let connected_at = self.clock.now();
        let from = (&socket, connected_at);
        let place = self.bearers.hold(&caller.id, caller.role, caller.issued_at, from);
        let place = place.ok_or(Unwelcome::TooMany)?;
        let ask = RevokedAsk { user_id: caller.id.clone(), issued_at: caller.issued_at };
        let unasked = match asks::ask_revoked(&self.asks, &ask).await {
            Some(Token::Revoked) => return Err(TokenError::Revoked.into()),
            Some(Token::Counts(membership)) => {
                place.counts(membership);
                None
            }
            None => Some(self.ask_later(&place, ask, &socket)),
        };
        let expiry = self.expiries.add(self.tokens.ends_at(&caller), &socket);
        Ok(Session {
            user: caller.id,
            name: caller.name,
            role: caller.role,
            issued_at: caller.issued_at,
            socket,
            connected_at,
            rooms: Entered::default(),
            typed: None,
            unasked,
            place,
            expiry,
            joins: Used::default(),
        })
    }

    fn ask_later(&self, place: &Place, ask: RevokedAsk, socket: &Socket) -> Unasked {
        let later = tokio::spawn(place.later(self.asks.clone(), ask.clone(), socket.clone()));
        Unasked { ask, _later: AbortOnDropHandle::new(later) }
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
        self.tokens.verify(bare_token(token), self.clock.now()).await
    }

    async fn join(&self, session: &mut Session, argument: Option<&Value>, ack: Option<Ack>) {
        let join = match parse_join(argument) {
            Ok(join) => join,
            Err(refusal) => return self.refuse(&session.socket, ack, &refusal),
        };
        if let Err(refusal) = self.admit(session, join.chat) {
            return self.refuse(&session.socket, ack, &refusal);
        }
        if let Some(Unasked { ask, .. }) = &session.unasked {
            let patience = self.rooms.patience(&session.socket);
            match asks::ask_revoked_patiently(&self.asks, ask, &patience).await {
                Some(Token::Counts(membership)) => {
                    session.place.counts(membership);
                    session.unasked = None;
                }
                // Closed, it comes back, and is told why it may not.
                Some(Token::Revoked) => {
                    self.metrics.join(TokenError::Revoked.code());
                    self.metrics.sent_away(SentAway::TokenRevoked);
                    return session.socket.close(CloseReason::GoingAway);
                }
                None => {
                    self.metrics.join("unavailable");
                    self.metrics.sent_away(SentAway::JoinTimeout);
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
                self.metrics.sent_away(SentAway::JoinTimeout);
                // A stock client waits for an ack for ever; closed, it comes back.
                session.socket.close(CloseReason::GoingAway);
            }
        }
    }

    /// Whether the connection may join this room now.
    fn admit(&self, session: &mut Session, chat: ChatId) -> Result<(), Refusal> {
        if !self.joins.take(&mut session.joins, Instant::now()) {
            return Err(RATE_LIMITED);
        }
        if session.rooms.len() >= self.max_rooms && !session.rooms.contains(&chat) {
            return Err(TOO_MANY_ROOMS);
        }
        Ok(())
    }

    async fn leave(&self, session: &mut Session, argument: Option<&Value>, ack: Option<Ack>) {
        match parse_chat(argument) {
            Ok(chat) => {
                if session.rooms.remove(&chat) {
                    self.rooms.leave(chat, &session.socket).await;
                }
                if let Some(ack) = ack {
                    // A socket that is closed needs no answer.
                    let _ = session.socket.ack(ack, &protocol::done_ack(chat));
                }
            }
            Err(refusal) => self.refuse(&session.socket, ack, &refusal),
        }
    }

    /// Only a member's typing is told of; the room itself knows who is one at that moment.
    async fn typing(
        &self,
        session: &mut Session,
        argument: Option<&Value>,
        ack: Option<Ack>,
        is_typing: bool,
    ) {
        let chat = match parse_chat(argument) {
            Ok(chat) if session.rooms.contains(&chat) => chat,
            Ok(_) => return Self::tell_refusal(&session.socket, ack, &protocol::NOT_JOINED),
            Err(refusal) => return Self::tell_refusal(&session.socket, ack, &refusal),
        };
        let again = |(before, was, at): &(ChatId, bool, Instant)| {
            (*before, *was) == (chat, is_typing) && at.elapsed() < TYPING_PAUSE
        };
        if !session.typed.as_ref().is_some_and(again) {
            session.typed = Some((chat, is_typing, Instant::now()));
            let name = session.name.as_ref().map(Name::as_str);
            self.rooms.typing(chat, &session.socket, name, is_typing).await;
        }
        if let Some(ack) = ack {
            // A socket that is closed needs no answer.
            let _ = session.socket.ack(ack, &protocol::done_ack(chat));
        }
    }

    fn refuse(&self, socket: &Socket, ack: Option<Ack>, refusal: &Refusal) {
        self.metrics.join(refusal.code);
        Self::tell_refusal(socket, ack, refusal);
    }

    fn tell_refusal(socket: &Socket, ack: Option<Ack>, refusal: &Refusal) {
        // A socket that is closed needs no answer.
        match ack {
            Some(ack) => drop(socket.ack(ack, &protocol::refusal_ack(refusal))),
            None => drop(socket.emit(event::server::ERROR, refusal)),
        }
    }
}
