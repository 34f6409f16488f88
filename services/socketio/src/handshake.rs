//! What is kept of the request that opened a session.

use http::{HeaderMap, HeaderName, header};
use std::borrow::Cow;
use std::net::SocketAddr;

/// How a session's bytes travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Transport {
    /// HTTP long-polling.
    Polling,
    /// WebSocket.
    WebSocket,
}

impl Transport {
    /// The name in the `transport` parameter.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Polling => "polling",
            Self::WebSocket => "websocket",
        }
    }
}

/// What is kept of the request that opened a session: nothing else of it stays alive.
#[derive(Debug)]
pub struct Handshake {
    query: Box<[(Box<str>, Box<str>)]>,
    headers: Box<[(HeaderName, Box<str>)]>,
    peer: SocketAddr,
    transport: Transport,
}

/// The only headers that are kept.
const KEPT: [HeaderName; 4] = [
    header::AUTHORIZATION,
    header::ORIGIN,
    header::USER_AGENT,
    HeaderName::from_static("x-forwarded-for"),
];

impl Handshake {
    pub(crate) fn new(
        query: &Query,
        headers: &HeaderMap,
        peer: SocketAddr,
        transport: Transport,
    ) -> Self {
        let kept = KEPT.into_iter().filter_map(|name| {
            let value = headers.get(&name)?.to_str().ok()?;
            Some((name, value.into()))
        });
        Self { query: query.0.as_slice().into(), headers: kept.collect(), peer, transport }
    }

    /// The first value of a query parameter, decoded.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query.iter().find(|(key, _)| &**key == name).map(|(_, value)| &**value)
    }

    /// All query parameters, decoded, in order.
    pub fn query_pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        self.query.iter().map(|(key, value)| (&**key, &**value))
    }

    fn header(&self, name: &HeaderName) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| &**value)
    }

    /// The `Authorization` header.
    pub fn authorization(&self) -> Option<&str> {
        self.header(&header::AUTHORIZATION)
    }

    /// The `Origin` header.
    pub fn origin(&self) -> Option<&str> {
        self.header(&header::ORIGIN)
    }

    /// The `User-Agent` header.
    pub fn user_agent(&self) -> Option<&str> {
        self.header(&header::USER_AGENT)
    }

    /// The `X-Forwarded-For` header, as it came: whether to believe it is the application's to know.
    pub fn forwarded_for(&self) -> Option<&str> {
        self.header(&KEPT[3])
    }

    /// The other end of the TCP connection that carried the handshake.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// The transport of the handshake; a session may change it later.
    pub fn transport(&self) -> Transport {
        self.transport
    }
}

/// A decoded query string.
#[derive(Debug, Default)]
pub(crate) struct Query(Vec<(Box<str>, Box<str>)>);

impl Query {
    pub(crate) fn parse(query: &str) -> Self {
        let pairs = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key).into(), decode(value).into())
        });
        Self(pairs.collect())
    }

    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(key, _)| &**key == name).map(|(_, value)| &**value)
    }
}

/// Percent and plus decoding; what is not UTF-8 afterwards is replaced.
fn decode(text: &str) -> Cow<'_, str> {
    if !text.contains(['%', '+']) {
        return Cow::Borrowed(text);
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let [first, tail @ ..] = rest {
        let escaped = match (first, tail) {
            (b'%', [high, low, ..]) => hex(*high).zip(hex(*low)).map(|(h, l)| h << 4 | l),
            _ => None,
        };
        match (escaped, first) {
            (Some(byte), _) => {
                bytes.push(byte);
                rest = &tail[2..];
                continue;
            }
            (None, b'+') => bytes.push(b' '),
            (None, other) => bytes.push(*other),
        }
        rest = tail;
    }
    Cow::Owned(String::from_utf8_lossy(&bytes).into_owned())
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_is_decoded() {
        let query = Query::parse("EIO=4&token=a%2Fb+c%zz&&empty&bad=%ff%f");
        assert_eq!(query.get("EIO"), Some("4"));
        assert_eq!(query.get("token"), Some("a/b c%zz"));
        assert_eq!(query.get("empty"), Some(""));
        assert_eq!(query.get("bad"), Some("\u{fffd}%f"));
        assert_eq!(query.get("none"), None);
    }

    #[test]
    fn only_the_named_headers_are_kept() {
        let mut headers = HeaderMap::new();
        headers.insert("authorization", "Bearer x".parse().expect("a header value"));
        headers.insert("cookie", "secret".parse().expect("a header value"));
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let kept = Handshake::new(&Query::parse("a=1"), &headers, peer, Transport::Polling);
        assert_eq!(kept.authorization(), Some("Bearer x"));
        assert_eq!((kept.origin(), kept.user_agent(), kept.forwarded_for()), (None, None, None));
        assert_eq!(kept.query("a"), Some("1"));
        assert_eq!(kept.query_pairs().count(), 1);
        assert!(!format!("{kept:?}").contains("secret"));
    }
}
