//! What is kept of the request that opened a session.

use crate::stats::Refusal;
use http::{HeaderMap, HeaderName, header};
use serde::{Deserialize, Serialize};
use std::borrow::Cow;
use std::fmt;
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
pub struct Handshake {
    /// Names and values, decoded, each ended by [`END`]: whatever the client sends, it is one
    /// allocation of about the length of what it sent.
    query: Box<[u8]>,
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

/// A byte that no UTF-8 contains.
const END: u8 = 0xff;
/// The longest query, if there is no `token` in it.
const MAX_QUERY: usize = 4 * 1024;
/// The longest token: an `Authorization` header, or a query with a `token`.
const MAX_TOKEN: usize = 8 * 1024;
/// The longest of the other headers that is kept.
const MAX_HEADER: usize = 512;

impl Handshake {
    pub(crate) fn new(
        query: Query<'_>,
        headers: &HeaderMap,
        peer: SocketAddr,
        transport: Transport,
    ) -> Result<Self, Refusal> {
        if headers.get(header::AUTHORIZATION).is_some_and(|value| value.len() > MAX_TOKEN) {
            return Err(Refusal::BadRequest);
        }
        let kept = KEPT.into_iter().filter_map(|name| {
            let value = headers.get(&name)?.to_str().ok()?;
            let limit = if name == header::AUTHORIZATION { MAX_TOKEN } else { MAX_HEADER };
            (value.len() <= limit).then(|| (name, value.into()))
        });
        Ok(Self { query: query.decoded(), headers: kept.collect(), peer, transport })
    }

    /// The first value of a query parameter, decoded.
    pub fn query(&self, name: &str) -> Option<&str> {
        self.query_pairs().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// All query parameters, decoded, in order.
    pub fn query_pairs(&self) -> impl Iterator<Item = (&str, &str)> {
        let mut parts = self.query.split(|byte| *byte == END);
        let text = |part| std::str::from_utf8(part).ok();
        std::iter::from_fn(move || Some((text(parts.next()?)?, text(parts.next()?)?)))
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

/// A handshake, as it travels with its session.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Record {
    query: Vec<(String, String)>,
    headers: Vec<(String, String)>,
    peer: SocketAddr,
}

impl Handshake {
    /// Of a session that moves, which began with polling.
    pub(crate) fn record(&self) -> Record {
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        let headers = self.headers.iter().map(|(name, value)| owned((name.as_str(), value)));
        Record {
            query: self.query_pairs().map(owned).collect(),
            headers: headers.collect(),
            peer: self.peer,
        }
    }
}

impl From<Record> for Handshake {
    fn from(Record { query, headers, peer }: Record) -> Self {
        let header = |(name, value): (String, String)| {
            let name = KEPT.into_iter().find(|kept| kept.as_str() == name)?;
            Some((name, value.into_boxed_str()))
        };
        Self {
            query: encoded(query.iter().flat_map(|(name, value)| [name.as_str(), value.as_str()])),
            headers: headers.into_iter().filter_map(header).collect(),
            peer,
            transport: Transport::Polling,
        }
    }
}

/// Names and values in the form of [`Handshake`].
fn encoded<'a>(parts: impl Iterator<Item = &'a str>) -> Box<[u8]> {
    let mut whole = Vec::new();
    for part in parts {
        whole.extend_from_slice(part.as_bytes());
        whole.push(END);
    }
    whole.into()
}

impl fmt::Debug for Handshake {
    /// Names without values: there are secrets among them.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let query: Vec<_> = self.query_pairs().map(|(name, _)| name).collect();
        let headers: Vec<_> = self.headers.iter().map(|(name, _)| name.as_str()).collect();
        f.debug_struct("Handshake")
            .field("query", &query)
            .field("headers", &headers)
            .field("peer", &self.peer)
            .field("transport", &self.transport)
            .finish()
    }
}

/// A query string, as it came.
#[derive(Clone, Copy)]
pub(crate) struct Query<'a>(&'a str);

impl<'a> Query<'a> {
    /// None: it is too long.
    pub(crate) fn new(query: &'a str) -> Option<Self> {
        let token =
            query.len() > MAX_QUERY && query.split('&').any(|pair| pair.starts_with("token="));
        let limit = if token { MAX_TOKEN } else { MAX_QUERY };
        (query.len() <= limit).then_some(Self(query))
    }

