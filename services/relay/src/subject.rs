//! Every subject of the bus, in one place. Only UUIDs enter them: nothing that a user chose.

use parley_domain::ids::ChatId;

/// Events of one chat.
pub(crate) fn chat(chat: ChatId) -> String {
    format!("chat.{chat}")
}

/// Who writes in one chat: the one subject besides asks on which gateways speak.
pub(crate) fn typing(chat: ChatId) -> String {
    format!("typing.{chat}")
}

/// Gateways ask to enter a room; one api pod answers.
pub(crate) const ASK_JOIN: &str = "ask.join";

/// The same, many at once.
pub(crate) const ASK_JOINS: &str = "ask.joins";

/// What did a room miss?
pub(crate) const ASK_CATCH_UP: &str = "ask.catch-up";

/// Where do chats stand?
pub(crate) const ASK_HEADS: &str = "ask.heads";

/// Is a token revoked?
pub(crate) const ASK_REVOKED: &str = "ask.revoked";

/// How do users stand?
pub(crate) const ASK_USERS: &str = "ask.users";

/// What api pods are asked.
pub(crate) const ASKS: [&str; 6] =
    [ASK_JOIN, ASK_JOINS, ASK_CATCH_UP, ASK_HEADS, ASK_REVOKED, ASK_USERS];

/// Which gateways are there? Whoever asks says who it is; every gateway answers, and listens.
pub(crate) const ASK_GATEWAYS: &str = "ask.gateways";

/// What do gateways know of a delivery? Every gateway answers.
pub(crate) const ASK_DELIVERIES: &str = "ask.deliveries";

/// Who sees which chats? Every gateway answers.
pub(crate) const ASK_HERE: &str = "ask.here";

/// The queue group of the api pods.
pub(crate) const API_PODS: &str = "api";

/// Every api pod says here that it lives.
pub(crate) const PODS_API: &str = "pods.api";

/// Which chats people have from now on, or have no more; every gateway listens, and passes on what concerns its
/// connections. One subject: gateways hold the connections of everybody's users.
pub(crate) const USERS_CHATS: &str = "users.chats";

/// Every api pod says here where the chats stand of which it told something.
pub(crate) const HEADS: &str = "heads";

/// Who is online from now on, or is not any more; one courier takes each message.
pub(crate) const TURNS: &str = "turns";

/// The queue group of the couriers.
pub(crate) const COURIERS: &str = "couriers";

/// Whose tokens were revoked; every pod listens.
pub(crate) const USERS_REVOKED: &str = "users.revoked";

/// Nobody listens here: the server's "no responders" proves that it has handled everything before.
pub(crate) const BARRIER: &str = "barrier";
