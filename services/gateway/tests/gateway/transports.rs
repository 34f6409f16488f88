//! Polls and upgrades behind a balancer that sends any request to any gateway.

use std::net::SocketAddr;

use parley_domain::ask::JoinRefusal;
use parley_domain::bus::{Kind, Origin, RoomEvent};
use parley_domain::ids::{ChatId, UserId};
use parley_domain::user::Role;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_tungstenite::connect_async;

use crate::client::{Client, Heard, parse};
use crate::fixture::{ApiPod, EPOCH, Gateway, SECRET, event, sign, token_for};
use crate::server::{NatsServer, eventually, soon};

pub(crate) const PEERS: [&str; 2] =
    ["--peer-secret=fedcba9876543210fedcba9876543210", "--peer-listen=127.0.0.1:0"];

/// Two gateways that know each other, and who answers them.
struct Cluster {
    nats: NatsServer,
    api: ApiPod,
    gateways: [Gateway; 2],
}

impl Cluster {
    async fn start() -> Self {
        Self::with(&[]).await
    }

    async fn with(more: &[&str]) -> Self {
        let nats = NatsServer::start().await;
        let api = ApiPod::start(&nats).await;
        let settings = [&PEERS[..], more].concat();
        let gateway = async || {
            let gateway = Gateway::start(&nats.url(), &settings).await;
            gateway.is_ready().await;
            gateway
        };
        let gateways = [gateway().await, gateway().await];
        Self { nats, api, gateways }
    }

    /// A client that polls, of the first gateway's; in its namespace.
    async fn client(&self, user: &str) -> Polling {
        self.client_with(&token_for(user, 60)).await
    }

    async fn client_with(&self, token: &str) -> Polling {
        let mut client = Polling::open(self.gateways[0].address).await;
        client.send(&format!("40{}", json!({ "token": token }))).await;
        assert_eq!(client.next().await, Heard::Connected);
        client
    }

    /// The same, in these rooms.
    async fn in_rooms(&self, user: &str, chats: &[ChatId]) -> Polling {
        let mut client = self.client(user).await;
        client.join_all(chats).await;
        client
    }

    /// The client's WebSocket comes to the second gateway.
    async fn probe(&self, client: &Polling) -> Client {
        let address = self.gateways[1].address;
        let url = format!("ws://{address}/socket.io/?EIO=4&transport=websocket&sid={}", client.sid);
        let (ws, _) = soon(connect_async(url)).await.expect("a WebSocket");
        let mut client = Client::from(ws);
        client.send("2probe").await;
        assert_eq!(client.raw().await, "3probe");
        client
    }

    async fn moves(&self, client: &Polling) -> Client {
        let mut moved = self.probe(client).await;
        moved.send("5").await;
        moved
    }

    async fn has_moved(&self, outcome: &str, times: u64) {
        let series = format!("parley_gateway_moves_total{{outcome=\"{outcome}\"}}");
        let gateway = usize::from(outcome == "arrived");
        self.gateways[gateway].reaches(&series, times).await;
    }
}

/// A client that polls wherever it is told to.
#[derive(Clone)]
pub(crate) struct Polling {
    /// Where the next request goes.
    pub(crate) gateway: SocketAddr,
    sid: String,
    heard: Vec<Heard>,
}

impl Polling {
    pub(crate) async fn open(gateway: SocketAddr) -> Self {
        let client = Self { gateway, sid: String::new(), heard: Vec::new() };
        let (status, open) = client.request("GET", "").await;
        assert_eq!(status, 200);
        let open: Value = serde_json::from_str(&open[1..]).unwrap();
        Self { sid: open["sid"].as_str().unwrap().to_owned(), ..client }
    }

    /// Where its session is.
    pub(crate) fn path(&self) -> String {
        format!("/socket.io/?EIO=4&transport=polling&sid={}", self.sid)
    }

