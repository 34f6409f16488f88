//! A connection that goes on with a newer token.

use parley_domain::ask::RevokedAsk;
use parley_domain::event::Refusal;
use parley_domain::time::Timestamp;
use parley_domain::token::TokenError;
use parley_socketio::Ack;
use serde_json::Value;
use tokio::time::Instant;

use super::{Chat, Session};
use crate::asks::{self, Token};
use crate::protocol::{OTHER_USER, RATE_LIMITED, parse_refresh, refresh_ack, token_refusal};

impl Chat {
    /// A token that is refused changes nothing: the connection lives as long as the one before.
    pub(super) async fn refresh(
        &self,
        session: &mut Session,
        argument: Option<&Value>,
        ack: Option<Ack>,
    ) {
        match self.renew(session, argument).await {
            Ok(expires_at) => {
                self.metrics.refreshed("accepted");
                if let Some(ack) = ack {
                    // A socket that is closed needs no answer.
                    let _ = session.socket.ack(ack, &refresh_ack(expires_at));
                }
            }
            Err(refusal) => {
                self.metrics.refreshed(refusal.code);
                Self::tell_refusal(&session.socket, ack, &refusal);
            }
        }
    }

    async fn renew(
        &self,
        session: &mut Session,
        argument: Option<&Value>,
    ) -> Result<Timestamp, Refusal> {
        if !self.joins.take(&mut session.joins, Instant::now()) {
            return Err(RATE_LIMITED);
        }
        let token = parse_refresh(argument).ok_or(token_refusal(TokenError::Missing))?;
        let verified = self.tokens.verify(token, self.clock.now()).await;
        let caller = verified.map_err(token_refusal)?;
        if caller.id != session.user {
            return Err(OTHER_USER);
        }
        let ask = RevokedAsk { user_id: caller.id.clone(), issued_at: caller.issued_at };
        let asked = asks::ask_revoked(&self.asks, &ask).await;
        // What was revoked since the answer was heard, as of any connection.
        if matches!(asked, Some(Token::Revoked)) || !session.place.renew(&caller) {
            return Err(token_refusal(TokenError::Revoked));
        }
        session.role = caller.role;
        session.issued_at = caller.issued_at;
        session.name.clone_from(&caller.name);
        session.expiry.put_off(self.tokens.ends_at(&caller));
        // Whoever still asks about the token before stops.
        session.unasked = if let Some(Token::Counts(membership)) = asked {
            session.place.counts(membership);
            None
        } else {
            Some(self.ask_later(&session.place, ask, &session.socket))
        };
        Ok(caller.expires_at.into())
    }
}
