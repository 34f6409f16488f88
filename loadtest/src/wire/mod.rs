//! Ways for TCP on which things go wrong: what is between a client and a server, as far as a proxy of our own can play it.
//!
//! A [`Wire`] passes on what comes, late if it is told so. And it can fall silent: what stands open then carries nothing any
//! more in either direction and tells neither side, as when a router has forgotten it, while new connections are made as
//! before. Whoever still holds such a connection when the silence ends is told that it is gone.

mod carry;

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;

/// What fits on the way between the wire and the server. Were it as much as one machine has for itself, whoever reads
/// nothing would be noticed by nobody.
const WINDOW: u32 = 64 * 1024;

/// All wires of a run. They end with it.
pub(crate) struct Wires {
    runtime: tokio::runtime::Handle,
    /// Ends the thread.
    _stop: watch::Sender<()>,
}

impl Wires {
    pub(crate) fn start() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let (stop, mut stopped) = watch::channel(());
        std::thread::spawn(move || {
            // An error is what it waits for: that nobody is there to say anything.
            let _ = runtime.block_on(stopped.changed());
        });
        Ok(Self { runtime: handle, _stop: stop })
    }

    /// A wire to this server, `host:port`, which need not be there yet.
    pub(crate) fn before(&self, server: &str) -> Result<Wire> {
        let server = server.parse().with_context(|| format!("{server} is no address"))?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            weather: watch::Sender::new(Weather::default()),
            made: AtomicU64::new(0),
            open: AtomicUsize::new(0),
        });
        self.runtime.spawn(accept(listener, server, Arc::clone(&shared)));
        Ok(Wire { address, shared })
    }
}

/// One way to one server.
pub(crate) struct Wire {
    /// Where to connect to.
    pub(crate) address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    weather: watch::Sender<Weather>,
    /// How many connections there have been.
    made: AtomicU64,
    /// How many there are.
    open: AtomicUsize,
}

/// What goes wrong at present.
#[derive(Debug, Clone, Copy, Default)]
struct Weather {
    delay: Duration,
    /// The first so many connections carry nothing.
    silent: u64,
    /// The first so many are gone.
    gone: u64,
}

impl Wire {
    /// From now on, every byte arrives so much later, in both directions.
    pub(crate) fn delay(&self, delay: Duration) {
        self.shared.weather.send_modify(|weather| weather.delay = delay);
    }

    /// From now on, the connections that are open carry nothing; says how many that are.
    pub(crate) fn fall_silent(&self) -> usize {
        let made = self.shared.made.load(Ordering::SeqCst);
        self.shared.weather.send_modify(|weather| weather.silent = made);
        self.open()
    }

    /// The silent ones are reset: their ends learn at last what became of them.
    pub(crate) fn break_silence(&self) {
        self.shared.weather.send_modify(|weather| weather.gone = weather.silent);
    }

    /// How many connections there are.
    pub(crate) fn open(&self) -> usize {
        self.shared.open.load(Ordering::SeqCst)
    }
}

async fn accept(
    listener: std::net::TcpListener,
    server: SocketAddr,
    shared: Arc<Shared>,
) -> Result<()> {
    let listener = TcpListener::from_std(listener)?;
    loop {
        // Out of file descriptors, say: whoever comes tries again.
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let number = shared.made.fetch_add(1, Ordering::SeqCst);
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            shared.open.fetch_add(1, Ordering::SeqCst);
            // Whatever ends it, both sides have seen it.
            let _ = connect(client, server, number, &shared.weather).await;
            shared.open.fetch_sub(1, Ordering::SeqCst);
        });
    }
}

/// One connection, to its end.
async fn connect(
    mut client: TcpStream,
    server: SocketAddr,
    number: u64,
    weather: &watch::Sender<Weather>,
) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(WINDOW)?;
    let Ok(mut server) = socket.connect(server).await else {
        // Nobody there: said as plainly as without a wire.
        return client.set_zero_linger();
    };
    server.set_nodelay(true)?;
    let mut gone = weather.subscribe();
    let carried = {
        let (from_client, to_client) = client.split();
        let (from_server, to_server) = server.split();
        let there = carry::carry(from_client, to_server, weather.subscribe(), number);
        let back = carry::carry(from_server, to_client, weather.subscribe(), number);
        tokio::select! {
            carried = async { tokio::try_join!(there, back) } => carried.map(drop),
            _ = gone.wait_for(|weather| number < weather.gone) => {
                Err(std::io::ErrorKind::ConnectionReset.into())
            }
        }
    };
    if carried.is_err() {
        client.set_zero_linger()?;
        server.set_zero_linger()?;
    }
    carried
}

#[cfg(test)]
mod tests;
