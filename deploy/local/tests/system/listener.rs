//! A Socket.IO client by hand, over polling: plain requests, so that it does exactly what a test wants, and nothing else.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use ureq::Agent;

use crate::people::Person;

/// Between two packets of one payload.
const SEPARATOR: char = '\u{1e}';

/// One connection of somebody.
pub(crate) struct Listener {
    agent: Agent,
    /// With the session's id.
    url: String,
    came: VecDeque<String>,
}

impl Listener {
    /// Connects to one gateway.
    pub(crate) fn connect(gateway: &str, person: &Person) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(40)));
        let agent = config.build().new_agent();
        let base = format!("{gateway}/socket.io/?EIO=4&transport=polling");
        let opened = agent.get(&base).call().unwrap().body_mut().read_to_string().unwrap();
        let opened: Value = serde_json::from_str(opened.strip_prefix('0').unwrap()).unwrap();
        let url = format!("{base}&sid={}", opened["sid"].as_str().unwrap());
        let mut listener = Self { agent, url, came: VecDeque::new() };
        listener.says(&format!("40{}", json!({ "token": person.token() })));
        listener.hears("40");
        listener
    }

    /// Connects, and enters a chat's room.
    pub(crate) fn join(gateway: &str, person: &Person, chat: &str) -> Self {
        let mut listener = Self::connect(gateway, person);
        listener.says(&format!("420{}", json!(["join-chat-room", { "chatId": chat }])));
        let ack = listener.hears("430");
        assert!(ack.contains(r#""success":true"#), "{ack}");
        listener
    }

    fn says(&self, packet: &str) {
        let answer = self.agent.post(&self.url).content_type("text/plain").send(packet).unwrap();
        assert_eq!(answer.status(), 200, "{packet}");
    }

    /// The next packet that begins so; others are forgotten.
    fn hears(&mut self, beginning: &str) -> String {
        let deadline = Instant::now() + Duration::from_mins(1);
        loop {
            while let Some(packet) = self.came.pop_front() {
                if packet.starts_with(beginning) {
                    return packet;
                }
                if packet == "2" {
                    self.says("3");
                }
            }
            assert!(Instant::now() < deadline, "nothing began with {beginning}");
            let mut polled = self.agent.get(&self.url).call().unwrap();
            let payload = polled.body_mut().read_to_string().unwrap();
            assert_eq!(polled.status(), 200, "{payload}");
            self.came.extend(payload.split(SEPARATOR).map(str::to_owned));
        }
    }

    /// The next message.
    pub(crate) fn hears_message(&mut self) -> Value {
        let packet = self.hears("42[\"new-message\"");
        let event: Value = serde_json::from_str(packet.strip_prefix("42").unwrap()).unwrap();
        event[1]["message"].clone()
    }

    /// Goes, as a client does that closes its page.
    pub(crate) fn leave(self) {
        self.says("1");
    }
}
