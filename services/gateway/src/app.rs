//! A gateway pod: what it is made of, how it starts, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use parley_domain::time::SystemClock;
use parley_domain::token::Revocation;
use parley_relay::{Bus, BusState};
use parley_runtime::lifecycle::Lifecycle;
use parley_runtime::readiness::Condition;
use parley_runtime::settings::listen;
use parley_runtime::{admin, telemetry};
use parley_socketio::{CloseReason, Config, Cors, Server};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::bearers::Bearers;
use crate::connection::Chat;
use crate::metrics::Metrics;
use crate::peers::Membership;
use crate::rooms::Rooms;
use crate::settings::SocketSettings;
use crate::tokens::Tokens;
use crate::{Settings, heads, metrics, users};

/// A running gateway pod.
pub struct App {
    /// Where `/socket.io/` is served.
    pub address: SocketAddr,
    /// Where the admin port is.
    pub admin_address: SocketAddr,
}

impl App {
    /// Connects, listens and serves as tasks of `lifecycle`. Port 0 takes a free one.
    pub async fn start(settings: Settings, lifecycle: &Lifecycle) -> anyhow::Result<Self> {
        #[cfg(feature = "planted-faults")]
        crate::planted::plant(&settings.planted);
        let process = &settings.process;
        let registry =
            telemetry::registry("parley-gateway", env!("CARGO_PKG_VERSION"), &process.pod)?;
        let listener = listen("PARLEY_LISTEN", settings.sockets.listen).await?;
        let admin_listener = listen("PARLEY_ADMIN_LISTEN", process.admin_listen).await?;
        let app =
            Self { address: listener.local_addr()?, admin_address: admin_listener.local_addr()? };
        let bus = Bus::connect(&settings.nats, &process.pod, &registry).await?;
        let metrics = Metrics::register(&registry)?;
        let clock = Arc::new(SystemClock);
        let tokens = Tokens::new(&settings.tokens, clock.clone(), &registry)?;
        tokens.start(lifecycle).await;
        let bearers = Bearers::default();
        let rooms = Rooms::new(bus.clone(), metrics.clone(), process.pod.clone());
        let chat = Chat {
            tokens,
            clock,
            bus: bus.clone(),
            bearers: bearers.clone(),
            rooms: rooms.clone(),
            metrics: metrics.clone(),
        };
        let membership = Membership::begin(&settings.peers, &bus, lifecycle).await?;
        let server = serve_with(config(&settings.sockets), chat, membership, lifecycle)?;
        metrics::register_sockets(&registry, &server)?;

        let stop = lifecycle.stop();
        let nats = lifecycle.readiness().condition("nats");
        lifecycle.spawn("watch", watch_bus(bus.state(), nats, stop.clone()));
        lifecycle.spawn("heads", heads::run(rooms, stop.clone()));
        let stopped = stop.clone();
        let users = users::run(bus.clone(), bearers.clone(), metrics, stop.clone());
        lifecycle.spawn("revocations", async move {
            let hear = |revocation: Revocation| bearers.revoke(&revocation);
            Ok(bus.hear_revocations(hear, stopped.cancelled()).await?)
        });
        lifecycle.spawn("users", users);
        let readiness = lifecycle.readiness().clone();
        lifecycle.background("admin", admin::serve(admin_listener, readiness, registry));
        lifecycle.spawn("sockets", serve_sockets(server, listener, stop));
        tracing::info!(pod = process.pod, address = %app.address, "serving Socket.IO");
        Ok(app)
    }
}

fn config(settings: &SocketSettings) -> Config {
    let cors = if settings.origins.iter().any(|origin| origin == "*") {
        Cors::Any
    } else {
        Cors::List(settings.origins.clone())
    };
    let size = |number: u32| usize::try_from(number).unwrap_or(usize::MAX);
    Config {
        ping_interval: Duration::from_millis(settings.ping_interval_ms),
        ping_timeout: Duration::from_millis(settings.ping_timeout_ms),
        max_payload: size(settings.max_payload_bytes),
        max_connections: size(settings.max_connections),
        outbox_bytes: size(settings.outbox_bytes),
        cors,
        ..Config::default()
    }
}

/// One gateway alone, or one of several.
fn serve_with(
    config: Config,
    chat: Chat,
    membership: Option<Membership>,
    lifecycle: &Lifecycle,
) -> anyhow::Result<Arc<Server<Chat>>> {
    let Some(membership) = membership else { return Ok(Server::new(config, chat)) };
    let config = Config { id_prefix: membership.id_prefix(), ..config };
    let server = Server::with_peers(config, chat, membership.peers())?;
    membership.serve(server.engine(), lifecycle);
    Ok(server)
}

/// Accepts until `stop`, then sends everybody elsewhere.
async fn serve_sockets(
    server: Arc<Server<Chat>>,
    listener: TcpListener,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    server.clone().serve(listener, stop).await.context("accept connections")?;
    tracing::info!(connections = server.connections(), "closing connections");
    server.refuse_new();
    server.close_all(CloseReason::GoingAway).await;
    Ok(())
}

/// A gateway without the bus hears nothing; new connections are better off elsewhere.
async fn watch_bus(
    mut state: watch::Receiver<BusState>,
    ready: Condition,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        ready.set(state.borrow_and_update().connected);
        match stop.run_until_cancelled(state.changed()).await {
            Some(Ok(())) => {}
            Some(Err(_)) => anyhow::bail!("the connection to NATS is closed for good"),
            None => return Ok(()),
        }
    }
}
