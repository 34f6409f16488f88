//! Every route and every layer, on one page.

use std::any::Any;
use std::time::Duration;

use axum::Router;
use axum::extract::{Request, State as Extract};
use axum::http::{Extensions, HeaderMap, StatusCode, Version, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{delete, get, patch, post, put};
use tokio::time::timeout;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{Predicate, SizeAbove};
use tower_http::timeout::TimeoutLayer;

use crate::app::State;
use crate::cors;
use crate::error::ApiError;
use crate::form::is_form;
use crate::observe::observe;
use crate::routes::{
    attachments, changes, chats, messages, participants, read_state, support, users,
};
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
    let deadline = TimeoutLayer::with_status_code(
        StatusCode::SERVICE_UNAVAILABLE,
        settings.request_deadline(),
    );
    let timed = Router::new()
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
        .route("/api/chat/{id}/messages", get(messages::list))
        .route("/api/chat/{id}/messages/read", patch(read_state::read))
        .route("/api/chat/{id}/messages/unread", patch(read_state::unread))
        .route("/api/chat/{id}/messages/{message_id}", put(messages::edit).delete(messages::delete))
        .route("/api/chat/{id}/attachments/{attachment_id}", get(attachments::download))
        .route("/api/chat/{id}/attachments/{attachment_id}/link", get(attachments::link))
        .fallback(async || ApiError::NotFound)
        .layer(deadline);
    // Files take longer than a request may; they have deadlines of their own.
    let router = timed
        .merge(
            Router::new()
                .route("/api/chat/{id}/messages", post(messages::send))
                .route("/api/chat/{id}/messages/file", post(attachments::send))
                .layer(middleware::from_fn_with_state(settings.request_deadline(), unless_form)),
        )
        .layer(CatchPanicLayer::custom(on_panic))
        .layer(middleware::from_fn_with_state(room, shed))
        .layer(middleware::from_fn_with_state(state.clone(), observe))
        .layer(CompressionLayer::new().compress_when(SizeAbove::new(COMPRESSED).and(no_file)));
    // Outermost: a browser has to be allowed to read refusals too.
    let router = match cors::layer(&settings.cors_origins) {
        Some(cors) => router.layer(cors),
        None => router,
    };
    router.with_state(state)
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
