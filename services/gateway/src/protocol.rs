//! What clients send, parsed; and what they are answered.

use parley_domain::ask::JoinSnapshot;
use parley_domain::event::Refusal;
use parley_domain::ids::ChatId;
use parley_domain::time::Timestamp;
use parley_domain::token::TokenError;
use parley_domain::typing::Typist;
use parley_domain::version::{Epoch, Version};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::asks::Admission;
use crate::room::Answer;

/// `join-chat-room`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Join {
    pub(crate) chat: ChatId,
    /// The version up to which the client has everything.
    pub(crate) since: Option<Version>,
    /// The history of that version.
    pub(crate) epoch: Option<Epoch>,
}

impl Join {
    /// Whether a client that names its history names another one than the chat's.
    pub(crate) fn is_of_another(&self, snapshot: &JoinSnapshot) -> bool {
        self.epoch.is_some_and(|epoch| epoch != snapshot.epoch)
    }

    /// Whether a member that has heard everything up to `heard` says that it was elsewhere. It is told nothing twice, so
    /// it has to reload.
    pub(crate) fn is_before(&self, heard: Version, admission: &Admission) -> bool {
        let led_nowhere = matches!(admission.missed, Some(Answer::Reload(_)));
        led_nowhere
            || self.is_of_another(&admission.chat)
            || self.since.is_some_and(|since| since < heard)
    }
}

pub(crate) const INVALID_CHAT_ID: Refusal =
    Refusal { code: "invalid_chat_id", message: "The chat id must be a UUID, or chat-<UUID>." };
pub(crate) const NOT_JOINED: Refusal =
    Refusal { code: "not_joined", message: "Join the chat's room first." };
pub(crate) const INVALID_POSITION: Refusal = Refusal {
    code: "invalid_request",
    message: "since must be a version and epoch one that the server gave.",
};

pub(crate) const TOO_MANY_ROOMS: Refusal = Refusal {
    code: "too_many_rooms",
    message: "The connection is in as many rooms as it may be; leave one.",
};
pub(crate) const RATE_LIMITED: Refusal =
    Refusal { code: "rate_limited", message: "Too much was asked for; try again in a second." };
pub(crate) const TOO_MANY_CONNECTIONS: Refusal = Refusal {
    code: "too_many_connections",
    message: "You have as many connections as you may have; close one.",
};
pub(crate) const OTHER_USER: Refusal =
    Refusal { code: "other_user", message: "The token is another user's; open a new connection." };

/// Reads `'<token>'` or `{ token }`.
pub(crate) fn parse_refresh(argument: Option<&Value>) -> Option<&str> {
    let token = match argument? {
        Value::Object(fields) => fields.get("token")?,
        token => token,
    };
    token.as_str().map(bare_token)
}

/// A token as it stands in a header, or by itself.
pub(crate) fn bare_token(token: &str) -> &str {
    token.strip_prefix("Bearer ").unwrap_or(token)
}

/// Why a token does not count.
pub(crate) const fn token_refusal(error: TokenError) -> Refusal {
    let message = match error {
        TokenError::Missing => "The event needs a token, or { token }.",
        TokenError::Invalid => "The token is not valid.",
        TokenError::UnknownKey => "The token is signed with an unknown key.",
        TokenError::Expired => "The token has expired.",
        TokenError::NotYetValid => "The token is not valid yet.",
        TokenError::Revoked => "The token was revoked.",
    };
    Refusal { code: error.code(), message }
}

/// Reads `'<chatId>'`, `'chat-<chatId>'` or `{ chatId, since?, epoch? }`.
pub(crate) fn parse_join(argument: Option<&Value>) -> Result<Join, Refusal> {
    #[derive(Deserialize)]
    struct Position {
        since: Option<Version>,
        epoch: Option<Epoch>,
    }
    let argument = argument.ok_or(INVALID_CHAT_ID)?;
    match argument {
        Value::String(id) => Ok(Join { chat: chat_id(id)?, since: None, epoch: None }),
        Value::Object(fields) => {
            let id = fields.get("chatId").and_then(Value::as_str).ok_or(INVALID_CHAT_ID)?;
            let chat = chat_id(id)?;
            let Position { since, epoch } =
                Position::deserialize(argument).map_err(|_| INVALID_POSITION)?;
            Ok(Join { chat, since, epoch })
        }
        _ => Err(INVALID_CHAT_ID),
    }
}

/// Reads the chat of `leave-chat-room`, `typing-start` and `typing-stop`, which take the same forms.
pub(crate) fn parse_chat(argument: Option<&Value>) -> Result<ChatId, Refusal> {
    parse_join(argument).map(|join| join.chat)
}

fn chat_id(text: &str) -> Result<ChatId, Refusal> {
    ChatId::parse(text.strip_prefix("chat-").unwrap_or(text)).map_err(|_| INVALID_CHAT_ID)
}

/// The ack of a join.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JoinAck<'a> {
    success: bool,
    chat_id: ChatId,
    version: Version,
    epoch: Epoch,
    /// Nothing is replayed: the client reloads, and is live from `version` on.
    resync: bool,
    read_pointers:
        &'a std::collections::BTreeMap<parley_domain::ids::UserId, parley_domain::version::Seq>,
    /// Who is typing now.
    typing: &'a [Typist],
    pod: &'a str,
}

