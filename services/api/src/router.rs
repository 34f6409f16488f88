//! Every route and every layer, on one page.

use std::any::Any;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State as Extract};
use axum::http::{Extensions, HeaderMap, HeaderValue, StatusCode, Version, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use parley_runtime::readiness::Readiness;
use prometheus::IntCounter;
use tokio::time::timeout;
use tower_http::catch_panic::{CatchPanicLayer, ResponseForPanic};
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{Predicate, SizeAbove};
use tower_http::timeout::TimeoutLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::State;
use crate::cors;
use crate::error::ApiError;
use crate::form::is_form;
use crate::observe::observe;
use crate::openapi;
use crate::routes::{
    attachments, changes, chats, messages, mute, participants, preferences, read_state, support,
    users,
};
use crate::settings::HttpSettings;
use crate::shedding::{Room, shed};

/// Answers from this size on are compressed for clients that want it: lists and histories, and no answer to a send.
const COMPRESSED: u64 = 2 * 1024;

/// The operations that have the one deadline; methods and paths stand beside their handlers.
#[expect(deprecated, reason = "whoever still uses one is still served")]
fn timed() -> OpenApiRouter<State> {
    OpenApiRouter::with_openapi(openapi::outline())
        .routes(routes!(users::put_many))
        .routes(routes!(users::put, users::get, users::delete))
        .routes(routes!(users::revoke))
        .routes(routes!(preferences::get, preferences::put))
        .routes(routes!(chats::list, chats::create))
        .routes(routes!(chats::purchase_request))
        .routes(routes!(support::open))
        .routes(routes!(chats::stats))
        .routes(routes!(chats::info))
        .routes(routes!(chats::archive, chats::archive_by_put))
        .routes(routes!(mute::mute))
        .routes(routes!(changes::list))
        .routes(routes!(participants::list, participants::add))
        .routes(routes!(participants::remove))
        .routes(routes!(messages::list))
        .routes(routes!(read_state::read))
        .routes(routes!(read_state::unread))
        .routes(routes!(messages::edit, messages::delete))
        .routes(routes!(attachments::download, attachments::head))
        .routes(routes!(attachments::link))
}

/// The operations that may bring a file.
fn sends() -> OpenApiRouter<State> {
    OpenApiRouter::new().routes(routes!(messages::send)).routes(routes!(attachments::send))
}

/// The `OpenAPI` document of the REST interface, as JSON.
pub fn document() -> String {
    openapi::complete(&timed().merge(sends()).into_openapi())
}

/// Answers for a handler that panicked, and counts it. The panic hook has printed where; what it said may hold a user's
/// words.
fn catching(
    panics: IntCounter,
) -> CatchPanicLayer<impl ResponseForPanic<ResponseBody = Body> + Send + Sync + 'static> {
    CatchPanicLayer::custom(move |_: Box<dyn Any + Send + 'static>| -> Response {
        panics.inc();
        ApiError::Internal.into_response()
    })
}

/// The REST interface. Once the pod is `leaving`, every answer is the last one on its connection: whoever keeps connections opens
/// the next one elsewhere, and none is closed under a request that is on its way.
pub(crate) fn router(state: State, settings: &HttpSettings, readiness: Readiness) -> Router {
    let room = Room::new(settings.max_requests, state.metrics.clone());
    let deadline = TimeoutLayer::with_status_code(
        StatusCode::SERVICE_UNAVAILABLE,
        settings.request_deadline(),
    );
    // Files take longer than a request may; they have deadlines of their own.
    let unless_form = middleware::from_fn_with_state(settings.request_deadline(), unless_form);
    let (router, described) =
        timed().layer(deadline).merge(sends().layer(unless_form)).split_for_parts();
    for (route, method) in openapi::operations(&described) {
        state.metrics.name(route, method);
    }
    let router = router
        .merge(openapi::routes(openapi::complete(&described)))
        .fallback(async || ApiError::NotFound)
        .layer(catching(state.metrics.panics.clone()))
        .layer(middleware::from_fn_with_state(room, shed))
        .layer(middleware::from_fn_with_state(state.clone(), observe))
        .layer(CompressionLayer::new().compress_when(SizeAbove::new(COMPRESSED).and(no_file)));
    // Outermost: a browser has to be allowed to read refusals too.
    let router = match cors::layer(&settings.cors_origins) {
        Some(cors) => router.layer(cors),
        None => router,
    };
    let last = move |mut answer: Response| {
        if readiness.is_draining() {
            answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        std::future::ready(answer)
    };
    router.layer(middleware::map_response(last)).with_state(state)
}

/// The deadline of every other request, for what is no form.
async fn unless_form(
    Extract(deadline): Extract<Duration>,
    request: Request,
    next: Next,
) -> Response {
    if is_form(request.headers()) {
        return next.run(request).await;
    }
    let answer = timeout(deadline, next.run(request)).await;
    answer.unwrap_or_else(|_| ApiError::Unavailable.into_response())
}

/// A file goes out as it is: most are compressed already, and ranges count its own bytes.
fn no_file(_: StatusCode, _: Version, headers: &HeaderMap, _: &Extensions) -> bool {
    !headers.contains_key(header::CONTENT_DISPOSITION)
}

#[cfg(test)]
mod tests {
    use axum::http::Request;
    use axum::routing::get;
    use tower::ServiceExt;

    use super::*;

    #[tokio::test]
    async fn a_panic_is_counted_and_tells_nothing() {
        let panics = IntCounter::new("panics", "Panics.").unwrap();
        let broken = get(async || -> () { panic!("a user's words") });
        let router = Router::new().route("/", broken).layer(catching(panics.clone()));
        let request = Request::get("/").body(Body::empty()).unwrap();
        let answer = router.oneshot(request).await.unwrap();
        assert_eq!(answer.extensions().get::<ApiError>(), Some(&ApiError::Internal));
        assert_eq!((answer.status(), panics.get()), (StatusCode::INTERNAL_SERVER_ERROR, 1));
        let body = axum::body::to_bytes(answer.into_body(), 1024).await.unwrap();
        assert!(body.is_empty(), "the envelope is written where the request's id is known");
    }
}
