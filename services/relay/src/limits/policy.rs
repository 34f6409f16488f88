//! How much is too much, by setting.

use std::num::NonZeroUsize;
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use parley_domain::user::Role;

use crate::RelayError;

/// Bounds of what a setting may say; they keep the scripts' arithmetic exact.
const MAX_LIMIT: u32 = 1_000_000;
/// Every attempt reads its user's window and writes it again, 24 bytes for each message.
const MAX_MESSAGES: u32 = 10_000;
const MAX_SECONDS: u64 = 86_400;

/// How many in how long: `20/60` is 20 in 60 s.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// How many; at least one.
    pub limit: u32,
    /// In how long.
    pub window: Duration,
}

impl Policy {
    /// What one of `pods` may grant by itself. Divided, but nobody is locked out.
    pub(crate) fn share(self, pods: usize) -> Self {
        let pods = u32::try_from(pods).unwrap_or(u32::MAX).max(1);
        Self { limit: (self.limit / pods).max(1), window: self.window }
    }

    /// The pause between two if they come evenly.
    pub(crate) fn spacing(self) -> Duration {
        (self.window / self.limit.max(1)).max(Duration::from_micros(1))
    }
}

impl FromStr for Policy {
    type Err = RelayError;

    fn from_str(text: &str) -> Result<Self, RelayError> {
        let wrong = || RelayError::Limits(format!("{text:?} is not count/seconds, as in 20/60"));
        let (limit, seconds) = text.split_once('/').ok_or_else(wrong)?;
        let limit = limit.parse().map_err(|_| wrong())?;
        let seconds = seconds.parse().map_err(|_| wrong())?;
        if !(1..=MAX_LIMIT).contains(&limit) || !(1..=MAX_SECONDS).contains(&seconds) {
            let bounds =
                format!("{text:?}: counts are 1 to {MAX_LIMIT}, seconds 1 to {MAX_SECONDS}");
            return Err(RelayError::Limits(bounds));
        }
        Ok(Self { limit, window: Duration::from_secs(seconds) })
    }
}

/// What each role may send; `None` is without limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MessageLimits {
    user: Option<Policy>,
    support: Option<Policy>,
    admin: Option<Policy>,
    service: Option<Policy>,
}

impl MessageLimits {
    fn of(&self, role: Role) -> Option<Policy> {
        match role {
            Role::User => self.user,
            Role::Support => self.support,
            Role::Admin => self.admin,
            Role::Service => self.service,
        }
    }

    fn all(&self) -> impl Iterator<Item = Policy> {
        [self.user, self.support, self.admin, self.service].into_iter().flatten()
    }
}

impl FromStr for MessageLimits {
    type Err = RelayError;

    fn from_str(text: &str) -> Result<Self, RelayError> {
        const ROLES: [&str; 4] = ["user", "support", "admin", "service"];
        let mut said = [None; ROLES.len()];
        for part in text.split(',').map(str::trim) {
            let wrong = |why| RelayError::Limits(format!("{part:?} {why}"));
            let (role, policy) =
                part.split_once('=').ok_or_else(|| wrong("is not role=count/seconds"))?;
            let place = ROLES.iter().position(|known| *known == role);
            let place = place.ok_or_else(|| wrong("does not begin with a role"))?;
            let policy = if policy == "none" { None } else { Some(policy.parse()?) };
            if said[place].replace(policy).is_some() {
                return Err(wrong("names a role again"));
            }
        }
        let user = said[0].ok_or_else(|| RelayError::Limits("user=… is missing".to_owned()))?;
        let [support, admin, service] = [1, 2, 3].map(|place| said[place].unwrap_or(user));
        Ok(Self { user, support, admin, service })
    }
}

