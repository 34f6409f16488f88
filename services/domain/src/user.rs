//! Users: the directory's view of the host application's people and services.

use serde::{Deserialize, Serialize};

use crate::Invalid;
use crate::ids::UserId;
use crate::shown;

/// What a token lets its bearer be. Anything the host calls otherwise (`buyer`, `seller`) is a [`Role::User`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// A person who chats.
    #[default]
    User,
    /// An agent: a participant in every support chat.
    Support,
    /// May read and moderate every chat over REST.
    Admin,
    /// The host application itself.
    Service,
}

impl Role {
    /// The role of a token's claim; unknown and absent ones count as `user`.
    pub fn from_claim(claim: Option<&str>) -> Self {
        match claim {
            Some("support") => Self::Support,
            Some("admin") => Self::Admin,
            Some("service") => Self::Service,
            _ => Self::User,
        }
    }

    /// The word in a claim.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::User => "user",
            Self::Support => "support",
            Self::Admin => "admin",
            Self::Service => "service",
        }
    }

    /// May read every chat over REST without being in it.
    pub const fn reads_every_chat(self) -> bool {
        matches!(self, Self::Admin | Self::Service)
    }

    /// Belongs to the support pool: acts as a participant in every support chat.
    pub const fn is_in_support_pool(self) -> bool {
        matches!(self, Self::Support | Self::Admin)
    }

    /// May speak with `type: system`.
    pub const fn sends_system_messages(self) -> bool {
        matches!(self, Self::Admin | Self::Service)
    }

    /// May delete what others wrote, and change every group, without being in it.
    pub const fn moderates(self) -> bool {
        matches!(self, Self::Admin | Self::Service)
    }

    /// May write the user directory.
    pub const fn manages_users(self) -> bool {
        matches!(self, Self::Service)
    }

    /// May say where events go, and see what became of them.
    pub const fn manages_webhooks(self) -> bool {
        matches!(self, Self::Admin | Self::Service)
    }

    /// May end users: anonymise them, and revoke their tokens.
    pub const fn ends_users(self) -> bool {
        matches!(self, Self::Admin | Self::Service)
    }
}

/// Most characters of a display name.
pub const MAX_NAME: usize = 200;
/// Most users that the directory is told of at once.
pub const MAX_PROFILES: usize = 1_000;
/// Most bytes of an avatar's URL.
pub const MAX_AVATAR: usize = 2048;

/// A display name: 1–200 characters, no control characters, something to be seen. What is invisible or turns the direction of
/// text is taken out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
#[cfg_attr(
    feature = "openapi",
    derive(utoipa::ToSchema),
    schema(value_type = String, min_length = 1, max_length = 200, pattern = r"^[^\u0000-\u001f\u007f-\u009f]*[^\u0000-\u0020\u007f-\u00a0\u00ad\u034f\u061c\u115f\u1160\u1680\u17b4\u17b5\u180b-\u180f\u2000-\u200f\u2028-\u202f\u205f-\u206f\u2800\u3000\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb][^\u0000-\u001f\u007f-\u009f]*$", example = "Alice")
)]
pub struct Name(Box<str>);

impl Name {
    /// Accepts a name within the limits.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if !shown::is_seen(text) || text.chars().count() > MAX_NAME {
            return Err(Invalid::new("name", format!("must have 1 to {MAX_NAME} characters")));
        }
        if text.chars().any(char::is_control) {
            return Err(Invalid::new("name", "must not contain control characters"));
        }
        Ok(Self(shown::cleaned(text).into()))
    }

    /// The name as it is shown.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The URL of a picture, `http(s)` or a path of the host's own site; never `javascript:` or `data:`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(transparent)]
#[cfg_attr(
    feature = "openapi",
    derive(utoipa::ToSchema),
    schema(value_type = String, min_length = 1, max_length = 2048, pattern = r"^(https?:/)?/[^\u0000-\u001f\u007f-\u009f\t-\r \u0085\u00a0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000]*$", example = "https://cdn.example/alice.png")
)]
pub struct Avatar(Box<str>);

impl Avatar {
    /// Accepts a URL within the limits.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let scheme_ok = ["https://", "http://", "/"].iter().any(|start| text.starts_with(start));
        let clean = !text.chars().any(|c| c.is_control() || c.is_whitespace());
        if !scheme_ok || !clean || text.len() > MAX_AVATAR {
            return Err(Invalid::new("avatar", "must be an http(s) URL or a path"));
        }
        Ok(Self(text.into()))
    }

    /// The URL as given.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What the directory is told about a user.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Profile {
    /// Whose profile.
    pub id: UserId,
    /// The display name; `None` leaves the known one.
    pub name: Option<Name>,
    /// The picture; `None` leaves the known one.
    pub avatar: Option<Avatar>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_roles_are_users() {
        assert_eq!(Role::from_claim(Some("buyer")), Role::User);
        assert_eq!(Role::from_claim(None), Role::User);
        assert_eq!(Role::from_claim(Some("Admin")), Role::User, "roles are case-sensitive");
        assert_eq!(Role::from_claim(Some("service")), Role::Service);
    }

    #[test]
    fn avatars_carry_no_script() {
        for bad in ["javascript:alert(1)", "data:text/html,x", "", "https://a b", "ftp://x"] {
            assert!(Avatar::parse(bad).is_err(), "{bad:?}");
        }
        assert!(Avatar::parse("https://cdn.example/a.png").is_ok());
    }
}
