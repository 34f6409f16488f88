//! Which pages of other origins may call.

use std::str::FromStr;
use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, Uri, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// How long a browser may remember the answer to its preliminary question.
const REMEMBERED: Duration = Duration::from_hours(2);

/// Origins as a setting: `https://app.example`, or `*` for all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Every page. Tokens come in a header, and never by themselves as cookies do.
    Any,
    /// Pages of this scheme, host and port.
    One(HeaderValue),
}

impl FromStr for Origin {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self::Any);
        }
        let wrong = || format!("{text:?} is not * and no origin, as https://app.example is");
        let origin: Uri = text.parse().map_err(|_| wrong())?;
        let (Some("http" | "https"), Some(authority)) = (origin.scheme_str(), origin.authority())
        else {
            return Err(wrong());
        };
        // A browser names the origin without a path and in lower case, and compares nothing else.
        if !text.ends_with(authority.as_str()) || text.chars().any(char::is_uppercase) {
            return Err(wrong());
        }
        HeaderValue::from_str(text).map(Self::One).map_err(|_| wrong())
    }
}

/// Answers browsers for pages of these origins; `None` without any.
pub(crate) fn layer(origins: &[Origin]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let named: Vec<HeaderValue> = origins
        .iter()
        .filter_map(|origin| match origin {
            Origin::Any => None,
            Origin::One(origin) => Some(origin.clone()),
        })
        .collect();
    let allowed =
        if named.len() < origins.len() { AllowOrigin::any() } else { AllowOrigin::list(named) };
    let layer = CorsLayer::new()
        .allow_origin(allowed)
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers([
            header::AUTHORIZATION,
            header::CONTENT_TYPE,
            HeaderName::from_static("idempotency-key"),
            HeaderName::from_static("x-request-id"),
            header::RANGE,
            header::IF_RANGE,
        ])
        .expose_headers(
            [
                "x-request-id",
                "ratelimit",
                "ratelimit-policy",
                "retry-after",
                "content-disposition",
                "content-range",
                "accept-ranges",
                "etag",
            ]
            .map(HeaderName::from_static),
        )
        .max_age(REMEMBERED);
    Some(layer)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_as_browsers_say_them() {
        assert_eq!("*".parse(), Ok(Origin::Any));
        for good in ["https://app.example", "http://localhost:5173"] {
            assert_eq!(good.parse(), Ok(Origin::One(HeaderValue::from_static(good))), "{good}");
        }
        for bad in
            ["", "app.example", "https://app.example/", "https://App.example", "ftp://a.b", "null"]
        {
            assert!(bad.parse::<Origin>().is_err(), "{bad}");
        }
    }
}
