//! CONNECT: whose token counts, and where it may stand.

use serde_json::{Value, json};

use crate::client::{Client, Heard};
use crate::fixture::{Gateway, POD, SECRET, World, sign, token_for};

async fn connect(gateway: &Gateway, auth: &str) -> Heard {
    let mut client = Client::open(gateway.address, "", None).await;
    client.send(&format!("40{auth}")).await;
    client.next().await
}

fn unauthorized(code: &str) -> impl Fn(&Heard) -> bool {
    move |heard| {
        let Heard::ConnectError(error) = heard else { return false };
        error["message"] == "unauthorized"
            && error["data"]["code"] == code
            && error["data"]["message"].is_string()
    }
}

#[tokio::test]
async fn i6_without_a_good_token_nobody_gets_in() {
    let world = World::start().await;
    let later = json!(4_000_000_000_u64);
    let auth = |token: &str| json!({ "token": token }).to_string();
    let cases = [
        (String::new(), "missing_token"),
        ("{}".to_owned(), "missing_token"),
        (json!({ "token": 7 }).to_string(), "missing_token"),
        (auth(""), "missing_token"),
        (auth("garbage"), "invalid_token"),
        (
            auth(&sign(&json!({ "sub": "alice", "exp": later }), &SECRET.to_uppercase())),
            "invalid_token",
        ),
        (auth(&sign(&json!({ "exp": later }), SECRET)), "invalid_token"),
        (auth(&token_for("alice", -60)), "token_expired"),
        (
            auth(&sign(&json!({ "sub": "alice", "exp": later, "nbf": later }), SECRET)),
            "token_not_yet_valid",
        ),
    ];
    for (auth, code) in &cases {
        let heard = connect(&world.gateway, auth).await;
        assert!(unauthorized(code)(&heard), "{auth}: {heard:?}");
    }
    for (code, times) in
        [("missing_token", 4), ("invalid_token", 3), ("token_expired", 1), ("accepted", 0)]
    {
        let series = format!("parley_gateway_connects_total{{outcome=\"{code}\"}}");
        assert_eq!(world.gateway.metric(&series).await, times, "{code}");
    }
}

#[tokio::test]
async fn a_refused_client_may_try_again_on_the_same_connection() {
    let world = World::start().await;
    let chat = world.api.chats.create(1);
    let mut client = Client::open(world.gateway.address, "", None).await;
    client.send(&format!("40{}", json!({ "token": token_for("alice", -60) }))).await;
    assert!(unauthorized("token_expired")(&client.next().await));
    client.send(&format!("40{}", json!({ "token": token_for("alice", 60) }))).await;
    assert_eq!(client.next().await, Heard::Connected);
    client.join_at(chat, 1).await;
}

#[tokio::test]
async fn a_token_may_stand_in_auth_header_or_query() {
    let world = World::start().await;
    let token = token_for("alice", 60);
    let bearer = format!("Bearer {token}");
    let chat = world.api.chats.create(8);
    let auth = |token: &str| json!({ "token": token }).to_string();
    for (query, header, auth) in [
        (String::new(), None, auth(&token)),
        (String::new(), None, auth(&bearer)),
        (String::new(), Some(&bearer), String::new()),
        (String::new(), Some(&token), "{}".to_owned()),
        (format!("&token={token}"), None, String::new()),
        // The auth of the CONNECT is the newest of the three.
        ("&token=old".to_owned(), Some(&"Bearer older".to_owned()), auth(&token)),
    ] {
        let mut client =
            Client::open(world.gateway.address, &query, header.map(String::as_str)).await;
        client.send(&format!("40{auth}")).await;
        assert_eq!(client.next().await, Heard::Connected, "{query} {header:?} {auth}");
        let ack = client.join(chat).await;
        assert_eq!(ack["readPointers"], json!({ "alice": 4 }), "it is alice: {ack}");
        assert_eq!(ack["pod"], POD);
    }
}

#[tokio::test]
async fn there_is_one_namespace() {
    let world = World::start().await;
    let mut client = world.gateway.client("alice").await;
    client.send(&format!("40/admin,{}", json!({ "token": token_for("alice", 60) }))).await;
    let error: Value = json!({ "message": "Invalid namespace" });
    assert_eq!(client.next().await, Heard::ConnectError(error));
    client.hears_nothing().await;
}
