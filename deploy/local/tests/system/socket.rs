//! A Socket.IO client over HTTP long-polling: as much as it takes to join a chat.

use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::Agent;

/// Longer than anything here takes, and than a poll that nothing happens in.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Socket {
    line: Line,
    packets: Receiver<String>,
    acks: u32,
}

/// Where a session is polled, and what is said to it.
#[derive(Clone)]
struct Line {
    agent: Agent,
    url: String,
}

impl Line {
    fn poll(&self) -> Result<Vec<String>, ureq::Error> {
        let packets = self.agent.get(&self.url).call()?.body_mut().read_to_string()?;
        Ok(packets.split('\u{1e}').map(String::from).collect())
    }

    fn say(&self, packet: &str) -> Result<(), ureq::Error> {
        self.agent.post(&self.url).send(packet).map(drop)
    }

    /// Polls and answers heartbeats for as long as there is a session, and somebody who listens.
    fn serve(&self, packets: &Sender<String>) -> Option<()> {
        loop {
            for packet in self.poll().ok()? {
                match packet.as_str() {
                    "2" => self.say("3").ok()?,
                    "6" => {}
                    _ => packets.send(packet).ok()?,
                }
            }
        }
    }
}

impl Socket {
    /// Connects to one gateway.
    pub(crate) fn connect(gateway: &str, token: &str) -> Self {
        let (socket, answer) = Self::attempt(gateway, token);
        assert!(answer.starts_with("40"), "{answer}");
        socket
    }

    /// Why a token opens nothing at a gateway, as a code; nothing if it does.
    pub(crate) fn refusal(gateway: &str, token: &str) -> Option<String> {
        let (socket, answer) = Self::attempt(gateway, token);
        socket.close();
        let error: Value = serde_json::from_str(answer.strip_prefix("44")?).unwrap();
        Some(error["data"]["code"].as_str().unwrap().to_owned())
    }

    /// What a gateway answers to a CONNECT with this token.
    fn attempt(gateway: &str, token: &str) -> (Self, String) {
        let config = Agent::config_builder().proxy(None).timeout_global(Some(PATIENCE)).build();
        let url = format!("{gateway}/socket.io/?EIO=4&transport=polling");
        let mut line = Line { agent: config.new_agent(), url };
        let open = line.poll().unwrap().remove(0);
        let session: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
        line.url = format!("{}&sid={}", line.url, session["sid"].as_str().unwrap());
        let (sender, packets) = channel();
        let polled = line.clone();
        thread::spawn(move || polled.serve(&sender));
        let socket = Self { line, packets, acks: 0 };
        socket.line.say(&format!("40{}", json!({ "token": token }))).unwrap();
        let answer = socket.next();
        (socket, answer)
    }

    /// Joins; the ack.
    pub(crate) fn join(&mut self, room: &Value) -> Value {
        self.acks += 1;
        let number = self.acks;
        self.line.say(&format!("42{number}{}", json!(["join-chat-room", room]))).unwrap();
        let prefix = format!("43{number}");
        loop {
            let packet = self.next();
            if let Some(ack) = packet.strip_prefix(&prefix) {
                let ack: Value = serde_json::from_str(ack).unwrap();
                return ack[0].clone();
            }
            assert!(packet.starts_with("42"), "{packet}");
        }
    }

    /// Ends the session, as a client does that goes away.
    pub(crate) fn close(self) {
        self.line.say("1").unwrap();
        self.ends();
    }

    /// Waits until the gateway has closed the connection, whatever is heard before.
    pub(crate) fn ends(self) {
        let deadline = Instant::now() + PATIENCE;
        loop {
            match self.packets.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(_) => {}
                Err(RecvTimeoutError::Disconnected) => return,
                Err(RecvTimeoutError::Timeout) => panic!("it stays open"),
            }
        }
    }

    /// The next event that comes within this time: its name and what it carries.
    pub(crate) fn event(&self, within: Duration) -> Option<(String, Value)> {
        let packet = self.packets.recv_timeout(within).ok()?;
        let event = packet.strip_prefix("42").unwrap_or_else(|| panic!("no event: {packet}"));
        Some(serde_json::from_str(event).unwrap())
    }

    /// The next packet that is no heartbeat.
    fn next(&self) -> String {
        self.packets.recv_timeout(PATIENCE).unwrap()
    }
}
