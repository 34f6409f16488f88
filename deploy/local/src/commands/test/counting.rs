//! How many tests passed, from what each runner prints.

/// Passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) passed: u32,
    pub(super) failed: u32,
}

impl Tally {
    pub(super) const PASSED: Self = Self { passed: 1, failed: 0 };
    pub(super) const FAILED: Self = Self { passed: 0, failed: 1 };

    pub(super) fn add(&mut self, other: Self) {
        self.passed += other.passed;
        self.failed += other.failed;
    }
}

/// Finds counts in one line of a runner's output.
pub(super) type Parse = fn(&str) -> Option<Tally>;

/// `test result: ok. 5 passed; 0 failed; …`
pub(super) fn cargo(line: &str) -> Option<Tally> {
    let (_, counts) = line.strip_prefix("test result: ")?.split_once(". ")?;
    let (passed, rest) = counts.split_once(" passed; ")?;
    let (failed, _) = rest.split_once(" failed")?;
    Some(Tally { passed: passed.parse().ok()?, failed: failed.parse().ok()? })
}

/// `ℹ pass 5`, `ℹ fail 0`, or with `#` in front.
pub(super) fn node(line: &str) -> Option<Tally> {
    let mut words = line.strip_prefix("ℹ ").or_else(|| line.strip_prefix("# "))?.split(' ');
    let (word, count) = (words.next()?, words.next()?.parse().ok()?);
    match word {
        "pass" => Some(Tally { passed: count, failed: 0 }),
        "fail" | "cancelled" => Some(Tally { passed: 0, failed: count }),
        _ => None,
    }
}

/// `5 passed, 0 failed`
pub(super) fn python(line: &str) -> Option<Tally> {
    let (passed, failed) = line.trim().strip_suffix(" failed")?.split_once(" passed, ")?;
    Some(Tally { passed: passed.parse().ok()?, failed: failed.parse().ok()? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_runner_is_understood() {
        let both = Some(Tally { passed: 5, failed: 2 });
        assert_eq!(cargo("test result: FAILED. 5 passed; 2 failed; 1 ignored; 0 measured"), both);
        assert_eq!(cargo("test words ... ok"), None);
        assert_eq!(node("ℹ pass 5"), Some(Tally { passed: 5, failed: 0 }));
        assert_eq!(node("# fail 2"), Some(Tally { passed: 0, failed: 2 }));
        assert_eq!(node("ℹ cancelled 1"), Some(Tally { passed: 0, failed: 1 }));
        assert_eq!(node("ℹ suites 3"), None);
        assert_eq!(python("5 passed, 2 failed"), both);
        assert_eq!(python("alice passed"), None);
    }
}
