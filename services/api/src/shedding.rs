//! What there is no room for is refused at once: a request that waits for its turn only makes those behind it wait longer.

use std::sync::Arc;

use axum::extract::{Request, State as Extract};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use tokio::sync::Semaphore;

use crate::error::ApiError;
use crate::metrics::Metrics;

/// How many requests may be under way.
#[derive(Clone)]
pub(crate) struct Room {
    places: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

impl Room {
    pub(crate) fn new(most: u32, metrics: Metrics) -> Self {
        metrics.limits().requests.set(most.into());
        // Cloned with every layer around a request.
        Self { places: Arc::new(Semaphore::new(most as usize)), metrics: Arc::new(metrics) }
    }
}

/// Refuses a request when as many as are allowed are under way.
pub(crate) async fn shed(Extract(room): Extract<Room>, request: Request, next: Next) -> Response {
    let Ok(_place) = room.places.try_acquire() else {
        room.metrics.shed.inc();
        return ApiError::Unavailable.into_response();
    };
    let _counted = room.metrics.begun();
    next.run(request).await
}
