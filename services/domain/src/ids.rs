//! Identifiers: ours are `UUIDv7`, the host application's are its own printable text.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::Invalid;

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident, $field:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
        #[serde(transparent)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(example = "0192f0a4-7c3b-7d2e-8a1b-0123456789ab"))]
        pub struct $name(Uuid);

        impl $name {
            /// Reads the hyphenated form, in either case.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                // `Uuid` also reads braces, URNs and bare hex; one spelling per id keeps caches and logs honest.
                match Uuid::try_parse(text) {
                    Ok(id) if text.len() == 36 => Ok(Self(id)),
                    _ => Err(Invalid::new($field, "must be a UUID")),
                }
            }

            /// The id as a UUID.
            pub const fn uuid(self) -> Uuid {
                self.0
            }
        }

        impl From<Uuid> for $name {
            fn from(id: Uuid) -> Self {
                Self(id)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = Invalid;

            fn from_str(text: &str) -> Result<Self, Invalid> {
                Self::parse(text)
            }
        }
    };
}

uuid_id!(
    /// A chat.
    ChatId,
    "chatId"
);
uuid_id!(
    /// A message; within a chat, ids rise with `seq`.
    MessageId,
    "messageId"
);
uuid_id!(
    /// A file of a message.
    AttachmentId,
    "attachmentId"
);
uuid_id!(
    /// A webhook.
    WebhookId,
    "webhookId"
);
uuid_id!(
    /// Something that happened, as webhooks are told it: the same at every webhook and at every attempt.
    EventId,
    "eventId"
);

/// An event for one webhook.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema), schema(value_type = u64, maximum = 9_007_199_254_740_991_u64))]
pub struct DeliveryId(pub u64);

impl DeliveryId {
    /// Reads the number.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        text.parse().map(Self).map_err(|_| Invalid::new("deliveryId", "must be a number"))
    }
}

/// Most characters of the host's ids and of a client message id.
pub const MAX_TEXT_ID: usize = 128;
/// A user of the host application, under the host's own id (`auth0|x`, an e-mail, an ObjectId):
/// 1–128 printable characters. Encode it wherever it enters a subject, a key or a path. It is shared: a gateway knows the user of a
/// connection in many places.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct UserId(Arc<str>);

/// The host application's own id of a purchase request: 1–128 printable characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct PurchaseRequestId(Box<str>);

/// The sender's own id of a message, which makes a repeated send the same send: 1–128 printable characters.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ClientMessageId(Box<str>);

macro_rules! text_id {
    ($name:ident, $field:literal, $about:literal, $example:literal) => {
        impl $name {
            /// Accepts 1–128 printable characters without a space at either end.
            pub fn parse(text: &str) -> Result<Self, Invalid> {
                printable($field, text).map(|()| Self(text.into()))
            }

            /// The id as the host wrote it.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::PartialSchema for $name {
            fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
                schema::printable($about, $example)
            }
        }

        #[cfg(feature = "openapi")]
        impl utoipa::ToSchema for $name {}

        impl TryFrom<String> for $name {
            type Error = Invalid;

            fn try_from(text: String) -> Result<Self, Invalid> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(id: $name) -> Self {
                Self::from(&*id.0)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
    };
}

text_id!(UserId, "userId", "A user, under the host's own id", "alice");
text_id!(PurchaseRequestId, "purchaseRequestId", "The host's own id of it", "pr-2026-17");
text_id!(ClientMessageId, "clientMessageId", "The sender's own id of a message", "8f1c-1");

fn printable(field: &'static str, text: &str) -> Result<(), Invalid> {
    let length = text.chars().count();
    if length == 0 || length > MAX_TEXT_ID {
        return Err(Invalid::new(field, format!("must have 1 to {MAX_TEXT_ID} characters")));
    }
    let unprintable = |c: char| c.is_control() || (c.is_whitespace() && c != ' ');
    if text.chars().any(unprintable) || text.starts_with(' ') || text.ends_with(' ') {
        return Err(Invalid::new(field, "must be printable, without spaces at its ends"));
    }
    Ok(())
}

#[cfg(feature = "openapi")]
mod schema {
    use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};

    use super::MAX_TEXT_ID;

    /// Printable characters without spaces at the ends, as a regular expression of ECMA 262.
    const PRINTABLE: &str = concat!(
        r"^[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]",
        r"([^\u0000-\u001f\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*",
        r"[^\u0000-\u0020\u007f-\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000])?$",
    );

    pub(super) fn printable(about: &str, example: &str) -> RefOr<Schema> {
        let schema = ObjectBuilder::new().schema_type(Type::String).description(Some(about));
        let schema = schema.min_length(Some(1)).max_length(Some(MAX_TEXT_ID));
        schema.pattern(Some(PRINTABLE)).examples([example]).build().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn user_ids_are_the_hosts() {
        for good in
            ["alice", "auth0|5f7c", "a@b.example", "507f1f77bcf86cd799439011", "Zoë Q", "用户"]
        {
            assert_eq!(UserId::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", " a", "a ", "a\0b", "a\nb", "a\u{85}b", &"x".repeat(129)] {
            assert!(UserId::parse(bad).is_err(), "{bad:?}");
        }
        assert!(UserId::parse(&"é".repeat(128)).is_ok(), "characters are counted, not bytes");
    }

    #[test]
    fn chat_ids_have_one_spelling() {
        let text = "0192f0a4-7c3b-7d2e-8a1b-0123456789ab";
        assert_eq!(ChatId::parse(text).unwrap().to_string(), text);
        for bad in [
            "",
            "abc",
            "{0192f0a4-7c3b-7d2e-8a1b-0123456789ab}",
            "0192f0a47c3b7d2e8a1b0123456789ab",
        ] {
            assert!(ChatId::parse(bad).is_err(), "{bad:?}");
        }
    }
}
