//! Every route and every layer, on one page.

use std::any::Any;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::timeout::TimeoutLayer;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::app::State;
use crate::cors;
use crate::error::ApiError;
use crate::observe::observe;
use crate::openapi;
use crate::routes::{changes, chats, messages, participants, read_state, support, users};
use crate::settings::HttpSettings;
use crate::shedding::{Room, shed};

/// Answers from this size on are compressed for clients that want it: lists and histories, and no answer to a send.
const COMPRESSED: u64 = 2 * 1024;

/// The operations; methods and paths stand beside their handlers.
#[expect(deprecated, reason = "whoever still uses one is still served")]
fn operations() -> OpenApiRouter<State> {
    OpenApiRouter::with_openapi(openapi::outline())
        .routes(routes!(users::put_many))
        .routes(routes!(users::put, users::get, users::delete))
        .routes(routes!(users::revoke))
        .routes(routes!(chats::list, chats::create))
        .routes(routes!(chats::purchase_request))
        .routes(routes!(support::open))
        .routes(routes!(chats::stats))
        .routes(routes!(chats::info))
        .routes(routes!(chats::archive, chats::archive_by_put))
        .routes(routes!(changes::list))
        .routes(routes!(participants::list, participants::add))
        .routes(routes!(participants::remove))
        .routes(routes!(messages::list, messages::send))
        .routes(routes!(read_state::read))
        .routes(routes!(read_state::unread))
        .routes(routes!(messages::edit, messages::delete))
}

/// The `OpenAPI` document of the REST interface, as JSON.
pub fn document() -> String {
    openapi::complete(&operations().into_openapi())
}

/// The REST interface.
pub(crate) fn router(state: State, settings: &HttpSettings) -> Router {
    let panics = state.metrics.panics.clone();
    let on_panic = move |_: Box<dyn Any + Send + 'static>| -> Response {
        // The panic hook has printed where; what it said may hold a user's words.
        panics.inc();
        ApiError::Internal.into_response()
    };
    let room = Room::new(settings.max_requests, state.metrics.shed.clone());
    let (router, described) = operations().split_for_parts();
    let router = router
        .merge(openapi::routes(openapi::complete(&described)))
        .fallback(async || ApiError::NotFound)
        .layer(TimeoutLayer::with_status_code(
            StatusCode::SERVICE_UNAVAILABLE,
            settings.request_deadline(),
        ))
        .layer(CatchPanicLayer::custom(on_panic))
        .layer(middleware::from_fn_with_state(room, shed))
        .layer(middleware::from_fn_with_state(state.clone(), observe))
        .layer(CompressionLayer::new().compress_when(SizeAbove::new(COMPRESSED)));
    // Outermost: a browser has to be allowed to read refusals too.
    let router = match cors::layer(&settings.cors_origins) {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router.with_state(state)
}
