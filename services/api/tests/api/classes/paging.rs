//! Lists: no query gets more than a page, and none gets stuck.

use futures_util::future::join_all;
use serde_json::{Value, json};

use crate::actor::{Actor, World, failure};

/// What a `limit` or a `page` could be taken for by somebody who reads numbers loosely.
const ODD: [&str; 20] = [
    "0",
    "-1",
    "-0",
    "+5",
    "%205",
    "5%20",
    "1.5",
    "1e3",
    "0x10",
    "1_000",
    "NaN",
    "Infinity",
    "null",
    "all",
    "",
    "%00",
    "5%00",
    "-9223372036854775808",
    "%D9%A5",
    "5;drop",
];
const LARGE: [&str; 8] = [
    "100",
    "101",
    "65536",
    "2147483647",
    "4294967296",
    "9223372036854775808",
    "18446744073709551616",
    "99999999999999999999999999999999999999999",
];
/// The last page number that there may be, which is behind every list here.
const LAST_PAGE: &str = "1000000";

/// A host with more than a page of everything, and the lists of it.
async fn lists(world: &World) -> (Actor<'_>, Vec<(String, &'static str)>) {
    let host = world.actor(&format!("host-{}", uuid::Uuid::new_v4()), "service");
    let people: Vec<String> = (0..120).map(|n| format!("{}-{n}", host.id)).collect();
    let group = json!({ "participantIds": people, "type": "group" });
    let chat = host.post("/api/chat", group).await.data()["chat"]["_id"].clone();
    let chat = chat.as_str().unwrap();
    let hook = host.post("/api/webhooks", json!({ "url": "https://app.example/" })).await.data();
    let hook = hook["webhook"]["_id"].as_str().unwrap();
    join_all(people.iter().map(async |person| {
        host.says(chat, "hi").await;
        host.post("/api/chat", json!({ "participantIds": [person] })).await.data();
        host.post(&format!("/api/webhooks/{hook}/ping"), json!({})).await.data();
    }))
    .await;
    let lists = vec![
        ("/api/chat?".to_owned(), "chats"),
        (format!("/api/chat/{chat}/messages?"), "messages"),
        (format!("/api/chat/{chat}/messages?around=60&"), "messages"),
        (format!("/api/chat/{chat}/messages?order=asc&after=1&"), "messages"),
        (format!("/api/chat/{chat}/participants?"), "participants"),
        (format!("/api/webhooks/{hook}/deliveries?"), "deliveries"),
    ];
    (host, lists)
}

fn rows(data: &Value, name: &str) -> usize {
    data[name].as_array().unwrap_or_else(|| panic!("no {name}: {data}")).len()
}

#[tokio::test]
async fn class_08_a_limit_of_zero_or_below_or_beyond_is_never_no_limit() {
    let world =
        World::with(&["--unknown-users", "create", "--message-limits", "user=20/60,service=none"])
            .await;
    let (host, lists) = lists(&world).await;
    for (path, name) in &lists {
        let unasked = rows(&host.get(path).await.data(), name);
        assert!((1..=100).contains(&unasked), "{unasked} rows of {path}");
        for limit in LARGE {
            let answer = host.get(&format!("{path}limit={limit}")).await;
            assert!(rows(&answer.data(), name) <= 100, "{path}limit={limit}");
        }
        for limit in ODD {
            let answer = host.get(&format!("{path}limit={limit}")).await;
            assert_eq!(answer.failure(), failure(400, "invalid_request"), "{path}limit={limit}");
        }
        let twice = host.get(&format!("{path}limit=5&limit=0")).await;
        assert_eq!(twice.failure(), failure(400, "invalid_request"), "{path}limit=5&limit=0");
    }
    let paged = lists.iter().filter(|(path, _)| path.ends_with("chat?") || path.contains("/part"));
    for (path, name) in paged {
        for page in ODD {
            let answer = host.get(&format!("{path}page={page}")).await;
            assert_eq!(answer.failure(), failure(400, "invalid_request"), "{path}page={page}");
        }
        let last = host.get(&format!("{path}limit=1000&page={LAST_PAGE}")).await;
        assert_eq!(rows(&last.data(), name), 0, "{path}");
        for page in &LARGE[3..] {
            let answer = host.get(&format!("{path}page={page}")).await;
            assert_eq!(answer.failure(), failure(400, "invalid_request"), "{path}page={page}");
        }
    }
    let changes = lists[1].0.replace("messages?", "changes?");
    let page = host.get(&format!("{changes}since=0")).await.data();
    assert!((1..=200).contains(&rows(&page, "events")), "{page}");
}

/// Goes on until a page says that it was the last; how many there were, and how many rows.
async fn walk(
    reader: &Actor<'_>,
    name: &str,
    mut path: String,
    next: impl Fn(&Value) -> Option<String>,
) -> (usize, usize) {
    let (mut pages, mut found) = (0, 0);
    loop {
        let page = reader.get(&path).await.data();
        (pages, found) = (pages + 1, found + rows(&page, name));
        assert!(pages < 100, "the cursor does not move: {path}");
        match next(&page) {
            Some(next) => path = next,
            None => return (pages, found),
        }
    }
}

#[tokio::test]
async fn class_33_two_hundred_deleted_messages_in_a_row_stop_no_cursor() {
    let world = World::with(&["--message-limits", "user=none"]).await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let first = alice.says(&chat, "first").await;
    let between = join_all((0..200).map(async |_| alice.says(&chat, "gone").await)).await;
    alice.says(&chat, "last").await;
    join_all(between.iter().map(async |id| {
        alice.delete(&format!("/api/chat/{chat}/messages/{id}")).await.data();
    }))
    .await;
    let messages = format!("/api/chat/{chat}/messages?limit=10");
    let by_cursor = |page: &Value| {
        let next = page["pagination"]["nextBefore"].as_str()?;
        Some(format!("{messages}&before={next}"))
    };
    assert_eq!(walk(&bob, "messages", messages.clone(), by_cursor).await, (21, 202));
    let upwards = format!("{messages}&order=asc&after=");
    let by_seq = |page: &Value| {
        let last = page["messages"].as_array()?.last()?;
        Some(format!("{upwards}{}", last["seq"]))
    };
    let walked = walk(&bob, "messages", format!("{upwards}{first}"), by_seq).await;
    assert_eq!(walked.1, 201);
    let changes = format!("/api/chat/{chat}/changes?since=");
    let by_version =
        |page: &Value| (page["hasMore"] == true).then(|| format!("{changes}{}", page["version"]));
    // Each deleted one at the place where it came and at the one where it went.
    let walked = walk(&bob, "events", format!("{changes}0"), by_version).await;
    assert_eq!(walked.1, 402);
    let stats = bob.get("/api/chat/stats").await.data();
    assert_eq!(stats["totalUnread"], 2, "what is deleted is not unread");
    let list = bob.get("/api/chat").await.data();
    assert_eq!(list["chats"][0]["lastMessage"]["content"], "last");
}
