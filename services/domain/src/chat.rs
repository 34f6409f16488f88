//! Chats and participants: what may be created, and what one looks like to a client.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::Invalid;
use crate::ids::{ChatId, PurchaseRequestId, UserId};
use crate::message::Message;
use crate::metadata::Metadata;
use crate::shown;
use crate::time::Timestamp;
use crate::version::{Seq, Version};

/// Most people of one creating call; a group grows further one by one.
pub const MAX_CREATED_PARTICIPANTS: usize = 1_000;
/// Most participants (and read positions) that a chat object or a join's answer lists, oneself always among them.
pub const MAX_LISTED_PARTICIPANTS: usize = 100;
/// Most characters of a title.
pub const MAX_TITLE: usize = 200;

/// What kind of conversation a chat is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ChatType {
    /// Two people, for good.
    #[default]
    Direct,
    /// Two or more, who come and go.
    Group,
    /// A user and the support pool.
    Support,
}

impl ChatType {
    /// The word on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Direct => "direct",
            Self::Group => "group",
            Self::Support => "support",
        }
    }

    /// Reads the word; anything else is refused.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        match text {
            "direct" => Ok(Self::Direct),
            "group" => Ok(Self::Group),
            "support" => Ok(Self::Support),
            _ => Err(Invalid::new("type", "must be direct, group or support")),
        }
    }
}

/// What a participant is in a chat.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum ParticipantRole {
    /// Made the chat, or inherited it.
    Creator,
    /// Takes part.
    Member,
    /// Takes part as support.
    Agent,
}

impl ParticipantRole {
    /// The word on the wire and in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Creator => "creator",
            Self::Member => "member",
            Self::Agent => "agent",
        }
    }

    /// Reads the database's word.
    pub fn parse(text: &str) -> Option<Self> {
        match text {
            "creator" => Some(Self::Creator),
            "member" => Some(Self::Member),
            "agent" => Some(Self::Agent),
            _ => None,
        }
    }
}

/// A group's title: 1–200 characters, no control characters, something to be seen. What is invisible or turns the direction of
/// text is taken out.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "openapi",
    derive(utoipa::ToSchema),
    schema(value_type = String, min_length = 1, max_length = 200, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*[^\u0000-\u0020\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb][^\u0000-\u001f\u007f-\u009f]*$", example = "Friday")
)]
pub struct Title(Box<str>);

impl Title {
    /// Accepts a title within the limits.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if !shown::is_seen(text) || text.chars().count() > MAX_TITLE {
            return Err(Invalid::new("title", format!("must have 1 to {MAX_TITLE} characters")));
        }
        if text.chars().any(char::is_control) {
            return Err(Invalid::new("title", "must not contain control characters"));
        }
        Ok(Self(shown::cleaned(text).into()))
    }

    /// The title as it is shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What a support chat is about: 1–200 characters, as a title.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(
    feature = "openapi",
    derive(utoipa::ToSchema),
    schema(value_type = String, min_length = 1, max_length = 200, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*[^\u0000-\u0020\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb][^\u0000-\u001f\u007f-\u009f]*$", example = "A refund")
)]
pub struct Subject(Title);

impl Subject {
    /// Accepts a subject within the limits.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        Title::parse(text).map(Self).map_err(|invalid| invalid.in_field("subject"))
    }

    /// The subject as it is shown.
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

/// A chat to be created between known people, checked.
#[derive(Debug, Clone)]
pub struct NewChat {
    /// Who creates it; always one of the people.
    pub creator: UserId,
    /// The others, each once, in order of their ids.
    pub others: Vec<UserId>,
    /// What it will be.
    pub kind: NewChatKind,
    /// The host's own data.
    pub metadata: Option<Metadata>,
}

/// The kinds that people create themselves.
#[derive(Debug, Clone)]
pub enum NewChatKind {
    /// The one chat of these two people.
    Direct,
    /// A new group.
    Group {
        /// Its title.
        title: Option<Title>,
    },
    /// The one direct chat of a buyer, who creates it, and a seller about a purchase request.
    PurchaseRequest(PurchaseRequestId),
    /// A new support chat. The pool is in it by its role, without being named.
    Support {
        /// What it is about.
        subject: Option<Subject>,
    },
}

