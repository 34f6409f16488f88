//! What runs between the pods, looked at from outside: just enough of NATS and Redis.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The versions of chats that were told on the bus.
#[derive(Clone, Default)]
pub(crate) struct Heard(Arc<Mutex<BTreeMap<String, BTreeSet<u64>>>>);

impl Heard {
    /// Listens for as long as the bus lives. What is published from now on is heard.
    pub(crate) fn on(url: &str) -> Self {
        let mut stream = connect(url);
        let mut lines = BufReader::new(stream.try_clone().unwrap());
        stream.write_all(b"CONNECT {\"verbose\":false}\r\nSUB chat.* 1\r\nPING\r\n").unwrap();
        let heard = Self::default();
        // The answer to the ping comes after the subscription.
        while heard.next(&mut lines, &mut stream).unwrap() != "PONG" {}
        let listening = heard.clone();
        thread::spawn(move || while listening.next(&mut lines, &mut stream).is_some() {});
        heard
    }

    /// Which of a chat's first versions have not been told.
    pub(crate) fn missing(&self, chat: &str, version: u64) -> Vec<u64> {
        let heard = self.0.lock().unwrap();
        let versions = heard.get(chat);
        let told = |version: &u64| versions.is_some_and(|versions| versions.contains(version));
        (1..=version).filter(|version| !told(version)).collect()
    }

    /// Takes one line of the bus, with what belongs to it, and says its verb; `None` at the end.
    fn next(&self, lines: &mut impl BufRead, stream: &mut TcpStream) -> Option<String> {
        let mut line = String::new();
        lines.read_line(&mut line).ok()?;
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words.first()? {
            "PING" => stream.write_all(b"PONG\r\n").ok()?,
            "MSG" => {
                let mut event = vec![0; words.last()?.parse::<usize>().ok()? + "\r\n".len()];
                lines.read_exact(&mut event).ok()?;
                // See `domain::bus`: format 1 has the version here; 0 is none.
                assert_eq!(event[0], 1, "an unknown format");
                let version = u64::from_be_bytes(event[20..28].try_into().unwrap());
                let chat = words[1].trim_start_matches("chat.").to_owned();
                self.0.lock().unwrap().entry(chat).or_default().insert(version);
            }
            _ => {}
        }
        Some(words[0].to_owned())
    }
}

/// A connection to Redis.
pub(crate) struct Redis(BufReader<TcpStream>);

impl Redis {
    pub(crate) fn at(url: &str) -> Self {
        Self(BufReader::new(connect(url)))
    }

    /// The members of a user's window, with when they came in µs. See `charge.lua` of the limiter: 16 bytes, and then 8
    /// of time and 16 of member for each.
    pub(crate) fn members(&mut self, key: &str) -> Vec<(Vec<u8>, u64)> {
        write!(self.0.get_mut(), "GET {key}\r\n").unwrap();
        let Some(window) = self.text() else { return Vec::new() };
        let entries = window[16..].chunks_exact(24);
        let entry = |entry: &[u8]| {
            let came = f64::from_le_bytes(entry[..8].try_into().unwrap());
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "whole µs")]
            (entry[8..].to_owned(), came as u64)
        };
        entries.map(entry).collect()
    }

    fn text(&mut self) -> Option<Vec<u8>> {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        assert_eq!(line.bytes().next(), Some(b'$'), "Redis says {line:?}");
        // Minus one is nothing.
        let length: usize = line[1..].trim().parse().ok()?;
        let mut text = vec![0; length + "\r\n".len()];
        self.0.read_exact(&mut text).unwrap();
        text.truncate(length);
        Some(text)
    }
}

fn connect(url: &str) -> TcpStream {
    let (_, address) = url.split_once("://").unwrap();
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    // NATS says nothing for as long as nothing is published, but pings every two minutes.
    stream.set_read_timeout(Some(Duration::from_mins(5))).unwrap();
    stream
}
