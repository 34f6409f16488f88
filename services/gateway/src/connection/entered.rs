//! The chats that a connection is in.

use std::mem;

use parley_domain::ids::ChatId;

/// One after the other: most connections are in one chat, and none is in more than `PARLEY_MAX_ROOMS` says, some hundreds. A set
/// of one takes a hundred bytes more, in each connection.
#[derive(Debug, Default)]
pub(crate) struct Entered(Vec<ChatId>);

impl Entered {
    pub(crate) fn contains(&self, chat: &ChatId) -> bool {
        self.0.contains(chat)
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn insert(&mut self, chat: ChatId) {
        if !self.contains(&chat) {
            if self.0.is_empty() {
                // Left alone, a vector begins with room for four.
                self.0.reserve_exact(1);
            }
            self.0.push(chat);
        }
    }

    /// Whether it was in there.
    pub(crate) fn remove(&mut self, chat: &ChatId) -> bool {
        let place = self.0.iter().position(|it| it == chat);
        place.map(|place| self.0.swap_remove(place)).is_some()
    }

    /// All of them; it is in none any more.
    pub(crate) fn take(&mut self) -> impl Iterator<Item = ChatId> + use<> {
        mem::take(&mut self.0).into_iter()
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    #[test]
    fn a_chat_is_entered_once_and_left_once() {
        let [one, other] = [1, 2].map(|id| ChatId::from(Uuid::from_u128(id)));
        let mut entered = Entered::default();
        entered.insert(one);
        entered.insert(one);
        entered.insert(other);
        assert!(entered.len() == 2 && entered.contains(&other));
        assert!(entered.remove(&one) && !entered.remove(&one));
        assert_eq!(entered.take().collect::<Vec<_>>(), [other]);
        assert_eq!(entered.len(), 0);
    }
}
