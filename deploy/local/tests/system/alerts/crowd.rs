//! People on the cluster: they write, listen, and do what faults need.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread::{self, Scope};
use std::time::{Duration, Instant};

use parley_local::{Answer, Client, Cluster, Description, Pod};
use serde_json::{Value, json};
use ureq::Agent;
use ureq::http::Request;

use crate::arena::messages_of;
use crate::people::{Person, direct_chat};

const CHATS: usize = 16;
const WRITERS: usize = 4;
/// Between two messages of a writer.
const PAUSE: Duration = Duration::from_millis(200);
/// Requests at once that all pods take, and more than they take.
pub(super) const MANY: usize = 24;
pub(super) const TOO_MANY: usize = 48;

pub(super) struct Crowd {
    cluster: Description,
    author: Person,
    chats: Vec<String>,
    paused: AtomicBool,
    next: AtomicUsize,
}

impl Crowd {
    pub(super) fn new(cluster: &Cluster) -> Self {
        let cluster = cluster.description().clone();
        let author = Person::new(&cluster, "author");
        let chat = |_| direct_chat(&author.at(&cluster.url), &Person::new(&cluster, "reader"));
        let chats = (0..CHATS).map(chat).collect();
        Self { cluster, author, chats, paused: AtomicBool::new(false), next: AtomicUsize::new(0) }
    }

    pub(super) fn token(&self) -> String {
        self.author.token().to_owned()
    }

    pub(super) fn chats(&self) -> &[String] {
        &self.chats
    }

    fn api(&self, number: usize) -> Client {
        self.author.at(&self.cluster.api[number % self.cluster.api.len()].url)
    }

    /// Writers at every api pod, a listener in all rooms of each gateway, and somebody who comes, enters a room and goes
    /// again and again, until told otherwise.
    pub(super) fn begin<'scope>(
        &'scope self,
        scope: &'scope Scope<'scope, '_>,
        go_on: &'scope AtomicBool,
    ) {
        for writer in 0..WRITERS {
            scope.spawn(move || {
                let client = self.api(writer);
                while go_on.load(Ordering::Relaxed) {
                    if !self.paused.load(Ordering::Relaxed) {
                        self.say(&client, None);
                    }
                    thread::sleep(PAUSE);
                }
            });
        }
        scope.spawn(|| self.come_and_go(go_on));
        for gateway in &self.cluster.gateway {
            scope.spawn(move || {
                while go_on.load(Ordering::Relaxed) {
                    // Whatever ends it: they come again, as stock clients do.
                    if let Some(guest) = Guest::open(&gateway.url, self.author.token()) {
                        self.chats.iter().for_each(|chat| guest.join(chat));
                        while go_on.load(Ordering::Relaxed) && guest.poll().is_some() {}
                    }
                    thread::sleep(PAUSE);
                }
            });
        }
    }

    fn come_and_go(&self, go_on: &AtomicBool) {
        for (number, gateway) in self.cluster.gateway.iter().cycle().enumerate() {
            if !go_on.load(Ordering::Relaxed) {
                return;
            }
            if let Some(guest) = Guest::open(&gateway.url, self.author.token()) {
                guest.join(&self.chats[number % CHATS]);
                // The answer, or the end of the connection.
                let _ = guest.poll();
            }
            thread::sleep(PAUSE);
        }
    }

    /// Nobody writes meanwhile.
    pub(super) fn pause(&self, work: impl FnOnce()) {
        self.paused.store(true, Ordering::Relaxed);
        work();
        self.paused.store(false, Ordering::Relaxed);
    }

    /// Whether it was committed: most of what is said here is said to something that is broken.
    fn say(&self, client: &Client, chat: Option<&str>) -> bool {
        let number = self.next.fetch_add(1, Ordering::Relaxed);
        let chat = chat.unwrap_or(&self.chats[number % CHATS]);
        let body = json!({ "content": format!("message {number}") });
        client.post(&messages_of(chat), &body).is_ok_and(|answer| answer.status == 201)
    }

    /// So many messages in one chat, as fast as they go.
    pub(super) fn flood(&self, messages: usize) {
        let said = &AtomicUsize::new(0);
        thread::scope(|scope| {
            for writer in 0..2 * WRITERS {
                scope.spawn(move || {
                    let client = self.api(writer);
                    while said.load(Ordering::Relaxed) < messages {
                        let committed = self.say(&client, Some(&self.chats[0]));
                        said.fetch_add(usize::from(committed), Ordering::Relaxed);
                    }
                });
            }
        });
    }

    /// So many read or write at once, until the work is done.
    pub(super) fn at_once(&self, people: usize, work: impl FnOnce()) {
        let go_on = AtomicBool::new(false);
        thread::scope(|scope| {
            let _running = crate::arena::GoOn::until_dropped(&go_on);
            for number in 0..people {
                let go_on = &go_on;
                scope.spawn(move || {
                    let (client, chat) = (self.api(number), &self.chats[number % CHATS]);
                    while go_on.load(Ordering::Relaxed) {
                        if number % 4 == 0 {
                            let _ = client.get(&messages_of(chat));
                        } else {
                            self.say(&client, Some(chat));
                        }
                        thread::sleep(PAUSE / 20);
                    }
                });
            }
            work();
        });
    }

    /// Opens as many connections as come near the limit of all gateways, and stays silent.
    pub(super) fn fill(&self, gateways: &[Pod]) -> Vec<Guest> {
        let open = |gateway: &Pod| Guest::open(&gateway.url, self.author.token()).unwrap();
        gateways.iter().flat_map(|gateway| (0..8).map(move |_| open(gateway))).collect()
    }

    pub(super) fn knock_with_a_bad_token(&self) {
        let stranger = Client::new(&self.cluster.url, Some("no.good.token".to_owned()));
        let until = Instant::now() + Duration::from_millis(500);
        while Instant::now() < until {
            assert_eq!(stranger.get("/api/chat").unwrap().status, 401);
        }
    }

    /// Sends a file, and returns the message; `None` when the storage is away.
    pub(super) fn send_file(&self, content: &[u8]) -> Option<Value> {
        let answer = self.post_file(&self.cluster.api[0].url, content);
        match answer.status {
            201 => Some(answer.data().unwrap()["message"].clone()),
            503 => None,
            _ => panic!("{answer:?}"),
        }
    }

    fn post_file(&self, url: &str, content: &[u8]) -> Answer {
        let path = format!("{}/file", messages_of(&self.chats[1]));
        self.author.at(url).post_form(&path, BOUNDARY, &form(content)).unwrap()
    }

    /// The path of a file that was sent.
    pub(super) fn attachment(&self, content: &[u8]) -> String {
        let answer = self.post_file(&self.cluster.api[1].url, content);
        let message = &answer.data().unwrap()["message"];
        message["attachments"][0]["url"].as_str().unwrap().to_owned()
    }

    pub(super) fn delete(&self, message: &Value) {
        let id = message["_id"].as_str().unwrap();
        let path = format!("{}/{id}", messages_of(&self.chats[1]));
        assert_eq!(self.api(0).delete(&path).unwrap().status, 200);
    }

    /// There is no place at this pod for another upload, nor for another download.
    pub(super) fn is_refused_at(&self, url: &str, attachment: &str) {
        assert_eq!(self.post_file(url, b"one too many").status, 503);
        assert_eq!(self.author.at(url).get(attachment).unwrap().status, 503);
    }

    pub(super) fn file_path(&self) -> String {
        format!("{}/file", messages_of(&self.chats[1]))
    }
}

