//! An api pod: what it is made of, and how it starts.

use std::sync::Arc;
use std::time::Duration;

use parley_domain::time::{Clock, SystemClock};
use parley_files::Storage;
use parley_relay::{Bus, LimitSettings, Limiter, Presence};
use parley_runtime::lifecycle::Lifecycle;
use parley_runtime::settings::listen;
use parley_runtime::{admin, metrics};
use parley_store::{Appender, ParticipantSettings, Store};

use crate::callers::Callers;
use crate::directory::Directory;
use crate::hook::Hook;
use crate::loose::Remover;
use crate::metrics::Metrics;
use crate::serve::serve;
use crate::sweep::Sweep;
use crate::teller::Teller;
use crate::tokens::Tokens;
use crate::uploads::Files;
use crate::{Settings, answers, revocations, router, watch, why};

/// How long a start waits for the bus.
const BUS_PATIENCE: Duration = Duration::from_secs(2);

/// What every request can reach.
#[derive(Clone)]
pub(crate) struct State(Arc<Parts>);

pub(crate) struct Parts {
    pub(crate) pod: String,
    pub(crate) store: Store,
    pub(crate) callers: Callers,
    pub(crate) clock: Arc<dyn Clock>,
    pub(crate) metrics: Metrics,
    /// Most bytes of a request's body.
    pub(crate) max_body: usize,
    pub(crate) appender: Appender,
    pub(crate) limiter: Limiter,
    pub(crate) presence: Presence,
    pub(crate) limits: LimitSettings,
    pub(crate) participants: ParticipantSettings,
    pub(crate) teller: Teller,
    pub(crate) files: Files,
    /// Who is asked before a message.
    pub(crate) hook: Option<Hook>,
}

impl std::ops::Deref for State {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// A running api pod.
pub struct App {
    /// Where REST is served.
    pub address: std::net::SocketAddr,
    /// Where the admin port is.
    pub admin_address: std::net::SocketAddr,
}

impl App {
    /// Connects, listens and serves as tasks of `lifecycle`. Port 0 takes a free one.
    pub async fn start(settings: Settings, lifecycle: &Lifecycle) -> anyhow::Result<Self> {
        let process = &settings.process;
        let registry = metrics::registry("parley-api", env!("CARGO_PKG_VERSION"), &process.pod)?;
        let listener = listen("PARLEY_LISTEN", settings.http.listen).await?;
        let admin_listener = listen("PARLEY_ADMIN_LISTEN", process.admin_listen).await?;
        let app =
            Self { address: listener.local_addr()?, admin_address: admin_listener.local_addr()? };
        let store =
            Store::connect_for_shards(&settings.database, settings.appender.append_shards).await?;
        store.check_schema().await?;
        store.register(&registry)?;
        let bus = Bus::connect(settings.nats()?, &process.pod, &registry).await?;
        // What is published before there is a connection is dropped; a bus that is away must not keep a pod away.
        if !bus.connected(BUS_PATIENCE).await {
            tracing::warn!("NATS does not answer; starting without it");
        }
        let announcing = bus.announce_heads();
        let (peers, counting_peers) = bus.peers(&process.pod);
        let limiter =
            Limiter::connect(settings.redis()?, &settings.limits, peers, &registry).await?;
        let presence = Presence::connect(settings.redis()?, &registry).await?;
        let (publisher, publishing) = bus.publisher();
        let clock: Arc<dyn Clock> = Arc::new(SystemClock);
        let teller = Teller::new(publisher.clone(), store.clone(), clock.clone());
        let telling = teller.clone();
        let (appender, appending) =
            Appender::new(&store, &settings.appender, &registry, move |committed| {
                telling.tell(&committed);
            })?;
        let tokens = Tokens::new(settings.tokens()?, clock.clone(), &registry)?;
        tokens.start(lifecycle).await;
        let metrics = Metrics::register(&registry)?;
        let storage = Storage::open(&settings.storage)?;
        let files = Files::open(storage, settings.files, &metrics)?;
        let hook = Hook::new(&settings.hook, &settings.outbound, &metrics.hook)?;
        let state = State(Arc::new(Parts {
            pod: process.pod.clone(),
            store: store.clone(),
            callers: Callers::new(
                tokens,
                Directory::new(settings.http.directory_cache),
                store.clone(),
                bus.clone(),
                settings.http.token_cache,
            ),
            clock,
            metrics,
            max_body: usize::try_from(settings.http.max_body_bytes)?,
            appender,
            limiter,
            presence,
            limits: settings.limits,
            participants: settings.participants,
            teller,
            files,
            hook,
        }));

        let stop = lifecycle.stop();
        let postgres = lifecycle.readiness().condition("postgres");
        lifecycle.spawn(
            "watch",
            watch::run(store.clone(), postgres, state.metrics.clone(), stop.clone()),
        );
        let sweep = Sweep { store: store.clone(), publisher, swept: state.metrics.swept.clone() };
        lifecycle.spawn("sweep", sweep.run(stop.clone()));
        let remover = Remover {
            store: store.clone(),
            storage: state.files.storage.clone(),
            bell: state.files.bell.clone(),
            removed: state.metrics.objects_removed.clone(),
            failed: state.metrics.objects_left.clone(),
        };
        lifecycle.spawn("remover", remover.run(stop.clone()));
        let peers_stop = stop.clone();
        lifecycle.spawn("peers", async move {
            counting_peers.run(peers_stop.cancelled()).await?;
            Ok(())
        });
        spawn(lifecycle, "heads", announcing.run(stop.clone().cancelled_owned()));
        lifecycle.spawn("revocations", revocations::run(state.clone(), bus.clone(), stop.clone()));
        let sources = why::Sources {
            store: store.clone(),
            presence: state.presence.clone(),
            bus: bus.clone(),
        };
        lifecycle.spawn("answers", answers::run(bus, store, state.teller.clone(), stop.clone()));
        spawn(lifecycle, "appender", appending.run());
        spawn(lifecycle, "publisher", publishing.run());
        let readiness = lifecycle.readiness().clone();
        let more = why::routes(sources);
        let admin = admin::serve_with(admin_listener, readiness, registry, more);
        lifecycle.background("admin", admin);
        let metrics = state.metrics.clone();
        let router = router::router(state, &settings.http, lifecycle.readiness().clone());
        lifecycle.spawn("http", serve(listener, router, settings.http, metrics, stop));
        tracing::info!(pod = process.pod, address = %app.address, "serving REST");
        Ok(app)
    }
}

/// A task that cannot fail.
fn spawn(
    lifecycle: &Lifecycle,
    name: &'static str,
    task: impl Future<Output = ()> + Send + 'static,
) {
    lifecycle.spawn(name, async move {
        task.await;
        Ok(())
    });
}
