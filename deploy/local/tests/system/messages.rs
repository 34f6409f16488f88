//! Messages over REST, on whatever pod.

use std::collections::BTreeMap;

use parley_local::Client;
use serde_json::json;

use crate::people::{Person, contents, direct_chat, refusal, send, stage};

#[test]
fn a_message_posted_on_one_pod_is_read_on_the_other() {
    let (cluster, alice, bob) = stage();
    let [one, two] = cluster.description().api.as_slice() else { panic!("two api pods wanted") };
    let chat = direct_chat(&alice.at(&one.url), &bob);

    let first = send(&alice.at(&one.url), &chat, "from the first pod");
    assert_eq!((first.status, first.header("x-parley-pod")), (201, Some(one.name.as_str())));
    assert_eq!(contents(&bob.at(&two.url), &chat), ["from the first pod"]);

    let second = send(&bob.at(&two.url), &chat, "from the second pod");
    assert_eq!((second.status, second.header("x-parley-pod")), (201, Some(two.name.as_str())));
    assert_eq!(contents(&alice.at(&one.url), &chat), ["from the second pod", "from the first pod"]);
}

#[test]
fn a_direct_chat_is_the_same_one_on_every_pod() {
    let (cluster, alice, bob) = stage();
    let [one, two] = cluster.description().api.as_slice() else { panic!("two api pods wanted") };
    let chat = direct_chat(&alice.at(&one.url), &bob);
    assert_eq!(direct_chat(&bob.at(&two.url), &alice), chat);
}

#[test]
fn a_repeated_send_on_another_pod_makes_one_message() {
    let (cluster, alice, bob) = stage();
    let [one, two] = cluster.description().api.as_slice() else { panic!("two api pods wanted") };
    let chat = direct_chat(&alice.at(&one.url), &bob);
    let path = format!("/api/chat/{chat}/messages");
    let body = json!({ "content": "once", "clientMessageId": "retry-1" });
    let first = alice.at(&one.url).post(&path, &body).unwrap();
    let again = alice.at(&two.url).post(&path, &body).unwrap();
    assert_eq!((first.status, again.status), (201, 200));
    let id = |answer: &parley_local::Answer| answer.body["data"]["message"]["_id"].clone();
    assert_eq!(id(&first), id(&again));
    assert_eq!(contents(&bob.at(&one.url), &chat), ["once"]);
}

#[test]
fn the_balancer_asks_every_api_pod() {
    let (cluster, alice, _) = stage();
    let through = alice.at(&cluster.description().url);
    let mut answered = BTreeMap::new();
    for _ in 0..20 {
        let answer = through.get("/api/chat").unwrap();
        assert_eq!(answer.status, 200);
        *answered.entry(answer.header("x-parley-pod").unwrap().to_owned()).or_insert(0) += 1;
    }
    // Other tests take turns in between, so the count is not exactly ten each.
    for pod in &cluster.description().api {
        assert!(answered.get(&pod.name).is_some_and(|count| *count >= 4), "{answered:?}");
    }
}

#[test]
fn who_has_no_valid_token_is_refused() {
    let (cluster, ..) = stage();
    let url = &cluster.description().url;
    refusal(&Client::new(url, None).get("/api/chat").unwrap(), 401);
    refusal(&Client::new(url, Some("no.to.ken".to_owned())).get("/api/chat").unwrap(), 401);
    let forged = parley_local::Token::user("alice")
        .sign("another secret, of thirty-two bytes or more")
        .unwrap();
    refusal(&Client::new(url, Some(forged)).get("/api/chat").unwrap(), 401);
}

#[test]
fn a_stranger_neither_reads_nor_writes() {
    let (cluster, alice, bob) = stage();
    let url = &cluster.description().url;
    let chat = direct_chat(&alice.at(url), &bob);
    let stranger = Person::new(cluster.description(), "mallory").at(url);
    refusal(&send(&stranger, &chat, "let me in"), 403);
    refusal(&stranger.get(&format!("/api/chat/{chat}/messages")).unwrap(), 403);
    refusal(&stranger.get(&format!("/api/chat/{chat}/info")).unwrap(), 403);
    assert_eq!(contents(&alice.at(url), &chat), Vec::<String>::new());
}

#[test]
fn what_is_not_there_is_not_found() {
    let (cluster, alice, _) = stage();
    let alice = alice.at(&cluster.description().url);
    let nowhere = "01890a5d-ac96-774b-bcce-b302099a8057";
    refusal(&send(&alice, nowhere, "anybody?"), 404);
    refusal(&alice.get(&format!("/api/chat/{nowhere}/info")).unwrap(), 404);
    refusal(&alice.get("/api/no-such-route").unwrap(), 404);
    let unknown = json!({ "participantIds": ["nobody-knows-me"], "type": "direct" });
    refusal(&alice.post("/api/chat", &unknown).unwrap(), 404);
}

#[test]
fn what_makes_no_sense_is_refused() {
    let (cluster, alice, bob) = stage();
    let alice = alice.at(&cluster.description().url);
    let chat = direct_chat(&alice, &bob);
    let path = format!("/api/chat/{chat}/messages");
    refusal(&send(&alice, &chat, ""), 400);
    refusal(&send(&alice, &chat, " \n\t"), 400);
    refusal(&send(&alice, &chat, &"x".repeat(5001)), 400);
    refusal(&send(&alice, "not-an-id", "hello"), 400);
    refusal(&alice.post_text(&path, "{\"content\":").unwrap(), 400);
    refusal(&alice.post(&path, &json!({ "content": 7 })).unwrap(), 400);
    refusal(&alice.get(&format!("{path}?limit=0")).unwrap(), 400);
    assert_eq!(contents(&alice, &chat), Vec::<String>::new());
}
