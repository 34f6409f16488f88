//! Every subject of the bus, in one place. Only UUIDs enter them: nothing that a user chose.

use parley_domain::ids::ChatId;

/// Events of one chat.
pub(crate) fn chat(chat: ChatId) -> String {
    format!("chat.{chat}")
}

/// Gateways ask to enter a room; one api pod answers.
pub(crate) const ASK_JOIN: &str = "ask.join";

/// The queue group of the api pods.
pub(crate) const API_PODS: &str = "api";

/// Nobody listens here: the server's "no responders" proves that it has handled everything before.
pub(crate) const BARRIER: &str = "barrier";
