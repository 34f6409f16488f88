//! The admin port, for whoever operates the pod; it is never exposed to users.
//!
//! * `GET /livez`: 200 while the process can answer at all; it asks nothing else.
//! * `GET /readyz`: 200, or 503 with the conditions that do not hold.
//! * `GET /metrics`: Prometheus text.
//! * `POST /drain`: the pod wants no new traffic from now on and lets go of what it has, without ending.
//! * `GET /drain`: how far it is, `{ draining, remaining }`.

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use prometheus::{Encoder, Registry, TextEncoder};
use tokio::net::TcpListener;

use crate::metrics::register_readiness;
use crate::readiness::Readiness;

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
    register_readiness(&registry, readiness.clone())?;
    axum::serve(listener, router(readiness, registry)).await?;
    Ok(())
}

fn router(readiness: Readiness, registry: Registry) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .route("/drain", get(drained).post(drain))
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
