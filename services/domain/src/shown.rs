//! What is shown as the name of somebody or something. It comes from people, and stands beside what others are called: it must not
//! pass for one of those, nor for nothing at all.

/// What is left of a name once everything is out of it that cannot be seen, or turns the direction of what stands around
/// it. Marks and joiners stay, which some scripts and emoji are written with.
pub(crate) fn cleaned(text: &str) -> String {
    text.chars().filter(|c| !misleads(*c)).collect()
}

/// Whether anything of it can be seen.
pub(crate) fn is_seen(text: &str) -> bool {
    text.chars().any(|c| !c.is_whitespace() && !c.is_control() && !misleads(c) && !is_blank(c))
}

/// Characters that nobody sees, and that make `nimdA` look like `Admin`, or two names like one.
pub(crate) const fn misleads(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{2064}'
            | '\u{2066}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff9}'..='\u{fffb}'
    )
}

/// Characters that have a use within a name, and make none by themselves.
const fn is_blank(c: char) -> bool {
    matches!(
        c,
        '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{200c}'..='\u{200f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_misleads_goes_and_what_scripts_are_written_with_stays() {
        assert_eq!(cleaned("\u{202e}nimdA\u{200b}"), "nimdA");
        for whole in ["Ana\u{200d}", "\u{5d0}\u{200f}", "a b", "\u{1F468}\u{200d}\u{1F4BB}\u{fe0f}"]
        {
            assert_eq!(cleaned(whole), whole);
        }
    }

    #[test]
    fn what_only_has_blanks_is_nothing() {
        for unseen in
            ["", " ", "\u{200d}", "\u{3164}\u{2800}", "\u{200f} \u{202e}", "\u{fe0f}", "\0"]
        {
            assert!(!is_seen(unseen), "{unseen:?}");
        }
        for seen in ["a", " a", "\u{200f}\u{5d0}", "\u{1F4BB}\u{fe0f}"] {
            assert!(is_seen(seen), "{seen:?}");
        }
    }
}