impl NewChat {
    /// Checks who and what. A title on a direct chat is not kept: the source contract has it for groups only.
    pub fn parse(
        creator: UserId,
        participant_ids: Vec<UserId>,
        chat_type: ChatType,
        title: Option<Title>,
        metadata: Option<Metadata>,
    ) -> Result<Self, Invalid> {
        if participant_ids.len() > MAX_CREATED_PARTICIPANTS {
            let rule = format!("must not name more than {MAX_CREATED_PARTICIPANTS} people");
            return Err(Invalid::new("participantIds", rule));
        }
        let mut others = participant_ids;
        others.sort_unstable();
        others.dedup();
        others.retain(|id| *id != creator);
        if others.is_empty() {
            return Err(Invalid::new("participantIds", "must name someone besides the caller"));
        }
        let kind = match chat_type {
            ChatType::Direct if others.len() == 1 => NewChatKind::Direct,
            ChatType::Direct => {
                return Err(Invalid::new("participantIds", "must be two people in a direct chat"));
            }
            ChatType::Group => NewChatKind::Group { title },
            ChatType::Support => {
                return Err(Invalid::new("type", "must be direct or group"));
            }
        };
        Ok(Self { creator, others, kind, metadata })
    }

    /// The chat of a purchase request between its buyer, who asks for it, and its seller.
    pub fn of_purchase_request(
        request: PurchaseRequestId,
        buyer: UserId,
        seller: UserId,
    ) -> Result<Self, Invalid> {
        if buyer == seller {
            return Err(Invalid::new("sellerId", "must be somebody else than the buyer"));
        }
        let kind = NewChatKind::PurchaseRequest(request);
        Ok(Self { creator: buyer, others: vec![seller], kind, metadata: None })
    }

    /// A support chat of the one who needs help.
    pub const fn of_support(creator: UserId, subject: Option<Subject>) -> Self {
        let kind = NewChatKind::Support { subject };
        Self { creator, others: Vec::new(), kind, metadata: None }
    }

    /// How many people it will have.
    pub fn people(&self) -> usize {
        self.others.len() + 1
    }

    /// The key under which there is one direct chat of two people, or one about a purchase request; groups have none.
    pub fn key(&self) -> Option<String> {
        match (&self.kind, self.others.as_slice()) {
            (NewChatKind::Direct, [other]) => Some(direct_key(&self.creator, other)),
            (NewChatKind::PurchaseRequest(request), [seller]) => {
                Some(purchase_key(request, &self.creator, seller))
            }
            _ => None,
        }
    }
}

/// One text per pair of people, whoever asks. Lengths make it unambiguous whatever the ids contain.
pub fn direct_key(one: &UserId, other: &UserId) -> String {
    let (first, second) = if one <= other { (one, other) } else { (other, one) };
    let length = |id: &UserId| id.as_str().len();
    format!("direct:{}:{first}:{}:{second}", length(first), length(second))
}

/// One text per purchase request, buyer and seller; as unambiguous as [`direct_key`].
fn purchase_key(request: &PurchaseRequestId, buyer: &UserId, seller: &UserId) -> String {
    let lengths = [request.as_str(), buyer.as_str(), seller.as_str()].map(str::len);
    format!("purchase:{}:{request}:{}:{buyer}:{}:{seller}", lengths[0], lengths[1], lengths[2])
}

/// A participant as clients see it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Participant {
    /// The user's id, as the source backend's populated participants have it.
    #[serde(rename = "_id")]
    pub id: UserId,
    /// The user's id once more, under the name that says so.
    pub user_id: UserId,
    /// The display name.
    pub name: Option<String>,
    /// The picture.
    pub avatar: Option<String>,
    /// What the participant is here.
    pub role: ParticipantRole,
    /// Since when.
    pub joined_at: Timestamp,
    /// Whether connected; `null` while presence is not known.
    pub online: Option<bool>,
    /// When last connected, as far as known.
    pub last_seen_at: Option<Timestamp>,
    /// Everything up to this `seq` is read.
    pub read_up_to: Seq,
}

