//! A courier pod: what it is made of, and how it starts.

use std::net::SocketAddr;
use std::sync::Arc;

use parley_domain::time::SystemClock;
use parley_relay::Bus;
use parley_runtime::lifecycle::Lifecycle;
use parley_runtime::settings::listen;
use parley_runtime::{admin, metrics};
use parley_store::Store;
use tokio::sync::mpsc;
use uuid::Uuid;

use crate::courier::Courier;
use crate::lane::Shared;
use crate::metrics::Metrics;
use crate::notices::Notices;
use crate::settling::{self, Settling};
use crate::{Settings, turns, upkeep};

/// A running courier pod.
pub struct App {
    /// Where the admin port is.
    pub admin_address: SocketAddr,
}

impl App {
    /// Connects, and works as tasks of `lifecycle`. Port 0 takes a free one.
    pub async fn start(settings: Settings, lifecycle: &Lifecycle) -> anyhow::Result<Self> {
        let process = &settings.process;
        let registry =
            metrics::registry("parley-courier", env!("CARGO_PKG_VERSION"), &process.pod)?;
        let admin_listener = listen("PARLEY_ADMIN_LISTEN", process.admin_listen).await?;
        let app = Self { admin_address: admin_listener.local_addr()? };
        let client = settings.outbound.client()?;
        let store = Store::connect(&settings.database).await?;
        store.check_schema().await?;
        store.register(&registry)?;
        let bus = Bus::connect(&settings.nats, &process.pod, &registry).await?;
        let metrics = Metrics::register(&registry)?;
        let stop = lifecycle.stop();
        // Drawn anew by each start: what a process of the same name had claimed is not this one's.
        let holder = Uuid::new_v4();
        let deliveries = settings.deliveries;
        let (notes, noted) = mpsc::channel(settling::ROOM);
        let settling = Settling {
            store: store.clone(),
            holder,
            patience: deliveries.patience(),
            notes: noted,
            metrics: metrics.clone(),
        };
        let shared = Shared {
            client,
            clock: Arc::new(SystemClock),
            retry: deliveries.retry(),
            timeout: deliveries.timeout(),
            previews: deliveries.notice_previews,
            notes,
            metrics: metrics.clone(),
            stop: stop.clone(),
        };
        let courier = Courier {
            store: store.clone(),
            holder,
            settings: deliveries,
            shared: Arc::new(shared),
            stop: stop.clone(),
        };
        let postgres = lifecycle.readiness().condition("postgres");
        let watch = upkeep::watch(store.clone(), postgres, metrics.clone(), stop.clone());
        lifecycle.spawn("watch", watch);
        lifecycle.spawn("turns", turns::run(store.clone(), bus.clone(), stop.clone()));
        let notices = Notices {
            store: store.clone(),
            holder,
            clock: Arc::new(SystemClock),
            bus,
            delay: deliveries.notices().delay,
            metrics: metrics.clone(),
        };
        lifecycle.spawn("notices", notices.run(stop.clone()));
        let forget = upkeep::forget(store, deliveries.retention(), metrics, stop);
        lifecycle.spawn("forget", forget);
        lifecycle.spawn("courier", async move {
            courier.run().await;
            Ok(())
        });
        // It ends with the last lane.
        lifecycle.spawn("settling", async move {
            settling.run().await;
            Ok(())
        });
        let readiness = lifecycle.readiness().clone();
        lifecycle.background("admin", admin::serve(admin_listener, readiness, registry));
        tracing::info!(pod = process.pod, admin = %app.admin_address, "delivering");
        Ok(app)
    }
}