pub(super) const BOUNDARY: &str = "parley-alerts";

/// A form with a file of plain text.
pub(super) fn form(content: &[u8]) -> Vec<u8> {
    let head = format!(
        "--{BOUNDARY}\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\
         Content-Type: text/plain\r\n\r\n"
    );
    [head.as_bytes(), content, format!("\r\n--{BOUNDARY}--\r\n").as_bytes()].concat()
}

/// A Socket.IO client over polling, by hand: it reads when it is told to.
pub(super) struct Guest {
    url: String,
    agent: Agent,
}

impl Guest {
    /// Connects; `None` when there is no room, or nobody.
    pub(super) fn open(gateway: &str, token: &str) -> Option<Self> {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .proxy(None)
            .timeout_global(Some(Duration::from_secs(30)));
        let base = format!("{gateway}/socket.io/?EIO=4&transport=polling");
        let mut guest = Self { url: base, agent: config.build().into() };
        let opened: Value = serde_json::from_str(guest.poll()?.strip_prefix('0')?).ok()?;
        guest.url = format!("{}&sid={}", guest.url, opened["sid"].as_str()?);
        guest.post(&format!("40{}", json!({ "token": token })))?;
        guest.poll()?.starts_with("40").then_some(guest)
    }

    /// Asks to enter a room; whatever comes of it comes with a poll.
    pub(super) fn join(&self, chat: &str) {
        // One that was closed meanwhile enters nothing.
        let _ = self.post(&format!("42{}", json!(["join-chat-room", chat])));
    }

    /// Waits for something, answers a heartbeat, and returns what came.
    pub(super) fn poll(&self) -> Option<String> {
        let mut answer = self.agent.get(&self.url).call().ok()?;
        let text = answer.body_mut().read_to_string().ok()?;
        if answer.status() != 200 {
            return None;
        }
        if text.split('\u{1e}').any(|packet| packet == "2") {
            self.post("3")?;
        }
        Some(text)
    }

    /// Sends a packet.
    fn post(&self, packet: &str) -> Option<()> {
        let request = Request::post(&self.url).body(packet.to_owned()).ok()?;
        let answer = self.agent.run(request).ok()?;
        (answer.status() == 200).then_some(())
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        // Goodbye; who is gone already says it in vain.
        let _ = self.post("1");
    }
}
