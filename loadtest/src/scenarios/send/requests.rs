//! The requests of a load of sends: bytes already, but for the id of the message.

use std::sync::Arc;

use super::CONTENT;
use crate::http::head;
use crate::load::Requests;

/// Hex digits of a client message id.
const ID: usize = 32;

/// Somebody in a chat: a request up to the id of the message.
pub(crate) struct Sender(Vec<u8>);

impl Sender {
    /// Of this user, into this chat.
    pub(crate) fn new(chat: &str, token: &str) -> Self {
        let body = format!(r#"{{"content":"{CONTENT}","clientMessageId":""#);
        let length = body.len() + ID + END.len();
        let path = format!("/api/chat/{chat}/messages");
        Self((head("POST", &path, token, length) + &body).into_bytes())
    }
}

/// What follows the id.
const END: &str = r#""}"#;

/// One client's requests: everything but the id is written already.
pub(crate) struct Client {
    pub(crate) senders: Arc<[Sender]>,
    /// Always the same sender, or a random one for each request.
    pub(crate) own: Option<usize>,
}

impl Requests for Client {
    fn write(&mut self, request: &mut Vec<u8>) {
        let place = self.own.unwrap_or_else(|| rand::random_range(0..self.senders.len()));
        request.extend_from_slice(&self.senders[place].0);
        // 128 random bits: never the same twice.
        let id = rand::random::<[u8; ID / 2]>();
        request.extend(id.iter().flat_map(|byte| [byte >> 4, byte & 15]).map(hex));
        request.extend_from_slice(END.as_bytes());
    }
}

fn hex(half: u8) -> u8 {
    b"0123456789abcdef"[usize::from(half)]
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    #[test]
    fn a_request_is_whole_and_new_each_time() {
        let senders: Arc<[Sender]> = [Sender::new("c1", "t1"), Sender::new("c2", "t2")].into();
        let mut client = Client { senders, own: Some(1) };
        let mut write = || {
            let mut request = Vec::new();
            client.write(&mut request);
            String::from_utf8(request).unwrap()
        };
        let (first, second) = (write(), write());
        assert!(first.starts_with("POST /api/chat/c2/messages HTTP/1.1\r\n"), "{first}");
        let (head, body) = first.split_once("\r\n\r\n").unwrap();
        assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())), "{head}");
        let read: Value = serde_json::from_str(body).unwrap();
        assert_eq!(read["content"], CONTENT);
        assert_eq!(read["clientMessageId"].as_str().unwrap().len(), ID);
        assert_ne!(first, second);
    }
}
