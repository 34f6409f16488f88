//! Every route and every layer, on one page.

use std::any::Any;

use axum::Router;
use axum::http::StatusCode;
use axum::middleware;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post, put};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;

use crate::app::State;
use crate::error::ApiError;
use crate::observe::observe;
use crate::routes::{chats, messages, read_state, users};
use crate::settings::HttpSettings;

/// The REST interface.
pub(crate) fn router(state: State, settings: &HttpSettings) -> Router {
    let panics = state.metrics.panics.clone();
    let on_panic = move |_: Box<dyn Any + Send + 'static>| -> Response {
        // The panic hook has printed where; what it said may hold a user's words.
        panics.inc();
        ApiError::Internal.into_response()
    };
    Router::new()
        .route("/api/users", post(users::put_many))
        .route("/api/users/{id}", put(users::put).get(users::get).delete(users::delete))
        .route("/api/users/{id}/revoke", post(users::revoke))
        .route("/api/chat", get(chats::list).post(chats::create))
        .route("/api/chat/stats", get(chats::stats))
        .route("/api/chat/{id}/info", get(chats::info))
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
        .layer(middleware::from_fn_with_state(state.clone(), observe))
        .with_state(state)
}
