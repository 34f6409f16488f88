//! From what happens to what is delivered: the outbox, the fan-out, claims and what comes of them.

mod log;

use std::time::Duration;

use parley_domain::attendance::Turn;
use parley_domain::ids::{ChatId, MessageId, WebhookId};
use parley_domain::webhook::{EventFilter, EventKind, WebhookUrl};
use parley_store::{
    ArmNotices, Attempted, ChangeAs, ClaimLimits, Claimed, DeleteAs, DeliveryQuery, DeliveryState,
    Due, Health, NewWebhook, Patience, Released, ReplayRange, Replayed, Settlement, WebhookChange,
};
use sqlx::{Connection, Executor, Row};
use uuid::Uuid;

use crate::fixture::{World, content, room_for, user};

const ARM: ArmNotices = ArmNotices { delay: Duration::from_hours(1), crowd: 100 };

const PATIENCE: Patience = Patience {
    base: Duration::from_millis(1),
    cap: Duration::from_millis(1),
    give_up: Duration::from_hours(1),
};

impl World {
    async fn webhook(&self, events: &[EventKind]) -> WebhookId {
        let new = NewWebhook {
            url: WebhookUrl::parse("https://app.example/parley").unwrap(),
            description: None,
            events: EventFilter::of(events.to_vec()),
        };
        let made = self.store.create_webhook(&new, &"whsec_x".into(), 50).await.unwrap().unwrap();
        self.store.note_demand().await.unwrap();
        made.id
    }

    /// One number that the database says.
    async fn number(&self, sql: &'static str) -> i64 {
        self.connection().await.fetch_one(sql).await.unwrap().get(0)
    }

    /// Everything that is in the outbox becomes deliveries; says how many.
    async fn fan_out(&self) -> u64 {
        let mut deliveries = 0;
        loop {
            let done = self.store.fan_out(10, &ARM).await.unwrap().expect("nobody else does");
            deliveries += done.deliveries;
            if done.rows == 0 {
                return deliveries;
            }
        }
    }

    async fn claim(&self, holder: Uuid) -> Claimed {
        let limits = ClaimLimits {
            lanes: 100,
            deliveries: 100,
            lease: Duration::from_mins(1),
            held: Vec::new(),
        };
        self.store.claim_lanes(holder, &limits).await.unwrap()
    }

    async fn replay(&self, webhook: WebhookId, range: &ReplayRange) -> Replayed {
        self.store.replay_range(webhook, range).await.unwrap().unwrap()
    }

    async fn settle(&self, holder: Uuid, settlement: Settlement) -> Vec<WebhookId> {
        self.store.settle(holder, &settlement, &PATIENCE).await.unwrap()
    }

    /// Everything that is due succeeds; says what it was, webhook by webhook and lane by lane.
    async fn deliver(&self) -> Vec<Due> {
        let holder = Uuid::new_v4();
        let claimed = self.claim(holder).await;
        let mut settlement = Settlement::default();
        let mut delivered = Vec::new();
        for lane in claimed.lanes {
            let (webhook, lane_id) = (lane.webhook, lane.lane);
            settlement.released.push(Released { webhook, lane: lane_id, pause: Duration::ZERO });
            settlement.attempts.extend(lane.deliveries.iter().map(succeeded));
            delivered.extend(lane.deliveries);
        }
        self.settle(holder, settlement).await;
        delivered
    }
}

fn attempted(due: &Due, state: DeliveryState, status: u16) -> Attempted {
    Attempted {
        delivery: due.id,
        attempt: due.attempt,
        state,
        began_at: due.occurred_at,
        took: Duration::from_millis(7),
        status: Some(status),
        error: None,
        answer: Some("ok".to_owned()),
    }
}

fn succeeded(due: &Due) -> Attempted {
    attempted(due, DeliveryState::Delivered, 204)
}

fn failed(due: &Due) -> Attempted {
    attempted(due, DeliveryState::Waiting, 500)
}

fn kinds(dues: &[Due]) -> Vec<EventKind> {
    dues.iter().map(|due| EventKind::parse(&due.kind).unwrap()).collect()
}

async fn chat_of_two(world: &World) -> ChatId {
    world.direct("alice", "bob").await
}

#[tokio::test]
async fn nothing_is_written_for_webhooks_that_there_are_not() {
    let world = World::with(&["alice", "bob"]).await;
    world.store.note_demand().await.unwrap();
    let chat = chat_of_two(&world).await;
    world.send(chat, "alice", "hi").await;
    assert_eq!(world.number("select count(*) from outbox").await, 0);
    world.webhook(&[EventKind::MessageRead]).await;
    world.send(chat, "alice", "hi").await;
    assert_eq!(world.number("select count(*) from outbox").await, 0, "nobody wants it");
}