/// A chat as one participant sees it.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Chat {
    /// The chat.
    #[serde(rename = "_id")]
    pub id: ChatId,
    /// What kind of conversation it is.
    #[serde(rename = "type")]
    pub chat_type: ChatType,
    /// A group's title.
    pub title: Option<String>,
    /// What a support chat is about.
    pub subject: Option<String>,
    /// The host's own data.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub metadata: Option<Box<RawValue>>,
    /// The host's purchase request that the chat belongs to.
    pub purchase_request_id: Option<String>,
    /// Its buyer.
    pub buyer_id: Option<UserId>,
    /// Its seller.
    pub seller_id: Option<UserId>,
    /// Who created it.
    pub created_by: UserId,
    /// At most 100 of them, the viewer always among them.
    #[cfg_attr(feature = "openapi", schema(max_items = 100))]
    pub participants: Vec<Participant>,
    /// All of them.
    pub participant_count: u64,
    /// The newest message.
    pub last_message: Option<Message>,
    /// What the viewer has not read.
    pub unread_count: u64,
    /// Whether the viewer has put it away.
    pub archived: bool,
    /// Whether the viewer wants no notifications of it.
    pub muted: bool,
    /// Until when; `null` while not muted, or if muted for good.
    pub muted_until: Option<Timestamp>,
    /// Messages ever sent in it.
    pub message_count: u64,
    /// The position from which a join misses nothing of what this object does not show.
    pub version: Version,
    /// When created.
    pub created_at: Timestamp,
    /// When last spoken in or changed.
    pub updated_at: Timestamp,
    /// Unread messages of each listed participant; only where one chat is asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unread_counts: Option<BTreeMap<UserId, u64>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(id: &str) -> UserId {
        UserId::parse(id).unwrap()
    }

    fn parse(ids: &[&str], chat_type: ChatType) -> Result<NewChat, Invalid> {
        NewChat::parse(user("me"), ids.iter().map(|id| user(id)).collect(), chat_type, None, None)
    }

    #[test]
    fn the_caller_counts_once_whether_named_or_not() {
        for ids in [&["you"][..], &["you", "me"], &["me", "you", "you"]] {
            assert_eq!(parse(ids, ChatType::Direct).unwrap().others, [user("you")]);
        }
        assert!(parse(&["me"], ChatType::Direct).is_err());
        assert!(parse(&[], ChatType::Group).is_err());
    }

    #[test]
    fn direct_is_exactly_two() {
        assert!(parse(&["a", "b"], ChatType::Direct).is_err());
        assert!(parse(&["a", "b"], ChatType::Group).is_ok());
        assert!(parse(&["a"], ChatType::Group).is_ok());
        assert!(parse(&["a"], ChatType::Support).is_err());
    }

    #[test]
    fn a_purchase_request_has_a_buyer_and_another_seller() {
        let new = |request: &str, buyer: &str, seller: &str| {
            let request = PurchaseRequestId::parse(request).unwrap();
            NewChat::of_purchase_request(request, user(buyer), user(seller))
        };
        assert!(new("p", "a", "a").is_err());
        let key = |request, buyer, seller| new(request, buyer, seller).unwrap().key().unwrap();
        let keys = [
            key("p", "a", "b"),
            key("p", "b", "a"),
            key("q", "a", "b"),
            key("p:1", "a", "b"),
            key("p", "1:a", "b"),
            direct_key(&user("a"), &user("b")),
        ];
        for (n, key) in keys.iter().enumerate() {
            assert!(!keys[n + 1..].contains(key), "{key}");
        }
    }

    #[test]
    fn a_pair_has_one_key_and_two_pairs_have_two() {
        assert_eq!(direct_key(&user("a"), &user("b")), direct_key(&user("b"), &user("a")));
        assert_ne!(direct_key(&user("a:1"), &user("b")), direct_key(&user("a"), &user("1:b")));
        assert_ne!(direct_key(&user("a"), &user("1:b")), direct_key(&user("a:1"), &user("b")));
    }
}
