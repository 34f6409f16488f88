//! What is posted is what the document of the REST interface says of it.

use std::collections::BTreeSet;
use std::time::Duration;

use jsonschema::{Draft, Validator};
use parley_domain::attendance::Turn;
use parley_domain::message::Content;
use parley_domain::webhook::EventKind;
use parley_store::{
    ChangeAs, ComesBack, DeleteAs, Health, ParticipantSettings, Patience, Settlement, UnknownUsers,
};
use serde_json::{Value, json};

use crate::fixture::{World, user};
use crate::receiver::Receiver;

/// The schema of an event's body; nothing may stand there of which it does not tell.
fn schema(document: &Value, kind: &str) -> Validator {
    let body = &document["webhooks"][kind]["post"]["requestBody"];
    let mut whole = body["content"]["application/json"]["schema"].clone();
    assert!(whole.is_object(), "{kind}: an event of which the document does not tell");
    close(&mut whole);
    let mut components = document["components"].clone();
    close(&mut components);
    whole["components"] = components;
    let options = jsonschema::options().with_draft(Draft::Draft202012);
    options.should_validate_formats(true).build(&whole).unwrap()
}

fn close(value: &mut Value) {
    match value {
        Value::Object(map) => {
            if map.get("properties").is_some_and(Value::is_object) {
                map.entry("additionalProperties").or_insert(json!(false));
            }
            map.values_mut().for_each(close);
        }
        Value::Array(items) => items.iter_mut().for_each(close),
        _ => {}
    }
}

/// Everything happens once.
async fn everything(world: &World, receiver: &Receiver) {
    let (webhook, _) = world.webhook(&receiver.url(), &[]).await;
    let chat = world.group("alice", "bob").await;
    world.say(chat, "alice", "one").await;
    let said = receiver.until_events(2).await.remove(1);
    let message = said.body["data"]["message"]["_id"].as_str().unwrap().parse().unwrap();
    let (alice, carol, admin) = (user("alice"), user("carol"), ChangeAs::Admin);
    let (store, content) = (&world.store, Content::parse("two").unwrap());
    store.edit_message(chat, message, &alice, &content, Duration::from_mins(15)).await.unwrap();
    receiver
        .until(|told| told.iter().any(|it| it.body["type"] == EventKind::NotificationDue.as_str()))
        .await;
    store.mark_read(chat, &user("bob"), None).await.unwrap();
    let settings = ParticipantSettings {
        group_participants: 9,
        unknown_users: UnknownUsers::Refuse,
        unarchive: ComesBack::Never,
    };
    store.add_participant(chat, &carol, &alice, admin, &settings).await.unwrap();
    store.remove_participant(chat, &carol, &alice, admin).await.unwrap();
    store.delete_message(chat, message, &alice, DeleteAs::Author).await.unwrap();
    let (gone, _) = world.webhook("https://gone.example/", &[EventKind::WebhookPing]).await;
    let health = vec![Health { webhook: gone, succeeded: false, failed: 1, gone: true }];
    let settlement = Settlement { health, ..Settlement::default() };
    let hour = Duration::from_hours(1);
    let patience = Patience { base: hour, cap: hour, give_up: hour };
    store.settle(uuid::Uuid::nil(), &settlement, &patience).await.unwrap();
    store.ping_webhook(webhook).await.unwrap().unwrap();
    let turn = |online| Turn { user_id: user("bob"), online };
    store.tell_turns(&[turn(true), turn(false)]).await.unwrap();
}

#[tokio::test]
async fn what_is_posted_is_as_the_document_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../api/openapi.json");
    let document: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let (world, receiver) = (World::new().await, Receiver::start().await);
    let _courier = world.courier(&["--notice-delay-ms", "0"]).await;
    everything(&world, &receiver).await;
    let told = receiver.until_events(EventKind::ALL.len()).await;
    let mut kinds = BTreeSet::new();
    for told in told {
        let kind = told.body["type"].as_str().unwrap();
        let validator = schema(&document, kind);
        let wrong: Vec<_> = validator.iter_errors(&told.body).map(|it| it.to_string()).collect();
        assert!(wrong.is_empty(), "{wrong:#?} in {:#}", told.body);
        kinds.insert(kind.to_owned());
    }
    let all: BTreeSet<_> = EventKind::ALL.map(|kind| kind.as_str().to_owned()).into();
    assert_eq!(kinds, all);
}
