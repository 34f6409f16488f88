//! Around every request: its id, its log line, its metrics, and the rendering of what failed.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::extract::{MatchedPath, Request, State as Extract};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;

use parley_runtime::logs;
use parley_runtime::trace::{self, TraceContext};
use tracing::{Instrument, Span, field};

use crate::app::State;
use crate::error::ApiError;

const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
/// W3C's trace context of whoever calls.
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");
const POD: HeaderName = HeaderName::from_static("x-parley-pod");
/// A request that takes longer than this is worth a line in the log.
const SLOW: Duration = Duration::from_secs(1);
/// Longest request id that is taken over from a client or balancer.
const MAX_REQUEST_ID: usize = 128;

/// The outermost layer of the routes.
pub(crate) async fn observe(
    Extract(state): Extract<State>,
    request: Request,
    next: Next,
) -> Response {
    let started = Instant::now();
    let id: Arc<str> = request_id(&request).into();
    let method = request.method().clone();
    let route = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| "unmatched".to_owned(), |path| path.as_str().to_owned());

    let given = request.headers().get(&TRACEPARENT).and_then(|given| given.to_str().ok());
    let given = given.and_then(TraceContext::parse);
    let span = span(given, &method, &route, &id);
    let trace_id = trace::context(&span).or(given).map(|context| context.trace_id);
    let of_request = logs::Request { id: id.clone(), trace_id };
    let mut response =
        logs::of_request(of_request, next.run(request).instrument(span.clone())).await;
    if let Some(error) = failure(&response) {
        let allow = response.headers_mut().remove(header::ALLOW);
        response = error.render(&id);
        if let Some(allow) = allow {
            response.headers_mut().insert(header::ALLOW, allow);
        }
    }
    let headers = response.headers_mut();
    for (name, value) in [(REQUEST_ID, &*id), (POD, state.pod.as_str())] {
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("private, no-store"));
    // What somebody wrote is never a page, whatever it looks like.
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));

    let (status, took) = (response.status().as_u16(), started.elapsed());
    end(&span, status);
    state.metrics.answered(&route, method_label(&method), status, took);
    // Metrics count every request; a line each is for those that somebody will ask about.
    if status >= 500 || took >= SLOW {
        tracing::warn!(
            http.route = route,
            http.method = %method,
            http.status = status,
            request.id = &*id,
            trace.id = trace_id.map(|id| field::display(format!("{id:032x}"))),
            duration_ms = took.as_millis(),
            "request"
        );
    } else {
        tracing::debug!(
            http.route = route,
            http.method = %method,
            http.status = status,
            request.id = &*id,
            duration_ms = took.as_millis(),
            "request"
        );
    }
    response
}

/// The span of a request, if it is traced.
fn span(given: Option<TraceContext>, method: &Method, route: &str, id: &str) -> Span {
    if !trace::samples(given) {
        return Span::none();
    }
    let span = tracing::info_span!(
        "request",
        otel.name = format!("{} {route}", method_label(method)),
        otel.kind = "server",
        otel.status_code = field::Empty,
        http.request.method = method_label(method),
        http.route = route,
        http.response.status_code = field::Empty,
        request.id = id,
    );
    if let Some(given) = given {
        trace::follow(&span, given);
    }
    span
}

fn end(span: &Span, status: u16) {
    if !span.is_none() {
        span.record("http.response.status_code", status);
        if status >= 500 {
            span.record("otel.status_code", "ERROR");
        }
    }
}

/// Our own failures, and those of the framework in our words.
fn failure(response: &Response) -> Option<ApiError> {
    let own = response.extensions().get::<ApiError>().cloned();
    own.or_else(|| ApiError::of_status(response.status()))
}

/// The caller's own id of the request if it is a sane one; else a new one.
fn request_id(request: &Request) -> String {
    let given = request.headers().get(&REQUEST_ID).and_then(|value| value.to_str().ok());
    let sane = |id: &&str| {
        (1..=MAX_REQUEST_ID).contains(&id.len()) && id.bytes().all(|b| b.is_ascii_graphic())
    };
    given.filter(sane).map_or_else(new_request_id, str::to_owned)
}

/// By the thread's own generator: the system's costs a call into the kernel for each request.
pub(crate) fn new_request_id() -> String {
    uuid::Builder::from_random_bytes(rand::random()).into_uuid().to_string()
}

/// Methods are the client's to invent; labels are not.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}
