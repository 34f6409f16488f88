//! A TCP line to the database that can be held: nothing passes, nobody is told.

use std::sync::Arc;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

pub(crate) struct Wire {
    pub(crate) port: u16,
    held: Arc<watch::Sender<bool>>,
}

impl Wire {
    /// A line to `target`, a host and port.
    pub(crate) async fn to(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (held, state) = watch::channel(false);
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let (target, state) = (target.clone(), state.clone());
                tokio::spawn(async move {
                    let Ok(far) = TcpStream::connect(target).await else { return };
                    let ((near_in, near_out), (far_in, far_out)) =
                        (near.into_split(), far.into_split());
                    tokio::spawn(carry(near_in, far_out, state.clone()));
                    tokio::spawn(carry(far_in, near_out, state));
                });
            }
        });
        Self { port, held: Arc::new(held) }
    }

    /// The line of a database's address, and the address by which it is reached over it.
    pub(crate) async fn to_database(url: &str) -> (Self, String) {
        let (before, rest) = url.split_once('@').unwrap();
        let (server, name) = rest.split_once('/').unwrap();
        let wire = Self::to(server.to_owned()).await;
        let over = format!("{before}@127.0.0.1:{}/{name}", wire.port);
        (wire, over)
    }

    pub(crate) fn hold(&self) {
        self.held.send_replace(true);
    }

    /// What was held goes on its way.
    pub(crate) fn release(&self) {
        self.held.send_replace(false);
    }
}

async fn carry(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut held: watch::Receiver<bool>) {
    let mut bytes = vec![0; 16 * 1024];
    while let Ok(length) = from.read(&mut bytes).await {
        if length == 0 || held.wait_for(|held| !held).await.is_err() {
            return;
        }
        if to.write_all(&bytes[..length]).await.is_err() {
            return;
        }
    }
}
