//! One attempt at a delivery: what is posted, and what an answer means.

use std::time::Duration;

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::header::{CONTENT_TYPE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, HeaderValue, StatusCode};
use parley_domain::ids::ChatId;
use parley_domain::webhook::{EventData, EventKind, Payload};
use parley_outbound::webhook::{Key, MessageId, headers};
use parley_outbound::{Answer, Client, OutboundError, Target};
use parley_store::Due;

use crate::notification;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
const AGENT: HeaderValue = HeaderValue::from_static(concat!("Parley/", env!("CARGO_PKG_VERSION")));
/// Most characters of an answer that are kept in the log.
const KEPT: usize = 1_024;

/// A webhook, ready to be called; or why it cannot be.
pub(crate) struct Receiver {
    target: Result<Target, OutboundError>,
    keys: Result<Vec<Key>, OutboundError>,
}

/// What came of it.
#[derive(Debug)]
pub(crate) struct Tried {
    pub(crate) verdict: Verdict,
    /// A stable word for metrics.
    pub(crate) word: &'static str,
    pub(crate) status: Option<u16>,
    pub(crate) error: Option<String>,
    pub(crate) answer: Option<String>,
}

/// What an answer means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Delivered,
    /// To be tried again, and perhaps not before a while.
    Failed(Option<Duration>),
    /// It wants nothing any more.
    Gone,
}

impl Receiver {
    pub(crate) fn of(target: &parley_store::Target, client: &Client) -> Self {
        Self {
            target: Target::parse(&target.url, client.policy()),
            keys: target.secrets.iter().map(Key::parse).collect(),
        }
    }

    /// Posts an event, signed now.
    pub(crate) async fn attempt(
        &self,
        client: &Client,
        (due, chat): (&Due, Option<ChatId>),
        now: DateTime<Utc>,
        timeout: Duration,
        previews: bool,
    ) -> Tried {
        let body = body(due, chat, previews);
        let posted = match self.signed(due, now, &body) {
            Ok((target, headers)) => client.post(target, headers, body.into(), timeout).await,
            Err(error) => Err(error),
        };
        posted.map_or_else(|error| Tried::without_answer(&error), |answer| Tried::of(&answer))
    }

    fn signed(
        &self,
        due: &Due,
        now: DateTime<Utc>,
        body: &[u8],
    ) -> Result<(&Target, HeaderMap), OutboundError> {
        let target = self.target.as_ref().map_err(Clone::clone)?;
        let keys = self.keys.as_ref().map_err(Clone::clone)?;
        let id = MessageId::parse(&due.event_id.to_string())?;
        let mut headers = headers(keys, &id, now.timestamp(), body);
        headers.insert(CONTENT_TYPE, JSON);
        headers.insert(USER_AGENT, AGENT);
        Ok((target, headers))
    }
}

fn body(due: &Due, chat_id: Option<ChatId>, previews: bool) -> Vec<u8> {
    let notice = (due.kind == EventKind::NotificationDue.as_str())
        .then(|| notification::data(due, previews));
    let data = EventData {
        chat_id,
        detail: notice.as_ref().or(due.detail.as_ref()),
        message: due.message.as_ref().filter(|_| notice.is_none()),
        chat: due.chat.as_ref(),
    };
    Payload { kind: &due.kind, timestamp: due.occurred_at.into(), data }.encode()
}

impl Tried {
    fn of(answer: &Answer) -> Self {
        let status = answer.status;
        let (verdict, word) = match status {
            StatusCode::GONE => (Verdict::Gone, "gone"),
            status if status.is_success() => (Verdict::Delivered, "delivered"),
            status if status.is_client_error() => (Verdict::Failed(again(answer)), "status_4xx"),
            _ => (Verdict::Failed(again(answer)), "status_5xx"),
        };
        let answer = kept(&answer.body);
        Self { verdict, word, status: Some(status.as_u16()), error: None, answer }
    }

    fn without_answer(error: &OutboundError) -> Self {
        let status = match error {
            OutboundError::Redirected(status) => Some(status.as_u16()),
            _ => None,
        };
        let (word, text) = (error.word(), Some(error.to_string()));
        Self { verdict: Verdict::Failed(None), word, status, error: text, answer: None }
    }
}

/// When the receiver wants to be asked again, if it says so in seconds.
fn again(answer: &Answer) -> Option<Duration> {
    let seconds = answer.headers.get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}

/// How an answer began, as text that a database takes.
fn kept(body: &Bytes) -> Option<String> {
    // A character has at most four bytes.
    let begin = &body[..body.len().min(4 * KEPT)];
    let text = String::from_utf8_lossy(begin).replace('\0', "\u{fffd}");
    let text: String = text.chars().take(KEPT).collect();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, retry_after: Option<&'static str>) -> Tried {
        let mut headers = HeaderMap::new();
        headers.extend(retry_after.map(|it| (RETRY_AFTER, HeaderValue::from_static(it))));
        let status = StatusCode::from_u16(status).unwrap();
        Tried::of(&Answer { status, headers, body: Bytes::from_static(b"a\0b"), truncated: false })
    }

    #[test]
    fn only_a_2xx_is_a_delivery() {
        for (status, verdict, word) in [
            (200, Verdict::Delivered, "delivered"),
            (204, Verdict::Delivered, "delivered"),
            (400, Verdict::Failed(None), "status_4xx"),
            (410, Verdict::Gone, "gone"),
            (500, Verdict::Failed(None), "status_5xx"),
        ] {
            let tried = answer(status, None);
            assert_eq!((tried.verdict, tried.word), (verdict, word));
        }
        let asked = answer(429, Some("30")).verdict;
        assert_eq!(asked, Verdict::Failed(Some(Duration::from_secs(30))));
        assert_eq!(answer(503, Some("Fri, 31 Dec 1999")).verdict, Verdict::Failed(None));
    }

    #[test]
    fn of_an_answer_is_kept_what_a_database_takes() {
        assert_eq!(answer(500, None).answer.unwrap(), "a\u{fffd}b");
        assert_eq!(kept(&Bytes::from("é".repeat(5000))).unwrap(), "é".repeat(KEPT));
        assert_eq!(kept(&Bytes::new()), None);
    }
}
