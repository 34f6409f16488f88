//! The way to a WebSocket: as a new session, or as the new transport of one that polls.

use super::Core;
use super::link::{Broken, Link};
use super::moving::{Arriving, Departing};
use super::packet;
use super::session::{Session, wake};
use crate::handshake::Handshake;
use crate::reason::DisconnectReason;
use crate::websocket::code;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};

/// How long a WebSocket that nobody wants may take to go.
const DISMISSAL: Duration = Duration::from_secs(1);

/// What becomes of a TCP connection once `101 Switching Protocols` has been sent.
pub(crate) enum Upgrade {
    /// A new session.
    Open(Arc<Core>, Handshake),
    /// A session that may move here.
    Probe(Probing),
    /// A session that is not to have this one: it is upgraded, or about to be.
    Dismiss(Arc<Core>),
    /// A session of another server that may move here.
    Arrive(Box<Arriving>),
    /// No WebSocket, but another server that a session may move to.
    Depart(Departing),
}

impl Upgrade {
    pub(crate) async fn run(self, stream: TcpStream, leftover: &[u8]) {
        match self {
            Self::Open(core, handshake) => {
                let link = Link::new(stream, leftover, core.config.max_payload);
                if let Err(refusal) = core.open(handshake, Some(Box::new(link)), Instant::now()) {
                    core.stats.refused(refusal);
                }
            }
            Self::Probe(probing) => {
                let patience = probing.0.core.config.upgrade_timeout;
                let link = Link::new(stream, leftover, probing.0.core.config.max_payload);
                if let Err(error) = timeout(patience, probing.run(link)).await {
                    tracing::debug!(%error, "upgrade not finished in time");
                }
            }
            Self::Dismiss(core) => {
                let link = Link::new(stream, leftover, core.config.max_payload);
                if let Err(error) = timeout(DISMISSAL, link.dismiss(code::NORMAL)).await {
                    tracing::debug!(%error, "dismissed WebSocket stayed");
                }
            }
            Self::Arrive(arriving) => arriving.run(stream, leftover).await,
            Self::Depart(departing) => departing.run(stream, leftover).await,
        }
    }
}

/// A WebSocket that wants to take over a polling session, until it has or is gone.
pub(crate) struct Probing(pub(super) Arc<Session>);

impl Probing {
    async fn run(self, mut link: Link) {
        let code = match self.probe(&mut link).await {
            Ok(true) => return self.take_over(link).await,
            Ok(false) => Some(code::NORMAL),
            Err(Broken { code, .. }) => code,
        };
        let session = Arc::clone(&self.0);
        drop(self);
        tracing::debug!(session = session.key, "upgrade failed");
        if let Some(code) = code {
            link.dismiss(code).await;
        }
    }

    /// Whether the client probed, and then asked for the upgrade.
    async fn probe(&self, link: &mut Link) -> Result<bool, Broken> {
        if !link.next_text(|text| text == packet::PROBE_PING).await? {
            return Ok(false);
        }
        self.answer();
        link.send(packet::frame(packet::PROBE_PONG)).await?;
        link.next_text(|text| text == packet::UPGRADE).await
    }

    /// The client may upgrade now.
    pub(super) fn answer(&self) {
        let mut inner = self.0.lock();
        inner.machine.answer_probe(Instant::now());
        wake(&mut inner.driver);
    }

    /// From here on the session's packets travel over the WebSocket, first those that still waited.
    async fn take_over(self, link: Link) {
        let refused = {
            let mut inner = self.0.lock();
            match inner.machine.upgrade(Instant::now()) {
                Ok(()) => {
                    inner.handover = Some(Box::new(link));
                    wake(&mut inner.driver);
                    wake(&mut inner.poller);
                    wake(&mut inner.poster);
                    self.0.core.stats.upgraded.fetch_add(1, Relaxed);
                    None
                }
                Err(_) => Some(link),
            }
        };
        if let Some(link) = refused {
            link.dismiss(code::NORMAL).await;
        }
    }
}

impl Drop for Probing {
    fn drop(&mut self) {
        let mut inner = self.0.lock();
        if inner.machine.is_polling() {
            if inner.machine.end_probe() {
                inner.close(DisconnectReason::TransportError);
            }
            self.0.core.stats.upgrades_failed.fetch_add(1, Relaxed);
        }
    }
}
