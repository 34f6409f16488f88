//! Being left alone by a chat.

use chrono::{DateTime, TimeDelta, Utc};

use crate::Invalid;

/// Longest mute that has an end.
pub const MAX_MUTE: TimeDelta = TimeDelta::days(3_653);

/// Whether a participant wants notifications of a chat. The chat itself goes on as ever: events, unread counts, order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mute {
    /// Notifications are wanted.
    Off,
    /// They are not, until the participant says otherwise.
    ForGood,
    /// They are not until then.
    Until(DateTime<Utc>),
}

impl Mute {
    /// What a participant asks for at `now`.
    pub fn parse(muted: bool, until: Option<&str>, now: DateTime<Utc>) -> Result<Self, Invalid> {
        let wrong = |rule: &str| Err(Invalid::new("until", rule));
        match (muted, until) {
            (false, None) => Ok(Self::Off),
            (false, Some(_)) => wrong("goes with muted: true only"),
            (true, None) => Ok(Self::ForGood),
            (true, Some(text)) => match DateTime::parse_from_rfc3339(text) {
                Ok(until) if until <= now => wrong("must be in the future"),
                Ok(until) if until - now.fixed_offset() > MAX_MUTE => {
                    wrong("must be within ten years")
                }
                Ok(until) => Ok(Self::Until(until.to_utc())),
                Err(_) => wrong("must be an ISO 8601 time with its offset"),
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mute_has_no_end_or_one_that_lies_ahead() {
        let now = DateTime::parse_from_rfc3339("2026-11-30T12:00:00Z").unwrap().to_utc();
        let parse = |muted, until| Mute::parse(muted, until, now);
        assert_eq!(parse(false, None), Ok(Mute::Off));
        assert_eq!(parse(true, None), Ok(Mute::ForGood));
        let hour = Mute::Until(now + TimeDelta::hours(1));
        assert_eq!(parse(true, Some("2026-11-30T13:00:00.000Z")), Ok(hour));
        assert_eq!(parse(true, Some("2026-11-30T14:00:00+01:00")), Ok(hour));
        for wrong in [
            "2026-11-30T12:00:00Z",
            "2026-11-30T13:00:00+02:00",
            "2036-12-02T12:00:00Z",
            "9999-12-31T23:59:59-23:00",
            "2026-11-30T13:00:00",
            "tomorrow",
            "",
        ] {
            assert_eq!(parse(true, Some(wrong)).unwrap_err().field, "until", "{wrong}");
        }
        assert!(parse(false, Some("2026-11-30T13:00:00Z")).is_err());
    }
}
