//! Files: what is sent, and how it is known again.

use std::fmt::Write;

const BOUNDARY: &str = "one-file";

/// Some kilobytes that no other key has.
pub(crate) fn content(key: &str) -> String {
    (0..200).fold(String::new(), |mut text, line| {
        let _ = writeln!(text, "{key}, line {line}");
        text
    })
}

/// By this, bytes are told apart (FNV-1a).
pub(crate) fn sum(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |sum, byte| {
        (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

/// The whole request that sends it under this key.
pub(crate) fn request(path: &str, token: &str, key: &str, content: &str) -> Vec<u8> {
    let body = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"{key}.txt\"\r\n\
        Content-Type: text/plain\r\n\r\n{content}\r\n--{BOUNDARY}--\r\n"
    );
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nHost: parley\r\nAuthorization: Bearer {token}\r\nIdempotency-Key: {key}\r\n\
        Content-Type: multipart/form-data; boundary={BOUNDARY}\r\nContent-Length: {length}\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_as_long_as_it_says() {
        let whole = String::from_utf8(request("/f", "t", "k", "hello")).unwrap();
        let (head, body) = whole.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
        assert!(body.contains("\r\n\r\nhello\r\n--one-file--\r\n"), "{body}");
    }

    #[test]
    fn every_key_has_content_of_its_own() {
        let [one, other] = ["f1-1", "f1-2"].map(content);
        assert!(one.len() > 2000 && one != other);
        assert_ne!(sum(one.as_bytes()), sum(other.as_bytes()));
        // As published for this function.
        assert_eq!((sum(b""), sum(b"a")), (0xcbf2_9ce4_8422_2325, 0xaf63_dc4c_8601_ec8c));
    }
}