    pub(crate) async fn request(&self, method: &str, body: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(self.gateway).await.unwrap();
        let sid = if self.sid.is_empty() { String::new() } else { format!("&sid={}", self.sid) };
        let request = format!(
            "{method} /socket.io/?EIO=4&transport=polling{sid} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        soon(stream.read_to_string(&mut answer)).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    pub(crate) async fn send(&self, packet: &str) {
        assert_eq!(self.request("POST", packet).await, (200, "ok".to_owned()));
    }

    pub(crate) async fn next(&mut self) -> Heard {
        while self.heard.is_empty() {
            let (status, body) = self.request("GET", "").await;
            assert_eq!(status, 200, "{body}");
            self.heard.extend(body.split('\x1e').filter(|it| *it != "6").map(parse));
        }
        self.heard.remove(0)
    }

    async fn join_all(&mut self, chats: &[ChatId]) {
        for (id, chat) in chats.iter().enumerate() {
            self.send(&format!("42{id}{}", json!(["join-chat-room", { "chatId": chat }]))).await;
            let Heard::Ack(number, ack) = self.next().await else { panic!("an ack expected") };
            assert_eq!((number, &ack["success"]), (id as u64, &json!(true)), "{ack}");
        }
    }
}

fn version(heard: &Heard, chat: ChatId) -> Option<u64> {
    match heard {
        Heard::Event(name, payload) if name == "new-message" => {
            (payload["chatId"] == json!(chat)).then(|| payload["version"].as_u64().unwrap())
        }
        other => panic!("a message expected, not {other:?}"),
    }
}

#[tokio::test]
async fn polls_may_go_to_any_gateway() {
    let cluster = Cluster::start().await;
    let chat = cluster.api.chats.create(0);
    let mut client = cluster.client("alice").await;
    client.gateway = cluster.gateways[1].address;
    client.join_all(&[chat]).await;
    for turn in 0..20 {
        let said = cluster.api.say(chat);
        client.gateway = cluster.gateways[turn % 2].address;
        assert_eq!(version(&client.next().await, chat), Some(said));
    }
    let answered = "parley_gateway_forwards_total{outcome=\"answered\"}";
    assert!(cluster.gateways[1].metric(answered).await >= 12);
    assert_eq!(cluster.gateways[1].rooms().await, 0, "the room is where the session is");
}

#[tokio::test]
async fn a_session_of_a_gateway_that_nobody_knows_is_unknown() {
    let cluster = Cluster::start().await;
    let mut client = cluster.client("alice").await;
    client.sid = format!("nobody{}", &client.sid[client.sid.find('.').unwrap()..]);
    let (status, body) = client.request("GET", "").await;
    assert_eq!((status, body.as_str()), (400, r#"{"code":1,"message":"Session ID unknown"}"#));
    // A gateway that came after that is found all the same.
    let third = Gateway::start(&cluster.nats.url(), &PEERS).await;
    let client = Polling::open(third.address).await;
    eventually("the new gateway is found", async || {
        let elsewhere = Polling {
            gateway: cluster.gateways[0].address,
            sid: client.sid.clone(),
            heard: Vec::new(),
        };
        (elsewhere.request("POST", "40").await.0 == 200).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn i4_a_session_moves_in_mid_stream_and_misses_nothing() {
    let cluster = Cluster::start().await;
    for round in 0..5 {
        let chats = [0, 0, 0].map(|version| cluster.api.chats.create(version));
        let mut client = cluster.in_rooms(&format!("user-{round}"), &chats).await;
        let (publisher, committed) = (cluster.api.publisher(), cluster.api.chats.clone());
        let speaking = tokio::spawn(async move {
            for number in 0..300 {
                for chat in chats {
                    let version = committed.commit(chat);
                    publisher.publish(&event(chat, version, 0));
                }
                if number % 3 == 0 {
                    tokio::time::sleep(std::time::Duration::from_millis(1)).await;
                }
            }
        });
        let mut heard = Vec::new();
        for _ in 0..round * 20 {
            heard.push(client.next().await);
        }
        let mut moved = cluster.probe(&client).await;
        // Its last poll comes to its end, as a stock client's does.
        let (status, body) = client.request("GET", "").await;
        assert_eq!(status, 200);
        client.heard.extend(body.split('\x1e').filter(|it| *it != "6").map(parse));
        heard.append(&mut client.heard);
        moved.send("5").await;
        speaking.await.unwrap();
        let mut next = chats.map(|chat| (chat, 1));
        while next.iter().any(|(_, version)| *version <= 300) {
            let event = if heard.is_empty() { moved.next().await } else { heard.remove(0) };
            let (chat, wanted) =
                next.iter_mut().find(|(chat, _)| version(&event, *chat).is_some()).unwrap();
            assert_eq!(version(&event, *chat), Some(*wanted), "round {round}");
            *wanted += 1;
        }
        moved.hears_nothing().await;
        // It is a member like any other.
        let said = cluster.api.say(chats[0]);
        moved.hears(chats[0], said).await;
        moved.leave(chats[0]).await;
        cluster.api.say(chats[0]);
        moved.hears_nothing().await;
        cluster.has_moved("arrived", round + 1).await;
        cluster.has_moved("departed", round + 1).await;
        cluster.gateways[0].reaches("parley_gateway_rooms", 0).await;
        moved.close().await;
    }
    let closed = |reason| format!("parley_gateway_closed_total{{reason=\"{reason}\"}}");
    assert_eq!(cluster.gateways[0].metric(&closed("moved")).await, 5);
    assert_eq!(cluster.gateways[0].metric("parley_gateway_connections").await, 0);
}

#[tokio::test]
async fn i4_what_is_said_while_a_session_is_on_its_way_follows() {
    let cluster = Cluster::start().await;
    let chat = cluster.api.chats.create(0);
    let mut client = cluster.in_rooms("alice", &[chat]).await;
    let gate = cluster.api.chats.gate(chat);
    let asked = cluster.api.chats.asked();
    let mut moved = cluster.moves(&client).await;
    // It has left there, and waits here.
    cluster.api.chats.has_been_asked(asked + 1).await;
    for _ in 0..3 {
        cluster.api.say(chat);
    }
    let id = moved.emit("join-chat-room", &json!(chat)).await;
    gate.add_permits(10);
    for version in 1..=3 {
        moved.hears(chat, version).await;
    }
    assert_eq!(moved.ack(id).await["success"], true, "what it said meanwhile comes after that");
    assert!(client.request("GET", "").await.1.contains("Session ID unknown"));
    client.gateway = cluster.gateways[1].address;
    assert!(client.request("GET", "").await.1.contains("Bad request"));
}

#[tokio::test]
async fn i6_whoever_is_removed_on_the_way_does_not_come_in() {
    let cluster = Cluster::start().await;
    let (chat, other) = (cluster.api.chats.create(0), cluster.api.chats.create(0));
    let client = cluster.in_rooms("bob", &[chat, other]).await;
    cluster.api.chats.refuse(chat, "bob", JoinRefusal::NotParticipant);
    let removal = |version| RoomEvent {
        kind: Kind::ParticipantRemoved,
        affected: vec![UserId::parse("bob").unwrap()],
        ..event(chat, version, 0)
    };
    cluster.api.chats.commit_as(chat, removal);
    let mut moved = cluster.moves(&client).await;
    let resync = json!({ "chatId": chat, "reason": "gap" });
    assert_eq!(moved.event().await, ("resync".to_owned(), resync), "it reloads, and finds out");
    cluster.api.say(chat);
    let said = cluster.api.say(other);
    moved.hears(other, said).await;
    moved.hears_nothing().await;
}

#[tokio::test]
async fn i6_the_pool_does_not_enter_a_second_time_by_moving() {
    let cluster = Cluster::start().await;
    let (chat, other) = (cluster.api.chats.create(0), cluster.api.chats.create(0));
    let claims = json!({ "sub": "sue", "role": "support", "exp": 4_000_000_000_u64 });
    let mut client = cluster.client_with(&sign(&claims, SECRET)).await;
    client.join_all(&[chat, other]).await;
    // From now on an ask as one of the pool is told from one as a participant.
    cluster.api.chats.keep_for(chat, Role::User);
    cluster.api.chats.keep_for(other, Role::Support);
    let mut moved = cluster.moves(&client).await;
    let chats = json!({ "chatId": null, "reason": "chats" });
    assert_eq!(moved.event().await, ("resync".to_owned(), chats), "the pool's are not counted");
    let gap = json!({ "chatId": other, "reason": "gap" });
    assert_eq!(moved.event().await, ("resync".to_owned(), gap));
    cluster.api.say(other);
    let said = cluster.api.say(chat);
    moved.hears(chat, said).await;
    moved.hears_nothing().await;
}

#[tokio::test]
async fn another_history_on_the_way_is_reloaded() {
    let cluster = Cluster::start().await;
    let chat = cluster.api.chats.create(7);
    let client = cluster.in_rooms("alice", &[chat]).await;
    cluster.api.chats.put_back(chat, 5, parley_domain::version::Epoch(7));
    let mut moved = cluster.moves(&client).await;
    let resync = json!({ "chatId": chat, "reason": "history" });
    assert_eq!(moved.event().await, ("resync".to_owned(), resync));
    moved.hears_nothing().await;
}

#[tokio::test]
async fn a_token_that_is_revoked_on_the_way_ends_the_connection() {
    let cluster = Cluster::start().await;
    let claims = json!({ "sub": "mallory", "iat": 1_000, "exp": 4_000_000_000_u64 });
    let client = cluster.client_with(&sign(&claims, SECRET)).await;
    // Committed; the announcement is lost.
    cluster.api.chats.revoke("mallory", 2_000);
    let mut moved = cluster.moves(&client).await;
    moved.is_closed_with(1001).await;
    assert_eq!(cluster.gateways[1].metric("parley_gateway_connections").await, 0);
    // One that is announced after it came ends there, too.
    let claims = json!({ "sub": "eve", "iat": 1_000, "exp": 4_000_000_000_u64 });
    let client = cluster.client_with(&sign(&claims, SECRET)).await;
    let mut moved = cluster.moves(&client).await;
    moved.hears_nothing().await;
    cluster.api.announce(&cluster.api.chats.revoke("eve", 2_000)).await;
    moved.is_closed_with(1001).await;
}

#[tokio::test]
async fn what_is_said_to_a_user_on_the_way_is_reloaded_and_after_that_heard() {
    let cluster = Cluster::start().await;
    let created = || {
        let versions = vec![cluster.api.chats.has_other_chats("alice")];
        let chat_id = cluster.api.chats.create(0);
        RoomEvent {
            kind: Kind::ChatCreated,
            chat_id,
            version: None,
            epoch: EPOCH,
            affected: vec![UserId::parse("alice").unwrap()],
            membership_versions: versions,
            origin: Origin::default(),
            event: parley_domain::event::encode("chat-created", &json!({ "chatId": chat_id }))
                .into(),
        }
    };
    let hears = async |client: &mut Client, event: &RoomEvent| {
        let payload = json!({ "chatId": event.chat_id });
        assert_eq!(client.event().await, ("chat-created".to_owned(), payload));
    };
    let mut client = cluster.client("alice").await;
    let first = created();
    cluster.api.publisher().publish(&first);
    assert_eq!(
        client.next().await,
        Heard::Event("chat-created".to_owned(), json!({ "chatId": first.chat_id }))
    );
    // Nothing happened on the way: nothing is reloaded.
    let mut moved = cluster.moves(&client).await;
    moved.hears_nothing().await;
    let second = created();
    cluster.api.publisher().publish(&second);
    hears(&mut moved, &second).await;
    // Something did, and nobody heard it.
    let client = cluster.client("alice").await;
    created();
    let mut late = cluster.moves(&client).await;
    let resync = json!({ "chatId": null, "reason": "chats" });
    assert_eq!(late.event().await, ("resync".to_owned(), resync));
    let last = created();
    cluster.api.publisher().publish(&last);
    hears(&mut late, &last).await;
    late.hears_nothing().await;
}

#[tokio::test]
async fn alone_a_gateway_knows_its_own_sessions_only() {
    let nats = NatsServer::start().await;
    let _api = ApiPod::start(&nats).await;
    let gateway = Gateway::start(&nats.url(), &[]).await;
    gateway.is_ready().await;
    let client = Polling::open(gateway.address).await;
    client.send(&format!("40{}", json!({ "token": token_for("alice", 60) }))).await;
    let stranger =
        Polling { gateway: gateway.address, sid: format!("a.{}", client.sid), heard: Vec::new() };
    assert!(stranger.request("GET", "").await.1.contains("Session ID unknown"));
    assert!(nats.subscriptions("ask.gateways").await.is_empty());
}

/// What a client was told of typing before it moves is set right after it: by its new gateway, which did not tell it.
#[tokio::test]
async fn who_stops_while_a_session_moves_has_stopped_for_it_too() {
    let cluster = Cluster::start().await;
    let chat = cluster.api.chats.create(0);
    let mut alice = cluster.gateways[0].client("alice").await;
    alice.join_at(chat, 0).await;
    let mut bob = cluster.in_rooms("bob", &[chat]).await;
    alice.ask("typing-start", &json!({ "chatId": chat })).await;
    let told = |is_typing| {
        let payload =
            json!({ "chatId": chat, "userId": "alice", "name": null, "isTyping": is_typing });
        Heard::Event("user-typing".to_owned(), payload)
    };
    assert_eq!(bob.next().await, told(true));
    let asked = cluster.api.chats.asked();
    let gate = cluster.api.chats.gate(chat);
    let mut moved = cluster.moves(&bob).await;
    cluster.api.chats.has_been_asked(asked + 1).await;
    alice.ask("typing-stop", &json!({ "chatId": chat })).await;
    assert_eq!(alice.event().await.1["isTyping"], true);
    assert_eq!(alice.event().await.1["isTyping"], false, "it is over for everybody else");
    gate.add_permits(100);
    assert_eq!(moved.next().await, told(false));
    cluster.has_moved("arrived", 1).await;
}

#[tokio::test]
async fn who_writes_and_moves_goes_on_writing() {
    let cluster = Cluster::start().await;
    let chat = cluster.api.chats.create(0);
    let mut bob = cluster.gateways[0].client("bob").await;
    bob.join_at(chat, 0).await;
    let alice = cluster.in_rooms("alice", &[chat]).await;
    alice.send(&format!("42{}", json!(["typing-start", { "chatId": chat }]))).await;
    assert_eq!(bob.event().await.1["isTyping"], true);
    let mut moved = cluster.moves(&alice).await;
    cluster.has_moved("arrived", 1).await;
    bob.hears_nothing().await;
    moved.emit("typing-stop", &json!({ "chatId": chat })).await;
    assert_eq!(bob.event().await.1["isTyping"], false);
}

#[tokio::test]
async fn a_session_that_came_long_ago_moves_all_the_same() {
    let cluster = Cluster::with(&["--connect-timeout-ms=1000"]).await;
    let chat = cluster.api.chats.create(0);
    let client = cluster.in_rooms("alice", &[chat]).await;
    // Older than a client may be that is in no namespace.
    tokio::time::sleep(std::time::Duration::from_millis(1_200)).await;
    let mut moved = cluster.moves(&client).await;
    cluster.has_moved("arrived", 1).await;
    let said = cluster.api.say(chat);
    moved.hears(chat, said).await;
}