#[tokio::test]
async fn every_kind_of_change_is_told_in_its_order_with_what_it_was() {
    let world = World::with(&["alice", "bob", "carol"]).await;
    world.webhook(&[]).await;
    let chat = world.group("alice", &["bob"]).await;
    let first = world.send(chat, "alice", "one").await;
    let second = world.send(chat, "alice", "two").await;
    let edit = Duration::from_mins(1);
    world.store.edit_message(chat, first.id, &user("alice"), &content("ONE"), edit).await.unwrap();
    world.store.mark_read(chat, &user("bob"), None).await.unwrap();
    world.store.mark_read(chat, &user("bob"), None).await.unwrap();
    let (alice, carol, admin) = (user("alice"), user("carol"), ChangeAs::Admin);
    world.store.add_participant(chat, &carol, &alice, admin, &room_for(9)).await.unwrap();
    world.store.remove_participant(chat, &carol, &alice, admin).await.unwrap();
    world.store.delete_message(chat, second.id, &alice, DeleteAs::Author).await.unwrap();

    assert_eq!(world.fan_out().await, 8);
    let told = world.deliver().await;
    let expected = [
        EventKind::ChatCreated,
        EventKind::MessageCreated,
        EventKind::MessageCreated,
        EventKind::MessageEdited,
        EventKind::MessageRead,
        EventKind::ParticipantAdded,
        EventKind::ParticipantRemoved,
        EventKind::MessageDeleted,
    ];
    assert_eq!(kinds(&told), expected);
    let message = |place: usize| -> MessageId { told[place].message.as_ref().unwrap().id };
    assert_eq!(
        [message(1), message(2), message(3), message(7)],
        [first.id, second.id, first.id, second.id]
    );
    assert_eq!(told[1].message.as_ref().unwrap().content, "ONE", "as it is when it is told");
    assert_eq!(told[2].message.as_ref().unwrap().content, "", "what was deleted says nothing");
    let detail = |place: usize| told[place].detail.clone().unwrap();
    assert_eq!((&detail(4)["userId"], &detail(4)["readUpTo"]), (&"bob".into(), &2.into()));
    assert_eq!(detail(5)["participants"][0]["userId"], "carol");
    assert_eq!((&detail(6)["userId"], &detail(6)["removedBy"]), (&"carol".into(), &"alice".into()));
    assert_eq!(detail(7)["deletedBy"], "alice");
    let made = told[0].chat.as_ref().unwrap();
    assert_eq!((made.id, &made.created_by), (chat, &alice));
    assert!(world.deliver().await.is_empty(), "everything is delivered");
    assert_eq!(world.number("select sum(waiting)::bigint from webhook_lanes").await, 0);
}

#[tokio::test]
async fn who_is_online_is_told_if_somebody_wants_that_each_in_a_lane_of_their_own() {
    let world = World::with(&[]).await;
    let turn = |id: &str, online| Turn { user_id: user(id), online };
    let turns = [turn("alice", true), turn("bob", true), turn("alice", false)];
    world.webhook(&[EventKind::MessageRead]).await;
    world.store.tell_turns(&turns).await.unwrap();
    assert_eq!(world.number("select count(*) from outbox").await, 0, "nobody wants it");
    let webhook = world.webhook(&[EventKind::UserOnline, EventKind::UserOffline]).await;
    world.store.tell_turns(&turns).await.unwrap();
    assert_eq!(world.fan_out().await, 3);
    let mut lanes = world.claim(Uuid::new_v4()).await.lanes;
    lanes.sort_by_key(|lane| lane.deliveries.len());
    assert!(lanes.iter().all(|lane| lane.lane.chat().is_none() && lane.webhook == webhook));
    let who = |due: &Due| due.detail.as_ref().unwrap()["userId"].as_str().unwrap().to_owned();
    assert_eq!(who(&lanes[0].deliveries[0]), "bob");
    assert_eq!(kinds(&lanes[1].deliveries), [EventKind::UserOnline, EventKind::UserOffline]);
    let query = DeliveryQuery { state: None, before: None, limit: 10 };
    let log = world.store.deliveries(webhook, &query).await.unwrap();
    assert!(log.iter().all(|it| it.chat_id.is_none()));
}

