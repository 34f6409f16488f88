//! One file per resource: its requests, its answers, its handlers.

pub(crate) mod attachments;
pub(crate) mod changes;
pub(crate) mod chats;
pub(crate) mod messages;
pub(crate) mod mute;
pub(crate) mod participants;
pub(crate) mod preferences;
pub(crate) mod read_state;
pub(crate) mod support;
pub(crate) mod users;
