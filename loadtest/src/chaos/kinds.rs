//! The kinds of faults there are, and their names.

use std::fmt;
use std::str::FromStr;

/// A part of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    Api,
    Gateway,
    Nats,
    Redis,
    Postgres,
    Courier,
}

/// What is done to a part, or to the way to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Action {
    /// SIGKILL, and a new start after a while.
    Kill,
    /// SIGSTOP to all of its processes, SIGCONT after a while.
    Hang,
    /// It is asked to stop, and started again at once.
    Restart,
    /// All of its processes are killed, and started again after a while.
    Outage,
    /// All of its processes are restarted, one after the other.
    Roll,
    /// Whatever goes to it or comes from it is late.
    Delay,
    /// The connections to it are half-open: they carry nothing, and nobody is told.
    Silence,
}

/// A kind of fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Kind {
    /// Clients lose their connections, without a word.
    Cut,
    /// A part has something done to it.
    To(Action, Part),
    /// Redis forgets everything.
    Flush,
    /// The clock by which tokens are made is wrong.
    Skew,
    /// The disk of the files is full.
    Fill,
    /// Some clients do not read.
    Pause,
}

/// The parts that pods reach over the network, and those that clients do.
const REACHED: [Part; 5] = [Part::Api, Part::Gateway, Part::Nats, Part::Redis, Part::Postgres];

impl Kind {
    /// Those that a small cluster can have.
    pub(crate) fn basic() -> Vec<Self> {
        let to = |action| REACHED.map(|part| Self::To(action, part));
        let actions = [Action::Kill, Action::Hang, Action::Restart];
        std::iter::once(Self::Cut).chain(actions.into_iter().flat_map(to)).collect()
    }

    /// Every kind there is.
    pub(crate) fn all() -> Vec<Self> {
        let courier = [Action::Kill, Action::Hang, Action::Restart];
        let courier = courier.map(|action| Self::To(action, Part::Courier));
        let rolls = [Part::Api, Part::Gateway].map(|part| Self::To(Action::Roll, part));
        let ways = [Action::Delay, Action::Silence].into_iter();
        let ways = ways.flat_map(|action| REACHED.map(|part| Self::To(action, part)));
        let single = [Self::To(Action::Outage, Part::Nats)].into_iter();
        let single = single.chain([Self::Flush, Self::Skew, Self::Fill, Self::Pause]);
        Self::basic().into_iter().chain(courier).chain(rolls).chain(ways).chain(single).collect()
    }

    /// Milliseconds, from and to. What hangs must at times hang for longer than clients wait for a heartbeat.
    pub(super) const fn lasts(self) -> (u64, u64) {
        match self {
            Self::Cut | Self::Flush | Self::To(Action::Restart | Action::Roll, _) => (0, 0),
            Self::To(Action::Kill, _) => (300, 4000),
            Self::To(Action::Hang | Action::Silence, _) => (500, 7000),
            Self::To(Action::Outage, _) => (500, 5000),
            Self::To(Action::Delay, _) | Self::Skew | Self::Fill => (2000, 6000),
            Self::Pause => (3000, 8000),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Api => "api",
            Self::Gateway => "gateway",
            Self::Nats => "nats",
            Self::Redis => "redis",
            Self::Postgres => "postgres",
            Self::Courier => "courier",
        })
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut => f.write_str("cut"),
            Self::Flush => f.write_str("flush-redis"),
            Self::Skew => f.write_str("skew-tokens"),
            Self::Fill => f.write_str("fill-files"),
            Self::Pause => f.write_str("pause-clients"),
            Self::To(action, part) => {
                write!(f, "{}-{part}", format!("{action:?}").to_lowercase())
            }
        }
    }
}

/// Kinds of faults, as the command line names them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kinds(pub(crate) Vec<Kind>);

impl Kinds {
    /// Whether a small cluster can have all of them.
    pub(crate) fn are_basic(&self) -> bool {
        self.0.iter().all(|kind| Kind::basic().contains(kind))
    }

    /// Whether it is every kind there is.
    pub(crate) fn are_all(&self) -> bool {
        self.0 == Kind::all()
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.are_all() {
            return f.write_str("all");
        }
        if self.0 == Kind::basic() {
            return f.write_str("basic");
        }
        let names: Vec<_> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&names.join(","))
    }
}

impl FromStr for Kinds {
    type Err = String;

    /// `basic`, `all`, or words parted by commas: a kind (`kill-api`), an action (`hang`) or a part (`nats`), which mean
    /// basic kinds if there are such.
    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "basic" => return Ok(Self(Kind::basic())),
            "all" => return Ok(Self(Kind::all())),
            _ => {}
        }
        let mut kinds = Vec::new();
        for word in text.split(',') {
            let is_meant = |kind: &Kind| {
                let name = kind.to_string();
                name == word || name.split('-').any(|part| part == word)
            };
            let mut meant: Vec<_> = Kind::basic().into_iter().filter(is_meant).collect();
            if meant.is_empty() {
                meant = Kind::all().into_iter().filter(is_meant).collect();
            }
            if meant.is_empty() {
                let all: Vec<_> = Kind::all().iter().map(ToString::to_string).collect();
                return Err(format!(
                    "there is no fault {word}; there are basic, all, {}",
                    all.join(", ")
                ));
            }
            meant.retain(|kind| !kinds.contains(kind));
            kinds.append(&mut meant);
        }
        Ok(Self(kinds))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.parse::<Kinds>().unwrap().0.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn kinds_are_named_by_kind_action_or_part() {
        assert_eq!((names("basic").len(), names("all").len()), (16, 36));
        assert_eq!(names("cut,hang-nats"), ["cut", "hang-nats"]);
        assert_eq!(names("redis"), ["kill-redis", "hang-redis", "restart-redis"]);
        assert_eq!(names("kill,kill-api").len(), 5);
        assert_eq!(names("courier"), ["kill-courier", "hang-courier", "restart-courier"]);
        assert_eq!(names("silence").len(), 5);
        assert_eq!(names("flush,skew,fill,pause").len(), 4);
        for wrong in ["", "burn", "kill-", "cut,"] {
            assert!(wrong.parse::<Kinds>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_shown_is_understood_again() {
        for text in ["all", "basic", "cut,hang-nats", "silence-redis,roll-gateway"] {
            let kinds: Kinds = text.parse().unwrap();
            assert_eq!(kinds.to_string(), text);
        }
        for kind in Kind::all() {
            assert_eq!(kind.to_string().parse(), Ok(Kinds(vec![kind])));
        }
        assert!("kill,hang".parse::<Kinds>().unwrap().are_basic());
        assert!(!"kill,flush".parse::<Kinds>().unwrap().are_basic());
    }
}
