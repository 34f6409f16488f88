//! A session that moves to another server, because its WebSocket came there.
//!
//! The two servers speak over one connection for as long as the client probes, so that each notices when the other is
//! gone. Before the client's `upgrade` the session stays where it is; after it, it is handed over as soon as its handler
//! is free, or it ends: then the WebSocket is closed, and the client comes again.

use super::Core;
use super::calls::CallError;
use super::forward::Remote;
use super::link::{Broken, Link};
use super::packet;
use super::transfer::Transfer;
use super::upgrade::Probing;
use crate::reason::DisconnectReason;
use crate::stats::{Moved, Refusal};
use crate::websocket::code;
use bytes::Bytes;
use http::{Request, StatusCode};
use http_body_util::Full;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::{Instant, timeout};

/// The client has probed; said by the one side, and said back by the other.
const PROBED: u8 = b'p';
/// The client has upgraded.
const UPGRADED: u8 = b'u';
/// What the new server waits longer than the old one has time.
const SLACK: Duration = Duration::from_secs(5);
/// What a transfer may have beyond the outbox and the inbox.
const OVERHEAD: usize = 1024 * 1024;

/// The old server, while its client probes here.
pub(crate) struct Arriving {
    remote: Remote,
    /// What is said to the old server is read there at once.
    old: TokioIo<Upgraded>,
}

/// How the old server answered.
pub(crate) enum Asked {
    /// The client may probe.
    Yes(Box<Arriving>),
    /// The session has another WebSocket already.
    Taken,
}

impl Arriving {
    /// Asks the session's server whether it may move.
    pub(super) async fn ask(remote: Remote) -> Result<Asked, Refusal> {
        let switched = async {
            let address = remote.calls.find(remote.server()).await?;
            let request = Request::get(remote.target("transport=websocket")).body(Full::default());
            let request: Request<Full<Bytes>> = request.map_err(|_| CallError::Broken)?;
            remote.calls.switch(address, request).await
        };
        let patience = remote.core.config.upgrade_timeout;
        match timeout(patience, switched).await {
            Ok(Ok(Ok(old))) => Ok(Asked::Yes(Box::new(Self { remote, old }))),
            Ok(Ok(Err(StatusCode::CONFLICT))) => Ok(Asked::Taken),
            Ok(Ok(Err(_)) | Err(_)) | Err(_) => {
                remote.core.stats.moved(Moved::Refused);
                Err(Refusal::UnknownSession)
            }
        }
    }

    pub(super) async fn run(mut self, stream: TcpStream, leftover: &[u8]) {
        let core = Arc::clone(&self.remote.core);
        let patience = core.config.upgrade_timeout;
        let mut link = Box::new(Link::new(stream, leftover, core.config.max_payload));
        let Ok(probed) = timeout(patience, self.probe(&mut link)).await else {
            return core.stats.moved(Moved::GivenUp);
        };
        match probed {
            Ok(true) => {}
            Ok(false) => return self.dismiss(link, Some(code::NORMAL)).await,
            Err(Broken { code, .. }) => return self.dismiss(link, code).await,
        }
        // From here on the client knows no other transport: if this fails, it has to come again.
        let taken = timeout(patience + SLACK, take(&mut self.old, limit(&core))).await;
        let Ok(Ok(transfer)) = taken else {
            core.stats.moved(Moved::Failed);
            return link.dismiss(code::TRY_AGAIN).await;
        };
        match core.adopt(transfer, link, Instant::now()) {
            Ok(()) => core.stats.moved(Moved::Arrived),
            Err(link) => {
                core.stats.moved(Moved::Failed);
                link.dismiss(code::GOING_AWAY).await;
            }
        }
    }

    async fn dismiss(self, link: Box<Link>, code: Option<u16>) {
        self.remote.core.stats.moved(Moved::GivenUp);
        drop(self.old);
        if let Some(code) = code {
            link.dismiss(code).await;
        }
    }

    /// Whether the client probed, and then asked for the upgrade.
    async fn probe(&mut self, link: &mut Link) -> Result<bool, Broken> {
        if !link.next_text(|text| text == packet::PROBE_PING).await? {
            return Ok(false);
        }
        if say(&mut self.old, PROBED).await.is_err()
            || self.old.read_u8().await.ok() != Some(PROBED)
        {
            return Ok(false);
        }
        link.send(packet::frame(packet::PROBE_PONG)).await?;
        link.next_text(|text| text == packet::UPGRADE).await
    }
}

/// The most that a transfer can be, if the servers' limits are the same.
fn limit(core: &Core) -> usize {
    let config = &core.config;
    config.outbox_bytes.saturating_add(config.max_payload.saturating_mul(6)).saturating_mul(2)
        + OVERHEAD
}

async fn say(other: &mut (impl AsyncWrite + Unpin), word: u8) -> io::Result<()> {
    other.write_all(&[word]).await?;
    other.flush().await
}

/// Tells the old server that the client has upgraded, and takes the session.
async fn take(
    old: &mut (impl AsyncRead + AsyncWrite + Unpin),
    limit: usize,
) -> io::Result<Transfer> {
    say(old, UPGRADED).await?;
    let length = usize::try_from(old.read_u32().await?).unwrap_or(usize::MAX);
    if length > limit {
        return Err(io::ErrorKind::FileTooLarge.into());
    }
    let mut transfer = vec![0; length];
    old.read_exact(&mut transfer).await?;
    Ok(serde_json::from_slice(&transfer)?)
}

/// The new server, while the client probes there.
pub(crate) struct Departing(pub(super) Probing);

impl Departing {
    pub(super) async fn run(self, mut new: TcpStream, leftover: &[u8]) {
        let core = Arc::clone(&self.0.0.core);
        let patience = core.config.upgrade_timeout;
        // The other side says nothing before it was answered.
        if !leftover.is_empty() {
            return;
        }
        if !matches!(timeout(patience, self.probe(&mut new)).await, Ok(Ok(()))) {
            return;
        }
        let session = Arc::clone(&self.0.0);
        let Some(transfer) = session.depart() else { return };
        let transferred = timeout(patience, ready(transfer, &mut new)).await;
        let Ok(Some(transfer)) = transferred else {
            core.stats.moved(Moved::Failed);
            return session.close(DisconnectReason::TransportError);
        };
        let sent = timeout(patience, give(&mut new, &transfer)).await;
        let outcome = if matches!(sent, Ok(Ok(()))) { Moved::Departed } else { Moved::Failed };
        core.stats.moved(outcome);
    }

    /// Until the client has upgraded.
    async fn probe(&self, new: &mut TcpStream) -> io::Result<()> {
        loop {
            match new.read_u8().await? {
                PROBED => {
                    self.0.answer();
                    say(new, PROBED).await?;
                }
                UPGRADED => return Ok(()),
                _ => return Err(io::ErrorKind::InvalidData.into()),
            }
        }
    }
}

/// Waits for the session, for as long as somebody wants it.
async fn ready(transfer: oneshot::Receiver<Transfer>, new: &mut TcpStream) -> Option<Transfer> {
    tokio::select! {
        transfer = transfer => transfer.ok(),
        // It says nothing more: it is gone.
        _ = new.read_u8() => None,
    }
}

async fn give(new: &mut TcpStream, transfer: &Transfer) -> io::Result<()> {
    let transfer = serde_json::to_vec(transfer)?;
    let length = u32::try_from(transfer.len()).map_err(|_| io::ErrorKind::FileTooLarge)?;
    new.write_u32(length).await?;
    new.write_all(&transfer).await?;
    new.shutdown().await
}
