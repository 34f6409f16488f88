//! Every route and every layer, on one page.

use std::any::Any;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post, put};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::timeout::TimeoutLayer;

use crate::app::State;
use crate::cors;
use crate::error::ApiError;
use crate::observe::observe;
use crate::routes::{changes, chats, messages, participants, read_state, support, users};
use crate::settings::HttpSettings;
use crate::shedding::{Room, shed};

/// Answers from this size on are compressed for clients that want it: lists and histories, and no answer to a send.
const COMPRESSED: u64 = 2 * 1024;

/// The REST interface.
pub(crate) fn router(state: State, settings: &HttpSettings) -> Router {
    let panics = state.metrics.panics.clone();
    let on_panic = move |_: Box<dyn Any + Send + 'static>| -> Response {
        // The panic hook has printed where; what it said may hold a user's words.
        panics.inc();
        ApiError::Internal.into_response()
    };
    let room = Room::new(settings.max_requests, state.metrics.shed.clone());
    let router = Router::new()
        .route("/api/users", post(users::put_many))
        .route("/api/users/{id}", put(users::put).get(users::get).delete(users::delete))
        .route("/api/users/{id}/revoke", post(users::revoke))
        .route("/api/chat", get(chats::list).post(chats::create))
        .route("/api/chat/purchase-request", post(chats::purchase_request))
        .route("/api/chat/support", post(support::open))
        .route("/api/chat/stats", get(chats::stats))
        .route("/api/chat/{id}/info", get(chats::info))
        .route("/api/chat/{id}/archive", patch(chats::archive).put(chats::archive))
        .route("/api/chat/{id}/changes", get(changes::list))
        .route("/api/chat/{id}/participants", get(participants::list).post(participants::add))
        .route("/api/chat/{id}/participants/{user_id}", delete(participants::remove))
        .route("/api/chat/{id}/messages", get(messages::list).post(messages::send))
        .route("/api/chat/{id}/messages/read", patch(read_state::read))
        .route("/api/chat/{id}/messages/unread", patch(read_state::unread))
        .route("/api/chat/{id}/messages/{message_id}", put(messages::edit).delete(messages::delete))
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
