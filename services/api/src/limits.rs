//! How limits are told: `RateLimit` and `RateLimit-Policy` of the IETF's draft, and `Retry-After`.

use std::time::Duration;

use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, IntoResponseParts, Response, ResponseParts};
use parley_relay::{Refused, Usage};
use serde_json::{Value, json};

const LIMIT: HeaderName = HeaderName::from_static("ratelimit");
const POLICY: HeaderName = HeaderName::from_static("ratelimit-policy");

/// A refusal by a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limited(pub(crate) Refused);

impl Limited {
    pub(crate) fn details(self) -> Value {
        json!({
            "limit": self.0.usage.policy.limit,
            "windowSeconds": self.0.usage.policy.window.as_secs(),
            "retryAfterSeconds": seconds(self.0.retry_after),
        })
    }

    pub(crate) fn write(self, headers: &mut HeaderMap) {
        write(headers, self.0.usage);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds(self.0.retry_after)));
    }
}

/// Beside an answer: how much of the limit is left.
pub(crate) struct LimitHeaders(pub(crate) Option<Usage>);

impl IntoResponseParts for LimitHeaders {
    type Error = std::convert::Infallible;

    fn into_response_parts(self, mut parts: ResponseParts) -> Result<ResponseParts, Self::Error> {
        if let Some(usage) = self.0 {
            write(parts.headers_mut(), usage);
        }
        Ok(parts)
    }
}

impl IntoResponse for LimitHeaders {
    fn into_response(self) -> Response {
        (self, ()).into_response()
    }
}

fn write(headers: &mut HeaderMap, usage: Usage) {
    let Usage { policy, remaining, reset } = usage;
    let limit = format!("\"messages\";r={remaining};t={}", seconds(reset));
    let rule = format!("\"messages\";q={};w={}", policy.limit, policy.window.as_secs());
    for (name, value) in [(LIMIT, limit), (POLICY, rule)] {
        // Digits, letters and quotation marks are always a header's value.
        if let Ok(value) = HeaderValue::from_str(&value) {
            headers.insert(name, value);
        }
    }
}

/// Whole seconds, rounded up: whoever waits that long has waited enough.
fn seconds(time: Duration) -> u64 {
    time.as_secs() + u64::from(time.subsec_nanos() > 0)
}
