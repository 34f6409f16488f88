//! How long a connection may go on to hear something when its token has ended.

use super::recovery::Fault;

/// While nothing is broken.
const WITHIN: u64 = 2_000_000;
/// After the end of a fault, in which nobody may have been told.
const AFTER_A_FAULT: u64 = 5_000_000;

/// The end of a token, and the last moment at which something may be heard by it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Limit {
    pub(super) how: &'static str,
    pub(super) ended: u64,
    pub(super) until: u64,
}

impl Limit {
    /// Whichever end comes first; `None` if the token counts to the end of the run.
    pub(super) fn of(expires: Option<u64>, revoked: Option<u64>, faults: &[Fault]) -> Option<Self> {
        let ends = [(expires, "expired"), (revoked, "was revoked")];
        let ends = ends.into_iter().filter_map(|(at, how)| Some((at?, how)));
        let (ended, how) = ends.min()?;
        Some(Self { how, ended, until: grace(ended, faults) })
    }
}

/// Faults come one after the other: each that begins before time is up, and from which somebody may still be recovering at the
/// token's end, gives more.
fn grace(ended: u64, faults: &[Fault]) -> u64 {
    faults.iter().fold(ended + WITHIN, |until, fault| match fault.over() {
        over if fault.begun < until && over + AFTER_A_FAULT > ended => {
            until.max(over + AFTER_A_FAULT)
        }
        _ => until,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fault(begun: u64, ended: u64) -> Fault {
        let mut fault = Fault::begins(1, String::new(), begun * 1_000_000);
        fault.ends(ended * 1_000_000);
        fault
    }

    fn until(ended: u64, faults: &[Fault]) -> u64 {
        grace(ended * 1_000_000, faults) / 1_000_000
    }

    #[test]
    fn only_faults_around_the_end_give_more_time() {
        assert_eq!(until(10, &[]), 12);
        assert_eq!(until(10, &[fault(1, 5), fault(12, 20)]), 12);
        assert_eq!(until(10, &[fault(1, 9)]), 14);
        assert_eq!(until(10, &[fault(9, 11)]), 16);
        assert_eq!(until(10, &[fault(11, 13)]), 18);
        assert_eq!(until(10, &[fault(9, 11), fault(15, 16), fault(30, 31)]), 21);
    }

    #[test]
    fn the_earlier_end_counts() {
        let limit = Limit::of(Some(3), Some(2), &[]).unwrap();
        assert_eq!((limit.ended, limit.how), (2, "was revoked"));
        assert_eq!(Limit::of(Some(3), None, &[]).unwrap().how, "expired");
        assert_eq!(Limit::of(None, None, &[]), None);
    }
}
