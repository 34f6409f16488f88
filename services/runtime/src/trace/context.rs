//! W3C's trace context: the header `traceparent`.

/// A span that another one is a child of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    /// The trace's id, not 0.
    pub trace_id: u128,
    /// The span's id, not 0.
    pub span_id: u64,
    /// The lowest bit: it is sampled.
    pub flags: u8,
}

impl TraceContext {
    /// Reads a `traceparent`; `None` for one that is malformed, which counts as none.
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let mut next = |digits| hex(parts.next()?, digits);
        let (version, trace_id, span_id, flags) = (next(2)?, next(32)?, next(16)?, next(2)?);
        // Later versions may add to the end.
        let ends = parts.next().is_none() || version > 0;
        let span_id = u64::try_from(span_id).ok()?;
        let flags = u8::try_from(flags).ok()?;
        let valid = version != 0xff && ends && trace_id != 0 && span_id != 0;
        valid.then_some(Self { trace_id, span_id, flags })
    }

    /// Whether whoever began it records it.
    pub const fn is_sampled(self) -> bool {
        self.flags & 1 == 1
    }
}

/// So many digits, in lower case as the standard has them.
fn hex(text: &str, digits: usize) -> Option<u128> {
    let lower = text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    (lower && text.len() == digits).then(|| u128::from_str_radix(text, 16).ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIVEN: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn reads_what_the_standard_shows() {
        let read = TraceContext::parse(GIVEN).unwrap();
        assert_eq!((read.span_id, read.is_sampled()), (0x00f0_67aa_0ba9_02b7, true));
        assert_eq!(read.trace_id, 0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736);
        let later = GIVEN.replacen("00", "01", 1) + "-more";
        assert_eq!(TraceContext::parse(&later), Some(read), "a later version may have more");
    }

    #[test]
    fn what_is_malformed_is_none() {
        for bad in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(bad), None, "{bad}");
        }
    }
}
