//! The actors of the stories, and what they can do.

use parley_local::{Answer, Client, Cluster, Description, Role, Token};
use serde_json::{Value, json};

/// A person whom the directory knows.
pub(crate) struct Person {
    pub(crate) id: String,
    token: String,
}

impl Person {
    /// Someone new, so that tests do not meet in each other's chats.
    pub(crate) fn new(cluster: &Description, name: &str) -> Self {
        let id = format!("{name}-{:016x}", rand::random::<u64>());
        let token = Token::user(&id).sign(&cluster.jwt.secret).unwrap();
        let service = Token { role: Role::Service, ..Token::user("system-tests") };
        let service = Client::new(&cluster.url, Some(service.sign(&cluster.jwt.secret).unwrap()));
        let body = json!({ "name": name, "avatar": null });
        service.put(&format!("/api/users/{id}"), &body).unwrap().data().unwrap();
        Self { id, token }
    }

    /// What a client shows.
    pub(crate) fn token(&self) -> &str {
        &self.token
    }

    /// Speaks to this address: the balancer's, or one pod's.
    pub(crate) fn at(&self, url: &str) -> Client {
        Client::new(url, Some(self.token.clone()))
    }
}

/// A direct chat's id.
pub(crate) fn direct_chat(creator: &Client, other: &Person) -> String {
    let body = json!({ "participantIds": [other.id], "type": "direct" });
    let answer = creator.post("/api/chat", &body).unwrap();
    answer.data().unwrap()["chat"]["_id"].as_str().unwrap().to_owned()
}

pub(crate) fn send(author: &Client, chat: &str, content: &str) -> Answer {
    author.post(&format!("/api/chat/{chat}/messages"), &json!({ "content": content })).unwrap()
}

/// The contents of a chat's messages, newest first.
pub(crate) fn contents(reader: &Client, chat: &str) -> Vec<String> {
    let answer = reader.get(&format!("/api/chat/{chat}/messages")).unwrap();
    let messages = answer.data().unwrap()["messages"].as_array().unwrap().clone();
    messages.iter().map(|message| message["content"].as_str().unwrap().to_owned()).collect()
}

/// Checks the status and the envelope of an error, and returns its code.
pub(crate) fn refusal(answer: &Answer, status: u16) -> String {
    let Answer { body, .. } = answer;
    assert_eq!(answer.status, status, "{body}");
    assert_eq!(body["success"], Value::Bool(false), "{body}");
    assert!(body["requestId"].as_str().is_some_and(|id| !id.is_empty()), "{body}");
    assert!(body["error"]["message"].as_str().is_some_and(|text| !text.is_empty()), "{body}");
    let code = body["error"]["code"].as_str().unwrap_or_else(|| panic!("no code: {body}"));
    assert!(code.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'), "{code}");
    code.to_owned()
}

/// The cluster that `cargo parley test` has started, with two people in it.
pub(crate) fn stage() -> (Cluster, Person, Person) {
    let cluster = Cluster::of_test();
    let alice = Person::new(cluster.description(), "alice");
    let bob = Person::new(cluster.description(), "bob");
    (cluster, alice, bob)
}
