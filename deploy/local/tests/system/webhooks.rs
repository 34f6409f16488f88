//! Webhooks of a cluster whose couriers are killed, and whose receiver is away for a while.

use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use parley_local::{Client, Cluster, Interrupt, Options, Role, Token, testing};
use serde_json::{Value, json};

use crate::operator::eventually;
use crate::socket::Socket;

/// Longer than it takes to read, on another device, what was said.
const NOTICE_DELAY_MS: &str = "3000";

/// A server that keeps what it is told: id and body.
pub(crate) struct Receiver {
    pub(crate) address: SocketAddr,
    told: Arc<Mutex<Vec<(String, Value)>>>,
    /// It closes every connection unanswered.
    away: Arc<AtomicBool>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (told, away) = (Arc::<Mutex<_>>::default(), Arc::<AtomicBool>::default());
        let (heard, gone) = (told.clone(), away.clone());
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, heard, gone) = (stream.unwrap(), heard.clone(), gone.clone());
                thread::spawn(move || serve(&stream, &heard, &gone));
            }
        });
        Self { address, told, away }
    }

    /// What was told of a chat: each event once, in the order in which they first came.
    fn events(&self, chat: &str) -> Vec<Value> {
        let mut seen = HashSet::new();
        let told = self.told.lock().unwrap();
        let first = told.iter().filter(|(id, _)| seen.insert(id.clone()));
        let of_chat = first.filter(|(_, body)| body["data"]["chatId"] == chat);
        of_chat.map(|(_, body)| body.clone()).collect()
    }

    /// The messages among them.
    fn said(&self, chat: &str) -> Vec<String> {
        let content = |body: &Value| body["data"]["message"]["content"].as_str().map(str::to_owned);
        self.events(chat).iter().filter_map(content).collect()
    }

    /// Somebody's coming and going.
    fn turns(&self, user: &str) -> Vec<String> {
        let told = self.told.lock().unwrap();
        let of_user = told.iter().filter(|(_, body)| body["data"]["userId"] == user);
        let kinds = of_user.filter_map(|(_, body)| body["type"].as_str());
        kinds.filter(|kind| kind.starts_with("user.")).map(str::to_owned).collect()
    }

    /// Notifications of a chat that are due, by their data.
    fn notices(&self, chat: &str) -> Vec<Value> {
        let events = self.events(chat).into_iter();
        let notices = events.filter(|event| event["type"] == "notification.due");
        notices.map(|mut event| event["data"].take()).collect()
    }
}

/// Answers one connection's requests until it ends.
fn serve(stream: &TcpStream, told: &Mutex<Vec<(String, Value)>>, away: &AtomicBool) {
    let (mut reader, mut writer) = (BufReader::new(stream), stream);
    while let Some((id, body)) = request(&mut reader) {
        if away.load(Ordering::SeqCst) {
            return;
        }
        told.lock().unwrap().push((id, body));
        if writer.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").is_err() {
            return;
        }
    }
}