    fn pairs(self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> {
        self.0.split('&').filter(|pair| !pair.is_empty()).map(|pair| {
            let (key, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(key), decode(value))
        })
    }

    pub(crate) fn get(self, name: &str) -> Option<Cow<'a, str>> {
        self.pairs().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    fn decoded(self) -> Box<[u8]> {
        let mut decoded = Vec::with_capacity(self.0.len() + 2);
        for (key, value) in self.pairs() {
            for part in [key, value] {
                decoded.extend_from_slice(part.as_bytes());
                decoded.push(END);
            }
        }
        decoded.into()
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

    fn handshake(query: &str, headers: &HeaderMap) -> Result<Handshake, Refusal> {
        let peer = SocketAddr::from(([127, 0, 0, 1], 1));
        let query = Query::new(query).ok_or(Refusal::BadRequest)?;
        Handshake::new(query, headers, peer, Transport::Polling)
    }

    fn headers(pairs: &[(&'static str, &str)]) -> HeaderMap {
        let value = |value: &str| value.parse().expect("a header value");
        pairs.iter().map(|(name, text)| (HeaderName::from_static(name), value(text))).collect()
    }

    #[test]
    fn a_query_is_decoded() {
        let text = "EIO=4&token=a%2Fb+c%zz&&empty&bad=%ff%f&token=second";
        let query = Query::new(text).expect("short enough");
        let kept = handshake(text, &HeaderMap::new()).expect("kept");
        for (name, value) in [
            ("EIO", Some("4")),
            ("token", Some("a/b c%zz")),
            ("empty", Some("")),
            ("bad", Some("\u{fffd}%f")),
            ("none", None),
        ] {
            assert_eq!(query.get(name).as_deref(), value, "{name}");
            assert_eq!(kept.query(name), value, "{name}");
        }
        assert_eq!(kept.query_pairs().count(), 5);
        assert_eq!(kept.query_pairs().last(), Some(("token", "second")));
    }

    #[test]
    fn a_query_is_kept_in_the_space_it_came_in() {
        let bomb = "&a".repeat(MAX_QUERY / 2);
        let kept = handshake(&bomb, &HeaderMap::new()).expect("kept");
        assert_eq!(kept.query_pairs().count(), MAX_QUERY / 2);
        assert!(kept.query.len() <= MAX_QUERY * 3 / 2);
    }

    #[test]
    fn a_query_is_bounded_and_may_be_longer_with_a_token() {
        assert!(Query::new(&"a".repeat(MAX_QUERY)).is_some());
        assert!(Query::new(&"a".repeat(MAX_QUERY + 1)).is_none());
        let token = |length| format!("EIO=4&token={}", "x".repeat(length - "EIO=4&token=".len()));
        assert!(Query::new(&token(MAX_TOKEN)).is_some());
        assert!(Query::new(&token(MAX_TOKEN + 1)).is_none());
    }

    #[test]
    fn only_the_named_headers_are_kept() {
        let headers = headers(&[("authorization", "Bearer x"), ("cookie", "secret")]);
        let kept = handshake("a=1", &headers).expect("kept");
        assert_eq!(kept.authorization(), Some("Bearer x"));
        assert_eq!((kept.origin(), kept.user_agent(), kept.forwarded_for()), (None, None, None));
        assert_eq!(kept.query("a"), Some("1"));
        assert_eq!(kept.query_pairs().count(), 1);
        assert_eq!(kept.headers.len(), 1);
    }

    #[test]
    fn long_headers_are_not_kept() {
        let long = "x".repeat(MAX_HEADER + 1);
        let kept = handshake("", &headers(&[("user-agent", &long), ("authorization", &long)]));
        let kept = kept.expect("kept");
        assert_eq!((kept.user_agent(), kept.authorization()), (None, Some(long.as_str())));
        let longer = headers(&[("authorization", &"x".repeat(MAX_TOKEN + 1))]);
        assert_eq!(handshake("", &longer).err(), Some(Refusal::BadRequest));
    }

    #[test]
    fn a_handshake_travels_whole() {
        let headers = headers(&[("authorization", "Bearer x"), ("user-agent", "U")]);
        let kept = handshake("token=a%2Fb&empty&token=2", &headers).expect("kept");
        let there = Handshake::from(kept.record());
        assert!(there.query_pairs().eq(kept.query_pairs()));
        assert_eq!((there.authorization(), there.user_agent()), (Some("Bearer x"), Some("U")));
        assert_eq!((there.peer(), there.transport()), (kept.peer(), Transport::Polling));
    }

    #[test]
    fn no_secret_is_printed() {
        let headers = headers(&[("authorization", "Bearer secret")]);
        let kept = handshake("EIO=4&token=secret", &headers).expect("kept");
        let printed = format!("{kept:?}");
        assert!(printed.contains("authorization") && printed.contains("token"), "{printed}");
        assert!(!printed.contains("secret"), "{printed}");
    }
}
