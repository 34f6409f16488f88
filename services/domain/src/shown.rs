//! What is shown as the name of somebody or something. It comes from people, and stands beside what others are called: it must not
//! pass for one of those, nor for nothing at all.

/// The flag whose tags say whose it is: Wales is written as one, and the tags of its letters.
const TAGGED: char = '\u{1f3f4}';

/// What is left of a name once everything is out of it that cannot be seen, or turns the direction of what stands around
/// it. Marks, joiners and selectors stay, which some scripts and emoji are written with.
pub(crate) fn cleaned(text: &str) -> String {
    let mut tagged = false;
    let stays = |c: &char| {
        tagged = *c == TAGGED || tagged && is_tag(*c);
        tagged || !misleads(*c)
    };
    text.chars().filter(stays).collect()
}

/// Whether anything of it can be seen.
pub(crate) fn is_seen(text: &str) -> bool {
    text.chars().any(|c| !c.is_whitespace() && !c.is_control() && !misleads(c) && !is_blank(c))
}

/// Characters that nobody sees, and that make `nimdA` look like `Admin`, or two names like one: those that Unicode says are
/// ignorable by default, but for [`is_blank`]'s, and the marks of annotations.
pub(crate) const fn misleads(c: char) -> bool {
    matches!(
        c,
        '\u{ad}'
            | '\u{180e}'
            | '\u{200b}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{feff}'
            | '\u{fff0}'..='\u{fffb}'
            | '\u{1bca0}'..='\u{1bca3}'
            | '\u{1d173}'..='\u{1d17a}'
            | '\u{e0000}'..='\u{e00ff}'
            | '\u{e01f0}'..='\u{e0fff}'
    )
}

/// Letters that nobody sees, and the end of them.
const fn is_tag(c: char) -> bool {
    matches!(c, '\u{e0020}'..='\u{e007f}')
}

/// Characters that have a use within a name, and make none by themselves.
const fn is_blank(c: char) -> bool {
    matches!(
        c,
        '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180d}'
            | '\u{180f}'
            | '\u{200c}'..='\u{200f}'
            | '\u{2800}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{e0100}'..='\u{e01ef}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_misleads_goes_and_what_scripts_are_written_with_stays() {
        assert_eq!(cleaned("\u{202e}nimdA\u{200b}"), "nimdA");
        assert_eq!(cleaned("Ad\u{e0041}\u{e007f}min\u{2065}\u{fff3}\u{1d173}"), "Admin");
        let wales = "\u{1f3f4}\u{e0067}\u{e0062}\u{e0077}\u{e006c}\u{e0073}\u{e007f}";
        assert_eq!(cleaned(&format!("{wales}a\u{e0041}")), format!("{wales}a"));
        for whole in [
            "Ana\u{200d}",
            "\u{5d0}\u{200f}",
            "a b",
            "\u{845b}\u{e0100}",
            "\u{1F468}\u{200d}\u{1F4BB}\u{fe0f}",
        ] {
            assert_eq!(cleaned(whole), whole);
        }
    }

    #[test]
    fn what_only_has_blanks_is_nothing() {
        for unseen in [
            "",
            " ",
            "\0",
            "\u{200d}",
            "\u{3164}\u{2800}",
            "\u{200f} \u{202e}",
            "\u{fe0f}\u{e01ef}",
            "\u{17b4}\u{180b}",
            "\u{2065}\u{fff8}",
            "\u{e0041}\u{e007f}",
        ] {
            assert!(!is_seen(unseen), "{unseen:?}");
        }
        for seen in ["a", " a", "\u{200f}\u{5d0}", "\u{1F4BB}\u{fe0f}"] {
            assert!(is_seen(seen), "{seen:?}");
        }
    }
}
