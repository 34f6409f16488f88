//! A way for TCP that can swallow what goes through it: the network between a pod and a server, at its worst moment.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;

/// Passes connections on to a server until it is told to swallow.
pub(crate) struct Hole {
    /// Where to connect to.
    pub(crate) address: SocketAddr,
    swallows: Arc<AtomicBool>,
}

impl Hole {
    /// Begins to pass on to this server, `host:port`.
    pub(crate) fn before(server: &str) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let swallows = Arc::new(AtomicBool::new(false));
        let (server, shared) = (server.to_owned(), Arc::clone(&swallows));
        // Ends with the process: it holds nothing but sockets.
        std::thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (server, swallows) = (server.clone(), Arc::clone(&shared));
                std::thread::spawn(move || {
                    // Either side's end is the other's.
                    let _ = connect(&client, &server, &swallows);
                });
            }
        });
        Ok(Self { address, swallows })
    }

    /// From now on, what clients write is read and goes nowhere.
    pub(crate) fn swallow(&self) {
        self.swallows.store(true, Ordering::SeqCst);
    }
}

fn connect(client: &TcpStream, server: &str, swallows: &Arc<AtomicBool>) -> std::io::Result<()> {
    let server = TcpStream::connect(server)?;
    let (mut back_from, mut back_to) = (server.try_clone()?, client.try_clone()?);
    std::thread::spawn(move || {
        let _ = std::io::copy(&mut back_from, &mut back_to);
        let _ = back_to.shutdown(std::net::Shutdown::Both);
    });
    let (mut from, mut to) = (client.try_clone()?, server);
    let mut bytes = vec![0; 64 * 1024];
    loop {
        let count = from.read(&mut bytes)?;
        if count == 0 {
            return to.shutdown(std::net::Shutdown::Both);
        }
        if !swallows.load(Ordering::SeqCst) {
            to.write_all(&bytes[..count])?;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    /// How long nothing may come for it to count as swallowed.
    const NOTHING: Duration = Duration::from_millis(200);

    #[test]
    fn it_passes_on_until_it_swallows() {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let hole = Hole::before(&server.local_addr().unwrap().to_string()).unwrap();
        let mut client = TcpStream::connect(hole.address).unwrap();
        let (mut served, _) = server.accept().unwrap();
        let mut bytes = [0; 5];
        client.write_all(b"hello").unwrap();
        served.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"hello");
        hole.swallow();
        client.write_all(b"world").unwrap();
        served.set_read_timeout(Some(NOTHING)).unwrap();
        assert!(served.read(&mut bytes).is_err(), "it was swallowed");
        // The way back stays.
        served.write_all(b"there").unwrap();
        client.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes, b"there");
    }
}
