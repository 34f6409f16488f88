//! A gateway pod: what it is made of, how it starts, and how it ends.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use parley_domain::time::{Clock, SystemClock};
use parley_domain::token::Revocation;
use parley_relay::{Bus, BusState, Presence};
use parley_runtime::admin;
use parley_runtime::lifecycle::Lifecycle;
use parley_runtime::metrics::registry;
use parley_runtime::readiness::Condition;
use parley_runtime::settings::listen;
use parley_socketio::{Config, Cors, Rate, Server};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::accounts::Accounts;
use crate::asks::Asks;
use crate::bearers::Bearers;
use crate::connection::Chat;
use crate::drain::{self, Pace};
use crate::expiry::Expiries;
use crate::limits::LimitSettings;
use crate::metrics::Metrics;
use crate::peers::Membership;
use crate::recent::Recent;
use crate::room::Turn;
use crate::rooms::Rooms;
use crate::settings::SocketSettings;
use crate::tokens::Tokens;
use crate::{Settings, heads, here, metrics, presence, users};

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
        let registry = registry("parley-gateway", env!("CARGO_PKG_VERSION"), &process.pod)?;
        let listener = listen("PARLEY_LISTEN", settings.sockets.listen).await?;
        let admin_listener = listen("PARLEY_ADMIN_LISTEN", process.admin_listen).await?;
        let app =
            Self { address: listener.local_addr()?, admin_address: admin_listener.local_addr()? };
        let bus = Bus::connect(&settings.nats, &process.pod, &registry).await?;
        let metrics = Metrics::register(&registry)?;
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let tokens = Tokens::new(&settings.tokens, clock.clone(), &registry)?;
        tokens.start(lifecycle).await;
        let limits = &settings.limits;
        let bearers = Bearers::new(limits.max_user_connections, metrics.clone());
        let expiries = Expiries::default();
        let patience = limits.join_timeout();
        let asks = Asks::start(&bus, &metrics);
        let seen = Presence::connect(&settings.redis, &registry).await?;
        let (typing, told) = bus.typing_publisher(seen.clone());
        let recent =
            Recent::new(size(limits.recent_endings), clock.now(), metrics.forgotten.clone());
        let rooms = Rooms::new(
            bus.clone(),
            asks.clone(),
            (typing, seen.clone()),
            (metrics.clone(), recent),
            (process.pod.clone(), clock.clone()),
            (patience, Turn::of(size(limits.outbox_frames), size(limits.outbox_bytes))),
        );
        let chat = Chat {
            tokens,
            clock: clock.clone(),
            asks,
            bearers: bearers.clone(),
            expiries: expiries.clone(),
            rooms: rooms.clone(),
            metrics: metrics.clone(),
            joins: Rate::per_second(limits.joins_per_second),
            max_rooms: size(limits.max_rooms),
        };
        let membership = Membership::begin(&settings.peers, &bus, lifecycle).await?;
        let server = serve_with(config(&settings.sockets, limits), chat, membership, lifecycle)?;
        metrics::register_sockets(&registry, &server)?;

        let stop = lifecycle.stop();
        let nats = lifecycle.readiness().condition("nats");
        lifecycle.spawn("watch", watch_bus(bus.state(), nats, stop.clone()));
        // While connections wait for their turn to be closed, they hear everything.
        let gone = CancellationToken::new();
        // A pod that comes again is another one: what its predecessor had is over by itself.
        let instance = format!("{}-{:08x}", process.pod, rand::random::<u32>());
        let account =
            Accounts { rooms: rooms.clone(), bearers: bearers.clone(), instance: instance.clone() };
        let accounts = account.run(bus.clone(), gone.clone());
        lifecycle.spawn("accounts", accounts);
        lifecycle.spawn("here", here::run(bus.clone(), rooms.clone(), gone.clone()));
        lifecycle.spawn("heads", heads::run(rooms, gone.clone()));
        // It ends with the last room.
        tokio::spawn(told.run());
        let turns = settings.sockets.presence_events.then(|| bus.clone());
        let present = presence::run(seen, instance, bearers.clone(), turns, gone.clone());
        lifecycle.spawn("presence", present);
        let stopped = gone.clone();
        let users = users::run(bus.clone(), bearers.clone(), metrics.clone(), gone.clone());
        lifecycle.spawn("revocations", async move {
            let hear = |revocation: Revocation| bearers.revoke(&revocation);
            Ok(bus.hear_revocations(hear, stopped.cancelled()).await?)
        });
        lifecycle.spawn("users", users);
        lifecycle.spawn("tokens", expiries.run(clock, metrics, gone.clone()));
        let readiness = lifecycle.readiness().clone();
        let remaining = server.clone();
        readiness.set_remaining(move || remaining.connections());
        let begin = (readiness.draining(), stop);
        lifecycle.background("admin", admin::serve(admin_listener, readiness, registry));
        let pace = pace(&settings.sockets);
        lifecycle.spawn("sockets", drain::serve(server, listener, pace, begin, gone.drop_guard()));
        tracing::info!(pod = process.pod, address = %app.address, admin = %app.admin_address, "serving Socket.IO");
        Ok(app)
    }
}

fn size(number: u32) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn config(settings: &SocketSettings, limits: &LimitSettings) -> Config {
    let cors = if settings.origins.iter().any(|origin| origin == "*") {
        Cors::Any
    } else {
        Cors::List(settings.origins.clone())
    };
    Config {
        ping_interval: Duration::from_millis(settings.ping_interval_ms),
        ping_timeout: Duration::from_millis(limits.ping_timeout_ms),
        upgrade_timeout: Duration::from_millis(limits.upgrade_timeout_ms),
        connect_timeout: Duration::from_millis(limits.connect_timeout_ms),
        write_timeout: Duration::from_millis(limits.write_timeout_ms),
        header_timeout: Duration::from_millis(limits.header_timeout_ms),
        body_timeout: Duration::from_millis(limits.body_timeout_ms),
        max_payload: size(limits.max_payload_bytes),
        outbox_frames: size(limits.outbox_frames),
        outbox_bytes: size(limits.outbox_bytes),
        inbox_events: size(limits.inbox_events),
        max_connections: size(limits.max_connections),
        messages: Some(Rate::per_second(limits.events_per_second)),
        cors,
        ..Config::default()
    }
}

fn pace(settings: &SocketSettings) -> Pace {
    let within = Duration::from_secs(settings.drain_seconds);
    Pace { per_second: settings.drain_per_second, within }
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