/// The arguments of a join's ack.
pub(crate) fn join_ack(
    join: &Join,
    snapshot: &JoinSnapshot,
    (resync, typing): (bool, &[Typist]),
    pod: &str,
) -> Vec<u8> {
    arguments(&JoinAck {
        success: true,
        chat_id: join.chat,
        version: snapshot.version,
        epoch: snapshot.epoch,
        resync,
        read_pointers: &snapshot.read_pointers,
        typing,
        pod,
    })
}

/// The arguments of the ack of whatever else concerns a chat.
pub(crate) fn done_ack(chat: ChatId) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct DoneAck {
        success: bool,
        chat_id: ChatId,
    }
    arguments(&DoneAck { success: true, chat_id: chat })
}

/// The arguments of the ack for a new token, which ends then.
pub(crate) fn refresh_ack(expires_at: Timestamp) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct RefreshAck {
        success: bool,
        expires_at: Timestamp,
    }
    arguments(&RefreshAck { success: true, expires_at })
}

/// The arguments of the ack that refuses.
pub(crate) fn refusal_ack(refusal: &Refusal) -> Vec<u8> {
    #[derive(Serialize)]
    struct RefusalAck<'a> {
        success: bool,
        error: &'a Refusal,
    }
    arguments(&RefusalAck { success: false, error: refusal })
}

fn arguments(only: &impl Serialize) -> Vec<u8> {
    // Our own types: string keys, nothing that JSON lacks.
    serde_json::to_vec(&(only,)).expect("an ack is plain JSON")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::room::Standing;
    use serde_json::json;
    use std::collections::BTreeMap;

    const ID: &str = "0192f0a4-7c3b-7d2e-8a1b-0123456789ab";

    fn code(argument: &Value) -> Result<Join, &'static str> {
        parse_join(Some(argument)).map_err(|refusal| refusal.code)
    }

    #[test]
    fn every_form_of_a_join_is_read() {
        let chat = ChatId::parse(ID).unwrap();
        let plain = Join { chat, since: None, epoch: None };
        assert_eq!(code(&json!(ID)), Ok(plain));
        assert_eq!(code(&json!(format!("chat-{ID}"))), Ok(plain));
        assert_eq!(code(&json!({ "chatId": ID })), Ok(plain));
        assert_eq!(
            code(&json!({ "chatId": ID, "since": null, "epoch": null, "more": 1 })),
            Ok(plain)
        );
        let whole =
            code(&json!({ "chatId": ID, "since": 7, "epoch": "00000000000000ff" })).unwrap();
        assert_eq!((whole.since, whole.epoch), (Some(Version(7)), Some(Epoch(255))));
    }

    #[test]
    fn anything_else_is_refused_with_a_code() {
        for bad in [
            json!(null),
            json!(7),
            json!(""),
            json!("chat-"),
            json!([ID]),
            json!({}),
            json!({ "chatId": 7 }),
        ] {
            assert_eq!(code(&bad), Err("invalid_chat_id"), "{bad}");
        }
        for bad in [json!(-1), json!(1.5), json!("7"), json!({})] {
            assert_eq!(code(&json!({ "chatId": ID, "since": bad })), Err("invalid_request"));
        }
        assert_eq!(code(&json!({ "chatId": ID, "epoch": "x" })), Err("invalid_request"));
        assert_eq!(parse_join(None).unwrap_err().code, "invalid_chat_id");
    }

    #[test]
    fn every_form_of_a_token_is_read() {
        for good in [json!("x.y"), json!("Bearer x.y"), json!({ "token": "x.y", "more": 1 })] {
            assert_eq!(parse_refresh(Some(&good)), Some("x.y"), "{good}");
        }
        for bad in [json!(null), json!(7), json!(["x"]), json!({}), json!({ "token": 7 })] {
            assert_eq!(parse_refresh(Some(&bad)), None, "{bad}");
        }
        assert_eq!(parse_refresh(None), None);
    }

    #[test]
    fn a_member_that_was_elsewhere_reloads() {
        let at = Standing { version: Version(7), epoch: Epoch(1) };
        let (version, epoch, read_pointers) = (at.version, at.epoch, BTreeMap::new());
        let chat = JoinSnapshot { version, epoch, read_pointers, missed: None };
        let admission = |missed| Admission { chat: chat.clone(), missed };
        let join = |since: Option<u64>, epoch: Option<u64>| Join {
            chat: ChatId::parse(ID).unwrap(),
            since: since.map(Version),
            epoch: epoch.map(Epoch),
        };
        let is_before = |since, epoch| join(since, epoch).is_before(Version(6), &admission(None));
        // The seventh is on its way to every member.
        for (since, epoch) in [(None, None), (Some(6), None), (Some(7), None), (Some(6), Some(1))] {
            assert!(!is_before(since, epoch), "{since:?} {epoch:?}");
        }
        for (since, epoch) in [(Some(5), None), (Some(6), Some(2)), (None, Some(2))] {
            assert!(is_before(since, epoch), "{since:?} {epoch:?}");
        }
        let nowhere = Answer::Reload(at);
        assert!(join(Some(8), None).is_before(Version(6), &admission(Some(nowhere))));
    }
}