#[tokio::test]
async fn every_way_of_sending_leaves_one_row_for_a_batch() {
    let world = World::with(&["alice", "bob"]).await;
    world.webhook(&[EventKind::MessageCreated]).await;
    let chat = chat_of_two(&world).await;
    let new = || crate::fixture::new_message(chat, "alice", "hi", Some("once"));
    world.append(new()).await;
    // A repetition is decided one by one, and is nothing new.
    world.append(new()).await;
    let mut by_host = crate::fixture::new_message(chat, "alice", "from the host", None);
    by_host.by_host = true;
    world.append(by_host).await;
    assert_eq!(world.number("select count(*) from outbox").await, 2);
    let sends = (0..50).map(|n| world.send(chat, "alice", if n % 2 == 0 { "a" } else { "b" }));
    futures_util::future::join_all(sends).await;
    assert!(world.number("select count(*) from outbox").await < 52, "batches have a row each");
    assert_eq!(world.fan_out().await, 52);
    let seqs: Vec<u64> =
        world.deliver().await.iter().map(|due| due.message.as_ref().unwrap().seq.0).collect();
    assert_eq!(seqs, (1..=52).collect::<Vec<_>>());
}

#[tokio::test]
async fn each_webhook_is_told_what_it_wants_under_one_id_and_nothing_from_before_it_was_made() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = chat_of_two(&world).await;
    world.send(chat, "alice", "nobody listens yet").await;
    let all = world.webhook(&[]).await;
    let reads = world.webhook(&[EventKind::MessageRead, EventKind::MessageCreated]).await;
    let off = world.webhook(&[]).await;
    let change = WebhookChange { enabled: Some(false), ..WebhookChange::default() };
    world.store.change_webhook(off, &change).await.unwrap();
    world.send(chat, "alice", "hi").await;
    assert_eq!(world.fan_out().await, 2);
    let claimed = world.claim(Uuid::new_v4()).await;
    let told = |webhook| {
        let lane = claimed.lanes.iter().find(|lane| lane.webhook == webhook);
        lane.map(|lane| lane.deliveries[0].event_id)
    };
    assert!(told(all).is_some() && told(all) == told(reads));
    assert_eq!(told(off), None);
}

#[tokio::test]
async fn a_lane_is_one_claimers_until_it_is_given_back_or_the_claim_ends() {
    let world = World::with(&["alice", "bob"]).await;
    world.webhook(&[EventKind::MessageCreated]).await;
    let chat = chat_of_two(&world).await;
    world.send(chat, "alice", "one").await;
    world.fan_out().await;
    let (first, second) = (Uuid::new_v4(), Uuid::new_v4());
    let claimed = world.claim(first).await;
    let lane = &claimed.lanes[0];
    assert!(world.claim(second).await.lanes.is_empty());
    world.send(chat, "alice", "two").await;
    world.fan_out().await;
    assert!(world.claim(second).await.lanes.is_empty(), "what comes meanwhile waits behind");
    world.db_execute("update webhook_lanes set due_at = now()").await;
    assert_eq!(world.claim(second).await.lanes[0].deliveries.len(), 2, "the claim has ended");
    // The first one did deliver; it gives back what is not its own any more.
    let released = vec![Released { webhook: lane.webhook, lane: lane.lane, pause: Duration::ZERO }];
    let attempts = vec![succeeded(&lane.deliveries[0])];
    world.settle(first, Settlement { attempts, released: released.clone(), health: vec![] }).await;
    assert!(world.claim(first).await.lanes.is_empty(), "it is the second one's");
    world.settle(second, Settlement { released, ..Settlement::default() }).await;
    let again = world.claim(first).await;
    assert_eq!(again.lanes[0].deliveries[0].message.as_ref().unwrap().seq.0, 2);
}

#[tokio::test]
async fn a_webhook_that_fails_has_room_for_one_and_what_waits_is_due_when_it_is_back() {
    let world = World::with(&["alice", "bob", "carol"]).await;
    let webhook = world.webhook(&[EventKind::MessageCreated]).await;
    for (one, other) in [("alice", "bob"), ("alice", "carol"), ("bob", "carol")] {
        let chat = world.direct(one, other).await;
        world.send(chat, one, "hi").await;
    }
    world.fan_out().await;
    let holder = Uuid::new_v4();
    let claimed = world.claim(holder).await;
    assert_eq!(claimed.lanes.len(), 3);
    let pause = Duration::from_hours(1);
    let released =
        claimed.lanes.iter().map(|lane| Released { webhook, lane: lane.lane, pause }).collect();
    let attempts = claimed.lanes.iter().map(|lane| failed(&lane.deliveries[0])).collect();
    let health = vec![Health { webhook, succeeded: false, failed: 10, gone: false }];
    world.settle(holder, Settlement { attempts, released, health }).await;
    assert!(world.store.webhook(webhook).await.unwrap().unwrap().failing_since.is_some());
    world.db_execute("update webhook_lanes set due_at = now()").await;
    world.db_execute("update webhooks set paused_until = now()").await;
    let probe = world.claim(holder).await;
    assert_eq!(probe.lanes.len(), 1);
    world
        .db_execute(
            "update webhook_lanes set due_at = now() + interval '1 hour' where holder is null",
        )
        .await;
    let due = &probe.lanes[0].deliveries[0];
    assert_eq!((due.attempt, due.failed), (2, 1));
    let health = vec![Health { webhook, succeeded: true, failed: 0, gone: false }];
    let settlement = Settlement { attempts: vec![succeeded(due)], released: vec![], health };
    world.settle(holder, settlement).await;
    assert_eq!(world.claim(holder).await.lanes.len(), 2, "nobody waits for what is back");
}

