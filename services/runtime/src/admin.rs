//! The admin port, for whoever operates the pod; it is never exposed to users.
//!
//! * `GET /livez`: 200 while the process can answer at all; it asks nothing else.
//! * `GET /readyz`: 200, or 503 with the conditions that do not hold.
//! * `GET /metrics`: Prometheus text.
//! * `POST /drain`: the pod wants no new traffic from now on and lets go of what it has, without ending.
//! * `GET /log`: what is logged, as directives of tracing's `EnvFilter`.
//! * `PUT /log`, with such directives: logs that from now on; with `?seconds=600`, only for so long.
//! * `GET /drain`: how far it is, `{ draining, remaining }`.

use std::time::Duration;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Encoder, Registry, TextEncoder};
use serde::Deserialize;
use tokio::net::TcpListener;

use crate::logs;
use crate::metrics::register_readiness;
use crate::readiness::Readiness;

/// Most bytes of a filter.
const MAX_FILTER: usize = 4 * 1024;
/// A process that has started no log of its own, as in a test.
const NO_LOG: (StatusCode, &str) = (StatusCode::NOT_FOUND, "this process has no log\n");

#[derive(Clone)]
struct Admin {
    readiness: Readiness,
    registry: Registry,
}

/// Serves the admin port for as long as the process lives, so that a pod that drains still says so.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    registry: Registry,
) -> anyhow::Result<()> {
    serve_with(listener, readiness, registry, Router::new()).await
}

/// The same, with what this kind of pod has beside.
pub async fn serve_with(
    listener: TcpListener,
    readiness: Readiness,
    registry: Registry,
    more: Router,
) -> anyhow::Result<()> {
    register_readiness(&registry, readiness.clone())?;
    axum::serve(listener, router(readiness, registry).merge(more)).await?;
    Ok(())
}

fn router(readiness: Readiness, registry: Registry) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/drain", get(drained).post(drain))
        .route("/log", get(log).put(set_log))
        .layer(DefaultBodyLimit::max(MAX_FILTER))
        .with_state(Admin { readiness, registry })
}

async fn readyz(State(admin): State<Admin>) -> Response {
    let missing = admin.readiness.missing();
    if missing.is_empty() {
        "ready\n".into_response()
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {}\n", missing.join(", ")))
            .into_response()
    }
}

async fn drain(State(admin): State<Admin>) -> Response {
    if !admin.readiness.drained().draining {
        tracing::info!("draining, by hand");
        admin.readiness.drain();
    }
    (StatusCode::ACCEPTED, state(&admin)).into_response()
}

async fn drained(State(admin): State<Admin>) -> Response {
    state(&admin).into_response()
}

fn state(admin: &Admin) -> impl IntoResponse + use<> {
    ([(header::CONTENT_TYPE, "application/json")], format!("{}\n", admin.readiness.drained()))
}

async fn log() -> Response {
    match logs::log() {
        Some(log) => format!("{}\n", log.filter()).into_response(),
        None => NO_LOG.into_response(),
    }
}

#[derive(Deserialize)]
struct Lasting {
    seconds: Option<u32>,
}

async fn set_log(Query(lasting): Query<Lasting>, filter: String) -> Response {
    let Some(log) = logs::log() else { return NO_LOG.into_response() };
    let lasts = lasting.seconds.map(|seconds| Duration::from_secs(seconds.into()));
    match log.set(filter.trim(), lasts) {
        Ok(()) => format!("{}\n", log.filter()).into_response(),
        Err(error) => (StatusCode::BAD_REQUEST, format!("{error:#}\n")).into_response(),
    }
}

async fn metrics(State(admin): State<Admin>) -> Response {
    let encoder = TextEncoder::new();
    let mut text = Vec::new();
    match encoder.encode(&admin.registry.gather(), &mut text) {
        Ok(()) => {
            ([(header::CONTENT_TYPE, encoder.format_type().to_owned())], text).into_response()
        }
        Err(error) => {
            tracing::error!(%error, "metrics could not be written");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}
