//! A Socket.IO client over HTTP long-polling: as much as it takes to join a chat and to hear.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::Agent;

/// Longer than anything here takes, and than a poll that nothing happens in.
const PATIENCE: Duration = Duration::from_mins(1);

pub(crate) struct Socket {
    agent: Agent,
    url: String,
    waiting: VecDeque<String>,
    heard: Vec<(String, Value)>,
    acks: u32,
}

impl Socket {
    /// Connects to one gateway.
    pub(crate) fn connect(gateway: &str, token: &str) -> Self {
        let config = Agent::config_builder().proxy(None).timeout_global(Some(PATIENCE)).build();
        let url = format!("{gateway}/socket.io/?EIO=4&transport=polling");
        let (agent, waiting, heard) = (config.new_agent(), VecDeque::new(), Vec::new());
        let mut socket = Self { agent, url, waiting, heard, acks: 0 };
        let open = socket.next();
        let session: Value = serde_json::from_str(open.strip_prefix('0').unwrap()).unwrap();
        socket.url = format!("{}&sid={}", socket.url, session["sid"].as_str().unwrap());
        socket.say(&format!("40{}", json!({ "token": token })));
        let answer = socket.next();
        assert!(answer.starts_with("40"), "{answer}");
        socket
    }

    /// Joins; the ack.
    pub(crate) fn join(&mut self, room: &Value) -> Value {
        self.acks += 1;
        let number = self.acks;
        self.say(&format!("42{number}{}", json!(["join-chat-room", room])));
        let prefix = format!("43{number}");
        loop {
            let packet = self.next();
            if let Some(ack) = packet.strip_prefix(&prefix) {
                let ack: Value = serde_json::from_str(ack).unwrap();
                return ack[0].clone();
            }
            self.hear(&packet);
        }
    }

    /// Waits until such an event has come; what it says.
    pub(crate) fn until(&mut self, event: &str) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some((_, said)) = self.heard.iter().find(|(name, _)| name == event) {
                return said.clone();
            }
            assert!(Instant::now() < deadline, "no {event}, but {:?}", self.heard);
            let packet = self.next();
            self.hear(&packet);
        }
    }

    fn hear(&mut self, packet: &str) {
        let Some(event) = packet.strip_prefix("42") else { panic!("{packet}") };
        let event: Value = serde_json::from_str(event).unwrap();
        self.heard.push((event[0].as_str().unwrap().to_owned(), event[1].clone()));
    }

    /// The next packet that is no heartbeat.
    fn next(&mut self) -> String {
        loop {
            while let Some(packet) = self.waiting.pop_front() {
                match packet.as_str() {
                    "2" => self.say("3"),
                    "6" => {}
                    _ => return packet,
                }
            }
            let mut answer = self.agent.get(&self.url).call().unwrap();
            let packets = answer.body_mut().read_to_string().unwrap();
            self.waiting.extend(packets.split('\u{1e}').map(String::from));
        }
    }

    fn say(&self, packet: &str) {
        self.agent.post(&self.url).send(packet).unwrap();
    }
}