#[tokio::test]
async fn a_webhook_that_fails_for_too_long_is_switched_off_and_others_are_told() {
    let world = World::with(&["alice", "bob"]).await;
    let (failing, gone) = (
        world.webhook(&[EventKind::ChatCreated]).await,
        world.webhook(&[EventKind::ChatCreated]).await,
    );
    world.webhook(&[EventKind::WebhookDisabled]).await;
    let fails = |webhook| Health { webhook, succeeded: false, failed: 1, gone: webhook == gone };
    let health = vec![fails(failing), fails(gone)];
    let settlement = Settlement { health, ..Settlement::default() };
    assert_eq!(world.settle(Uuid::nil(), settlement.clone()).await, [gone]);
    world
        .db_execute("update webhooks set failing_since = failing_since - interval '2 hours'")
        .await;
    assert_eq!(world.settle(Uuid::nil(), settlement).await, [failing]);
    let reason =
        async |webhook| world.store.webhook(webhook).await.unwrap().unwrap().disabled.unwrap().1;
    assert_eq!((reason(failing).await.as_str(), reason(gone).await.as_str()), ("failing", "gone"));
    assert_eq!(world.fan_out().await, 2);
    let told = world.deliver().await;
    let ids: Vec<_> =
        told.iter().map(|due| due.detail.clone().unwrap()["webhookId"].clone()).collect();
    assert_eq!(ids, [gone.to_string(), failing.to_string()]);
}

#[tokio::test]
async fn what_is_told_of_a_webhook_that_is_switched_off_says_nothing_secret() {
    let world = World::with(&[]).await;
    world.webhook(&[EventKind::WebhookDisabled]).await;
    let gone = world.webhook(&[EventKind::WebhookPing]).await;
    let url = WebhookUrl::parse("https://app.example/parley?token=secret").unwrap();
    let change = WebhookChange { url: Some(url), ..WebhookChange::default() };
    world.store.change_webhook(gone, &change).await.unwrap();
    let health = vec![Health { webhook: gone, succeeded: false, failed: 1, gone: true }];
    world.settle(Uuid::nil(), Settlement { health, ..Settlement::default() }).await;
    world.fan_out().await;
    let told = world.deliver().await;
    assert_eq!(told[0].detail.as_ref().unwrap()["url"], "https://app.example");
}

#[tokio::test]
async fn a_settlement_holds_no_lane_while_it_waits_for_one_before_it() {
    let world = World::with(&["alice", "bob", "carol"]).await;
    let webhook = world.webhook(&[EventKind::MessageCreated]).await;
    for other in ["bob", "carol"] {
        let chat = world.direct("alice", other).await;
        world.send(chat, "alice", "hi").await;
    }
    world.fan_out().await;
    let holder = Uuid::new_v4();
    let mut claimed = world.claim(holder).await.lanes;
    claimed.sort_by_key(|lane| lane.lane);
    let [low, high] = [0, 1].map(|place| claimed[place].lane.chat().unwrap());
    let lock = |lane: ChatId| {
        let sql = format!("select from webhook_lanes where lane = '{lane}' for update nowait");
        sqlx::AssertSqlSafe(sql)
    };
    // Somebody, as the fan-out, goes through lanes in their order.
    let mut other = world.connection().await;
    let mut other = other.begin().await.unwrap();
    other.execute(lock(low)).await.unwrap();
    let settlement = Settlement {
        attempts: vec![succeeded(&claimed[1].deliveries[0])],
        released: vec![Released { webhook, lane: low.into(), pause: Duration::ZERO }],
        health: Vec::new(),
    };
    let settling = async {
        world.settle(holder, settlement).await;
    };
    let going_on = async {
        let waits = "select count(*) from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
        let deadline = tokio::time::Instant::now() + Duration::from_secs(20);
        while world.number(waits).await == 0 {
            assert!(tokio::time::Instant::now() < deadline, "it does not wait");
        }
        other.execute(lock(high)).await.expect("nobody who waits for it holds the next one");
        other.commit().await.unwrap();
    };
    tokio::join!(settling, going_on);
}
