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

    /// The members of a sorted set with their scores.
    pub(crate) fn members(&mut self, key: &str) -> Vec<(Vec<u8>, u64)> {
        write!(self.0.get_mut(), "ZRANGE {key} 0 -1 WITHSCORES\r\n").unwrap();
        let count = self.length(b'*');
        let pair = |_| {
            let (member, score) = (self.text(), self.text());
            (member, String::from_utf8(score).unwrap().parse().unwrap())
        };
        (0..count / 2).map(pair).collect()
    }

    fn text(&mut self) -> Vec<u8> {
        let mut text = vec![0; self.length(b'$') + "\r\n".len()];
        self.0.read_exact(&mut text).unwrap();
        text.truncate(text.len() - "\r\n".len());
        text
    }

    fn length(&mut self, kind: u8) -> usize {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        assert_eq!(line.bytes().next(), Some(kind), "Redis says {line:?}");
        line[1..].trim().parse().unwrap()
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
