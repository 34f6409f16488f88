use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use parking_lot::Mutex;
use parley_domain::here::{HereAnswer, HereAsk, Viewers};
use parley_domain::ids::ChatId;
use parley_domain::webhook::EventKind;
use parley_local::testing;
use parley_relay::{Bus, NatsSettings};
use prometheus::Registry;
use tokio::task::JoinHandle;
use uuid::Uuid;

use crate::fixture::{World, user};
use crate::receiver::Receiver;

const NOTICES: &[EventKind] = &[EventKind::NotificationDue];

#[derive(Parser)]
struct BusSettings {
    #[command(flatten)]
    nats: NatsSettings,
}

/// A gateway, as far as couriers ask it.
struct Gateway {
    /// When it was asked, and how much.
    asked: Arc<Mutex<Vec<(Instant, HereAsk)>>>,
    task: JoinHandle<()>,
}

impl Gateway {
    /// One over which these see a chat.
    async fn start(here: Option<Viewers>) -> Self {
        let settings = BusSettings::parse_from(["test", "--nats-url", &testing::nats_url()]);
        let bus = Bus::connect(&settings.nats, "gateway", &Registry::new()).await.unwrap();
        assert!(bus.connected(Duration::from_secs(10)).await);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (heard, asking) = (asked.clone(), bus.clone());
        let task = tokio::spawn(async move {
            let answer = |ask: HereAsk| {
                let here = here.clone().into_iter().filter(|viewers| {
                    ask.asked.iter().any(|asked| asked.chat_id == viewers.chat_id)
                });
                let answer = HereAnswer { here: here.collect() };
                heard.lock().push((Instant::now(), ask));
                async move { answer }
            };
            bus.answer_here(answer, std::future::pending()).await.unwrap();
        });
        let gateway = Self { asked, task };
        // It listens once it is heard.
        let chat_id = ChatId::from(Uuid::new_v4());
        let ask = HereAsk { asked: vec![Viewers { chat_id, users: Vec::new() }] };
        while gateway.asked_about(chat_id).is_empty() {
            asking.ask_here(&ask, Duration::from_millis(100)).await.unwrap();
        }
        gateway
    }

    /// When it was asked about this chat: other tests have couriers too.
    fn asked_about(&self, chat: ChatId) -> Vec<Instant> {
        let asked = self.asked.lock();
        let about = asked.iter().filter(|(_, ask)| ask.asked.iter().any(|it| it.chat_id == chat));
        about.map(|(at, _)| *at).collect()
    }
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

#[tokio::test]
async fn many_notices_are_asked_about_side_by_side() {
    let (world, receiver) = (World::new().await, Receiver::start().await);
    world.webhook(&receiver.url(), NOTICES).await;
    let people: Vec<String> = (0..700).map(|n| format!("person-{n}")).collect();
    let chat = world.crowd("alice", &people).await;
    world.say(chat, "alice", "hi").await;
    let gateway = Gateway::start(None).await;
    let _courier = world.courier(&["--notice-delay-ms", "0"]).await;
    receiver.until_events(people.len()).await;
    let asked = gateway.asked_about(chat);
    assert_eq!(asked.len(), 4);
    // Each waits for 400 ms: nobody says how many gateways there are. One after the other, each would begin so long after the
    // one before.
    let waited = Duration::from_millis(400);
    assert!(asked.windows(2).any(|two| two[1] - two[0] < waited), "{asked:?}");
}

#[tokio::test]
async fn who_sees_the_chat_is_not_told() {
    let (world, receiver) = (World::new().await, Receiver::start().await);
    world.webhook(&receiver.url(), NOTICES).await;
    let chat = world.crowd("alice", &["dave".to_owned(), "erin".to_owned()]).await;
    let gateway = Gateway::start(Some(Viewers { chat_id: chat, users: vec![user("dave")] })).await;
    let _courier = world.courier(&["--notice-delay-ms", "0"]).await;
    world.say(chat, "alice", "hi").await;
    let told = receiver.until_events(1).await;
    assert_eq!(told[0].body["data"]["userId"], "erin");
    drop(gateway);
    world.say(chat, "alice", "again").await;
    let told = receiver.until_events(3).await;
    let of_dave = told.iter().find(|told| told.body["data"]["userId"] == "dave").unwrap();
    assert_eq!(of_dave.body["data"]["count"], 1, "of the first one there was nothing to tell");
}
