use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::time::Instant;

use super::*;

/// How long nothing may come for it to count as silent.
const NOTHING: Duration = Duration::from_millis(200);

struct Pair {
    wire: Wire,
    server: TcpListener,
    _wires: Wires,
}

impl Pair {
    fn new() -> Self {
        let server = TcpListener::bind("127.0.0.1:0").unwrap();
        let wires = Wires::start().unwrap();
        let wire = wires.before(&server.local_addr().unwrap().to_string()).unwrap();
        Self { wire, server, _wires: wires }
    }

    fn connect(&self) -> (TcpStream, TcpStream) {
        let client = TcpStream::connect(self.wire.address).unwrap();
        let (served, _) = self.server.accept().unwrap();
        for stream in [&client, &served] {
            stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        }
        (client, served)
    }
}

fn says(from: &mut TcpStream, to: &mut TcpStream, word: [u8; 5]) {
    from.write_all(&word).unwrap();
    let mut heard = [0; 5];
    to.read_exact(&mut heard).unwrap();
    assert_eq!(heard, word);
}

#[test]
fn it_passes_on_both_ways_and_tells_of_an_end() {
    let pair = Pair::new();
    let (mut client, mut served) = pair.connect();
    says(&mut client, &mut served, *b"hello");
    says(&mut served, &mut client, *b"there");
    assert_eq!(pair.wire.open(), 1);
    client.shutdown(Shutdown::Write).unwrap();
    assert_eq!(served.read(&mut [0]).unwrap(), 0);
    says(&mut served, &mut client, *b"later");
    drop(served);
    assert_eq!(client.read(&mut [0]).unwrap(), 0);
}

#[test]
fn what_is_delayed_comes_late_and_in_order() {
    let pair = Pair::new();
    let (mut client, mut served) = pair.connect();
    says(&mut client, &mut served, *b"first");
    let delay = Duration::from_millis(120);
    pair.wire.delay(delay);
    let begun = Instant::now();
    says(&mut client, &mut served, *b"other");
    assert!(begun.elapsed() >= delay, "{:?}", begun.elapsed());
    client.write_all(b"one").unwrap();
    // Read by the wire, which is what makes it late.
    std::thread::sleep(delay / 4);
    pair.wire.delay(Duration::ZERO);
    client.write_all(b"two").unwrap();
    let mut heard = [0; 6];
    served.read_exact(&mut heard).unwrap();
    assert_eq!(&heard, b"onetwo");
}

#[test]
fn what_is_under_way_is_bounded_and_nothing_of_it_is_lost() {
    const ALL: usize = 24 << 20;
    let pair = Pair::new();
    let (mut client, mut served) = pair.connect();
    pair.wire.delay(Duration::from_millis(50));
    let writing = std::thread::spawn(move || {
        let bytes: Vec<u8> = (0..=250).cycle().take(ALL).collect();
        client.write_all(&bytes).unwrap();
    });
    std::thread::sleep(NOTHING);
    assert!(!writing.is_finished(), "more was taken than fits on the way");
    let mut heard = Vec::new();
    served.read_to_end(&mut heard).unwrap();
    writing.join().unwrap();
    assert_eq!(heard.len(), ALL);
    assert!(heard.iter().copied().eq((0..=250).cycle().take(ALL)));
}

#[test]
fn a_silent_connection_carries_nothing_until_it_is_reset_and_a_new_one_is_well() {
    let pair = Pair::new();
    let (mut client, mut served) = pair.connect();
    says(&mut client, &mut served, *b"hello");
    assert_eq!(pair.wire.fall_silent(), 1);
    for (from, to) in [(&client, &served), (&served, &client)] {
        let (mut from, mut to) = (from, to);
        from.write_all(b"x").unwrap();
        to.set_read_timeout(Some(NOTHING)).unwrap();
        let error = to.read(&mut [0]).unwrap_err();
        assert!(matches!(error.kind(), ErrorKind::WouldBlock), "nothing, not {error}");
    }
    let (mut newer, mut served_too) = pair.connect();
    says(&mut newer, &mut served_too, *b"hello");
    pair.wire.break_silence();
    for mut end in [&client, &served] {
        end.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        let error = end.read(&mut [0]).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionReset, "neither a byte nor a goodbye");
    }
    says(&mut newer, &mut served_too, *b"still");
}

#[test]
fn without_a_server_a_client_is_sent_away() {
    let server = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = server.local_addr().unwrap().to_string();
    drop(server);
    let wires = Wires::start().unwrap();
    let wire = wires.before(&address).unwrap();
    let mut client = TcpStream::connect(wire.address).unwrap();
    client.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    match client.read(&mut [0]) {
        Ok(count) => assert_eq!(count, 0),
        Err(error) => assert_eq!(error.kind(), ErrorKind::ConnectionReset),
    }
    assert!(wires.before("nowhere").is_err());
}
