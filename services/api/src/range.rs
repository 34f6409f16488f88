//! The part of a file that a `Range` header asks for.

use axum::http::{HeaderMap, header};

/// What is to be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Asked {
    /// All of it.
    Whole,
    /// These bytes.
    Part(std::ops::Range<u64>),
    /// Bytes that are not there.
    Nothing,
}

/// Reads `Range` and `If-Range`. One range is honoured; several, or what is no range of bytes, are answered with the whole
/// file, as RFC 9110 allows.
pub(crate) fn asked(headers: &HeaderMap, size: u64, etag: &str) -> Asked {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    // Our tags are strong and nothing else stands for a state of a file: a date never matches.
    if headers.contains_key(header::IF_RANGE) && text(header::IF_RANGE) != Some(etag) {
        return Asked::Whole;
    }
    let Some(set) = text(header::RANGE).and_then(|range| range.trim().strip_prefix("bytes="))
    else {
        return Asked::Whole;
    };
    let Some((first, last)) = set.trim().split_once('-').filter(|_| !set.contains(',')) else {
        return Asked::Whole;
    };
    let number = |text: &str| match text.trim() {
        "" => Some(None),
        digits if digits.bytes().all(|b| b.is_ascii_digit()) => {
            Some(Some(digits.parse().unwrap_or(u64::MAX)))
        }
        _ => None,
    };
    match (number(first), number(last)) {
        (Some(Some(first)), Some(Some(last))) if first > last => Asked::Whole,
        (Some(Some(first)), Some(last)) if first < size => {
            Asked::Part(first..last.unwrap_or(u64::MAX).saturating_add(1).min(size))
        }
        (Some(None), Some(Some(length))) if length > 0 && size > 0 => {
            Asked::Part(size.saturating_sub(length)..size)
        }
        (Some(Some(_)), Some(_)) | (Some(None), Some(Some(_))) => Asked::Nothing,
        _ => Asked::Whole,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_what_rfc_9110_says() {
        let asked = |range: &str, if_range: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::RANGE, range.parse().unwrap());
            if let Some(tag) = if_range {
                headers.insert(header::IF_RANGE, tag.parse().unwrap());
            }
            asked(&headers, 100, "\"a\"")
        };
        for (range, expected) in [
            ("bytes=0-0", Asked::Part(0..1)),
            ("bytes=0-", Asked::Part(0..100)),
            ("bytes=90-200", Asked::Part(90..100)),
            ("bytes=10-19", Asked::Part(10..20)),
            ("bytes=-1", Asked::Part(99..100)),
            ("bytes=-500", Asked::Part(0..100)),
            ("bytes=0-99999999999999999999999", Asked::Part(0..100)),
            ("bytes=100-", Asked::Nothing),
            ("bytes=99999999999999999999999-", Asked::Nothing),
            ("bytes=-0", Asked::Nothing),
            ("bytes=5-4", Asked::Whole),
            ("bytes=0-1,4-5", Asked::Whole),
            ("bytes=-", Asked::Whole),
            ("bytes=a-b", Asked::Whole),
            ("bytes=+1-2", Asked::Whole),
            ("lines=1-2", Asked::Whole),
        ] {
            assert_eq!(asked(range, None), expected, "{range}");
        }
        assert_eq!(asked("bytes=0-0", Some("\"a\"")), Asked::Part(0..1));
        for other in ["\"b\"", "W/\"a\"", "Sat, 29 Oct 1994 19:43:31 GMT"] {
            assert_eq!(asked("bytes=0-0", Some(other)), Asked::Whole, "{other}");
        }
    }
}
