//! A receiver that answers what it is told to, and counts who comes.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::AbortOnDropHandle;

pub(crate) const OK: &str = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    seen: Arc<Seen>,
    _serving: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    requests: Mutex<Vec<String>>,
}

/// What a receiver does with each request.
#[derive(Clone)]
pub(crate) enum Does {
    /// Answers this and waits for the next request.
    Answers(String),
    /// Answers this and closes.
    Closes(String),
    /// Answers this and says no more.
    Stalls(String),
}

impl Receiver {
    pub(crate) async fn new(does: Does) -> Self {
        Self::at("127.0.0.1:0", does, None).await
    }

    pub(crate) async fn with_tls(does: Does, acceptor: TlsAcceptor) -> Self {
        Self::at("127.0.0.1:0", does, Some(acceptor)).await
    }

    pub(crate) async fn at(address: &str, does: Does, acceptor: Option<TlsAcceptor>) -> Self {
        let listener = TcpListener::bind(address).await.unwrap();
        let address = listener.local_addr().unwrap();
        let seen = Arc::new(Seen::default());
        let serving = tokio::spawn(accept(listener, does, acceptor, seen.clone()));
        Self { address, seen, _serving: AbortOnDropHandle::new(serving) }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/hook", self.address)
    }

    pub(crate) fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }

    pub(crate) fn requests(&self) -> Vec<String> {
        self.seen.requests.lock().clone()
    }
}

async fn accept(listener: TcpListener, does: Does, acceptor: Option<TlsAcceptor>, seen: Arc<Seen>) {
    let mut serving = tokio::task::JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        seen.connections.fetch_add(1, Ordering::SeqCst);
        let (does, acceptor, seen) = (does.clone(), acceptor.clone(), seen.clone());
        serving.spawn(async move {
            match acceptor {
                None => serve(stream, does, &seen).await,
                Some(acceptor) => match acceptor.accept(stream).await {
                    Ok(stream) => serve(stream, does, &seen).await,
                    Err(_) => None,
                },
            }
        });
    }
}

async fn serve(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    does: Does,
    seen: &Seen,
) -> Option<()> {
    loop {
        let request = request(&mut stream).await?;
        seen.requests.lock().push(request);
        let (Does::Answers(text) | Does::Closes(text) | Does::Stalls(text)) = &does;
        // Who has read enough closes.
        stream.write_all(text.as_bytes()).await.ok()?;
        stream.flush().await.ok()?;
        match does {
            Does::Answers(_) => {}
            Does::Closes(_) => return stream.shutdown().await.ok(),
            Does::Stalls(_) => std::future::pending().await,
        }
    }
}

/// One request whose body is `{}`, as all of them here are.
async fn request(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut request = Vec::new();
    while !request.ends_with(b"\r\n\r\n{}") {
        request.push(stream.read_u8().await.ok()?);
    }
    String::from_utf8(request).ok()
}
