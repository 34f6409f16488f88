//! The support pool is in every support chat by its role. An agent becomes a participant like any other where they first
//! act: send, mark, archive or join.

use parley_domain::ids::{ChatId, UserId};
use parley_domain::user::Role;
use parley_store::{EnterSupport, Store, StoreError};

use crate::teller::Teller;

/// Makes the caller a participant of the chat, if it is a support chat and the role one of the pool; says whether they are
/// one now.
pub(crate) async fn enter(
    store: &Store,
    teller: &Teller,
    chat: ChatId,
    (user, role): (&UserId, Role),
) -> Result<bool, StoreError> {
    if !role.is_in_support_pool() {
        return Ok(false);
    }
    match store.enter_support_chat(chat, user).await? {
        EnterSupport::Entered(committed) => {
            teller.tell(&committed);
            Ok(true)
        }
        EnterSupport::AlreadyIn => Ok(true),
        EnterSupport::ChatNotFound | EnterSupport::NotSupport => Ok(false),
    }
}
