//! Who is online, added to what is shown. Nobody waits long for it, and where it is not known, it says so.

use std::collections::HashMap;

use parley_domain::chat::{Chat, Participant};
use parley_domain::ids::UserId;
use parley_domain::time::Timestamp;
use parley_relay::Seen;

use crate::app::State;

/// Most people about whom one answer asks; of more, it is not known.
const MOST: usize = 5_000;

impl State {
    /// A chat, with who of it is online.
    pub(crate) async fn with_presence(&self, mut chat: Chat) -> Chat {
        self.add_presence(chat.participants.iter_mut()).await;
        chat
    }

    /// Adds who of these is online, with one question.
    pub(crate) async fn add_presence<'a>(
        &self,
        participants: impl IntoIterator<Item = &'a mut Participant>,
    ) {
        let participants: Vec<&mut Participant> = participants.into_iter().collect();
        let mut users: Vec<UserId> = participants.iter().map(|one| one.user_id.clone()).collect();
        users.sort_unstable();
        users.dedup();
        users.truncate(MOST);
        let Some(seen) = self.presence.of(&users).await else { return };
        let seen: HashMap<UserId, Seen> = users.into_iter().zip(seen).collect();
        for participant in participants {
            if let Some(seen) = seen.get(&participant.user_id) {
                participant.online = Some(seen.online);
                participant.last_seen_at =
                    seen.last_seen_at.map(Timestamp::new).or(participant.last_seen_at);
            }
        }
    }

    /// Whether one user is online; `None` when it is not known.
    pub(crate) async fn seen(&self, user: &UserId) -> Option<Seen> {
        self.presence.of(std::slice::from_ref(user)).await?.pop()
    }
}