fn request(reader: &mut impl BufRead) -> Option<(String, Value)> {
    let (mut id, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let Some((name, value)) = line.trim().split_once(": ") else {
            if line.trim().is_empty() {
                break;
            }
            continue;
        };
        match name.to_ascii_lowercase().as_str() {
            "webhook-id" => value.clone_into(&mut id),
            "content-length" => length = value.parse().ok()?,
            _ => {}
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some((id, serde_json::from_slice(&body).ok()?))
}

struct Story {
    cluster: Cluster,
    receiver: Receiver,
    webhook: String,
    host: Client,
}

impl Story {
    /// A cluster with two couriers and a webhook, whose pods all know of it; a notice is due after a while.
    fn begin(name: &str) -> Self {
        let home = testing::home(name).unwrap();
        let quick = [("RETRY_MS", "50"), ("RETRY_CAP_MS", "500"), ("TIMEOUT_MS", "1000")];
        let settings =
            quick.map(|(name, value)| (format!("PARLEY_WEBHOOK_{name}"), value.to_owned()));
        let mut settings = Vec::from(settings);
        settings.push(("PARLEY_MESSAGE_LIMITS".to_owned(), "user=none".to_owned()));
        settings.push(("PARLEY_NOTICE_DELAY_MS".to_owned(), NOTICE_DELAY_MS.to_owned()));
        settings.push(("PARLEY_PRESENCE_EVENTS".to_owned(), "true".to_owned()));
        let options = Options { couriers: 2, settings, ..Options::for_tests() };
        let cluster = Cluster::start(&home, &options, &Interrupt::default()).unwrap();
        let secret = &cluster.description().jwt.secret;
        let token = Token { role: Role::Service, ..Token::user("host") };
        let host = Client::new(&cluster.description().url, Some(token.sign(secret).unwrap()));
        let receiver = Receiver::start();
        let new = json!({ "url": format!("http://{}/", receiver.address) });
        let made = host.post("/api/webhooks", &new).unwrap();
        assert_eq!(made.status, 201, "{}", made.body);
        let webhook = made.body["data"]["webhook"]["_id"].as_str().unwrap().to_owned();
        Self { cluster, receiver, webhook, host }
    }

    /// Chats of alice, once every api pod tells the webhook of what is said there.
    fn chats(&self, number: usize) -> Vec<String> {
        let people: Vec<_> = (0..=number).map(|n| json!({ "id": format!("user-{n}") })).collect();
        self.host.post("/api/users", &json!({ "users": people })).unwrap();
        let alice = self.alice(0);
        let chat = |n: usize| {
            let body = json!({ "participantIds": [format!("user-{n}")] });
            let made = alice.post("/api/chat", &body).unwrap();
            made.body["data"]["chat"]["_id"].as_str().unwrap().to_owned()
        };
        let chats: Vec<_> = (1..=number).map(chat).collect();
        for pod in 0..self.cluster.description().api.len() {
            let probe = format!("probe {pod}");
            eventually("that a pod tells webhooks", || {
                self.say(pod, &chats[0], &probe);
                self.receiver.said(&chats[0]).contains(&probe)
            });
        }
        chats
    }

    fn alice(&self, pod: usize) -> Client {
        self.person(0, pod)
    }

    fn person(&self, number: usize, pod: usize) -> Client {
        let api = &self.cluster.description().api;
        self.cluster.client(&api[pod % api.len()].url, &format!("user-{number}")).unwrap()
    }

    /// Somebody's connection to a gateway, which has joined a chat.
    fn socket(&self, number: usize, chat: &str) -> Socket {
        let cluster = self.cluster.description();
        let token = Token::user(&format!("user-{number}")).sign(&cluster.jwt.secret).unwrap();
        let mut socket = Socket::connect(&cluster.gateway[0].url, &token);
        let ack = socket.join(&json!(chat));
        assert_eq!(ack["success"], true, "{ack}");
        socket
    }

    /// Waits until everything was decided that was due by now: the notice of somebody who is never here comes after that.
    fn decided(&self, elsewhere: &str) {
        let before = self.receiver.notices(elsewhere).len();
        self.say(0, elsewhere, "who is away is told");
        eventually("a notice of another chat", || self.receiver.notices(elsewhere).len() > before);
    }

    fn say(&self, pod: usize, chat: &str, text: &str) {
        let body = json!({ "content": text });
        let said = self.alice(pod).post(&format!("/api/chat/{chat}/messages"), &body).unwrap();
        assert_eq!(said.status, 201, "{}", said.body);
    }
}

#[test]
fn who_goes_away_is_told_once_of_three_messages_and_not_of_what_they_read_elsewhere() {
    let story = Story::begin("away");
    let chats = story.chats(3);
    // The second chat is bob's, and the third one carol's, who is never here.
    let (bob, chat, elsewhere) = (2, &chats[1], &chats[2]);
    let socket = story.socket(bob, chat);
    story.say(0, chat, "bob sees this");
    story.decided(elsewhere);
    socket.close();
    eventually("that bob came and went", || {
        story.receiver.turns("user-2") == ["user.online", "user.offline"]
    });
    for (pod, text) in ["one", "two", "three"].into_iter().enumerate() {
        story.say(pod, chat, text);
    }
    eventually("that bob is told", || !story.receiver.notices(chat).is_empty());
    story.decided(elsewhere);
    let notices = story.receiver.notices(chat);
    assert_eq!(notices.len(), 1, "{notices:?}");
    let told = &notices[0];
    assert_eq!((&told["userId"], &told["count"]), (&json!("user-2"), &json!(3)));
    assert_eq!(told["badge"], 4, "what bob saw and has not marked as read is unread too");
    assert_eq!((&told["senderId"], &told["preview"]), (&json!("user-0"), &json!("three")));

    story.say(0, chat, "four");
    let read = format!("/api/chat/{chat}/messages/read");
    let read = story.person(bob, 1).patch(&read, &json!({})).unwrap();
    assert_eq!(read.status, 200, "{}", read.body);
    story.decided(elsewhere);
    assert_eq!(story.receiver.notices(chat).len(), 1, "of what was read there is nothing to tell");
}

#[test]
fn nothing_is_lost_while_couriers_are_killed_and_the_receiver_is_away() {
    let mut story = Story::begin("webhooks");
    let chats = story.chats(5);
    let mut expected: BTreeMap<&String, Vec<String>> = BTreeMap::new();
    for n in 0..200 {
        let chat = &chats[n % chats.len()];
        let text = format!("said {n}");
        story.say(n, chat, &text);
        expected.entry(chat).or_default().push(text);
        match n {
            40 => story.cluster.kill("courier-1").unwrap(),
            80 => story.receiver.away.store(true, Ordering::SeqCst),
            100 => {
                story.cluster.restart("courier-1").unwrap();
                story.cluster.kill("courier-2").unwrap();
            }
            160 => {
                story.receiver.away.store(false, Ordering::SeqCst);
                story.cluster.restart("courier-2").unwrap();
            }
            _ => {}
        }
    }
    eventually("everything that was said", || {
        expected.iter().all(|(chat, texts)| {
            story.receiver.said(chat).iter().filter(|it| it.starts_with("said")).count()
                >= texts.len()
        })
    });
    for (chat, texts) in expected {
        let said = story.receiver.said(chat);
        let said: Vec<_> = said.into_iter().filter(|it| it.starts_with("said")).collect();
        assert_eq!(said, texts, "in order, each once by its id");
    }
    eventually("an empty queue", || {
        let standing = story.host.get(&format!("/api/webhooks/{}", story.webhook)).unwrap();
        standing.body["data"]["webhook"]["waiting"] == 0
    });
}