/// Limits.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitSettings {
    /// New messages that one user may send, by role: `role=count/seconds` or `role=none`, separated by commas; a role
    /// that is not named has the user's
    #[arg(
        long,
        env = "PARLEY_MESSAGE_LIMITS",
        default_value = "user=20/60,support=20/60,admin=20/60,service=none",
        value_name = "LIMITS"
    )]
    pub message_limits: MessageLimits,

    /// Attempts to send that one user may make, replays and refused ones too: `count/seconds`
    #[arg(
        long,
        env = "PARLEY_ATTEMPT_LIMIT",
        default_value = "600/60",
        value_name = "COUNT/SECONDS"
    )]
    pub attempt_limit: Policy,

    /// Users whose windows this pod remembers, for the time when Redis is gone
    #[arg(long, env = "PARLEY_LIMITER_USERS", default_value = "100000", value_name = "COUNT")]
    pub limiter_users: NonZeroUsize,
}

impl LimitSettings {
    /// Tests what single settings cannot say.
    pub fn check(&self) -> Result<(), RelayError> {
        if self.message_limits.all().any(|policy| policy.limit > MAX_MESSAGES) {
            let why = format!(
                "PARLEY_MESSAGE_LIMITS: more than {MAX_MESSAGES} in a window; say `none` instead"
            );
            return Err(RelayError::Limits(why));
        }
        if self.message_limits.all().any(|policy| policy.limit > self.attempt_limit.limit) {
            let why = "PARLEY_ATTEMPT_LIMIT allows fewer attempts than PARLEY_MESSAGE_LIMITS allows messages";
            return Err(RelayError::Limits(why.to_owned()));
        }
        Ok(())
    }

    /// What a user with this role may send; `None` is without limit.
    pub fn of(&self, role: Role) -> Option<Policy> {
        self.message_limits.of(role)
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Settings {
        #[command(flatten)]
        limits: LimitSettings,
    }

    fn settings(arguments: &[&str]) -> Result<LimitSettings, String> {
        let arguments = [&["test"], arguments].concat();
        Settings::try_parse_from(arguments)
            .map(|settings| settings.limits)
            .map_err(|error| error.to_string())
    }

    fn policy(limit: u32, seconds: u64) -> Policy {
        Policy { limit, window: Duration::from_secs(seconds) }
    }

    #[test]
    fn by_default_the_host_is_free_and_everybody_else_has_20_a_minute() {
        let limits = settings(&[]).unwrap();
        assert_eq!(limits.check(), Ok(()));
        for role in [Role::User, Role::Support, Role::Admin] {
            assert_eq!(limits.of(role), Some(policy(20, 60)), "{role:?}");
        }
        assert_eq!(limits.of(Role::Service), None);
        assert_eq!(limits.attempt_limit, policy(600, 60));
    }

    #[test]
    fn a_role_that_is_not_named_has_the_users_limit() {
        let limits = settings(&["--message-limits", "support=none, user=5/10"]).unwrap();
        let of =
            [Role::User, Role::Support, Role::Admin, Role::Service].map(|role| limits.of(role));
        assert_eq!(of, [Some(policy(5, 10)), None, Some(policy(5, 10)), Some(policy(5, 10))]);
    }

    #[test]
    fn what_makes_no_sense_is_refused() {
        for bad in [
            "",
            "20/60",
            "user",
            "user=",
            "user=20",
            "user=0/60",
            "user=20/0",
            "user=-1/60",
            "user=20/60s",
            "user=2000000/60",
            "user=20/86401",
            "User=20/60",
            "guest=20/60",
            "support=20/60",
            "user=20/60,user=30/60",
            "user=20/60,",
        ] {
            assert!(settings(&["--message-limits", bad]).is_err(), "{bad:?}");
        }
        assert!(settings(&["--attempt-limit", "none"]).is_err());
        assert!(settings(&["--limiter-users", "0"]).is_err());
        let unreachable = settings(&["--attempt-limit", "19/60"]).unwrap();
        assert!(matches!(unreachable.check(), Err(RelayError::Limits(_))));
        let many = ["--message-limits", "user=10001/60", "--attempt-limit", "20000/60"];
        assert!(matches!(settings(&many).unwrap().check(), Err(RelayError::Limits(_))));
    }

    #[test]
    fn a_share_is_a_part_and_never_nothing() {
        let shares = [0, 1, 2, 3, 20, 21, usize::MAX].map(|pods| policy(20, 60).share(pods).limit);
        assert_eq!(shares, [20, 20, 10, 6, 1, 1, 1]);
    }
}
