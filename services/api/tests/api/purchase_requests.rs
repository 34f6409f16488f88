use futures_util::future::join_all;
use serde_json::json;

use crate::actor::{Actor, Answer, World, failure};

async fn ask(who: &Actor<'_>, request: &str, seller: &str) -> Answer {
    let body = json!({ "purchaseRequestId": request, "sellerId": seller });
    who.post("/api/chat/purchase-request", body).await
}

#[tokio::test]
async fn i2_twenty_calls_at_once_over_two_pods_make_one_chat() {
    let world = World::new().await;
    let other = world.beside().await;
    let (buyer, seller) = (world.user().await, world.user().await);
    let there = Actor { world: &other, id: buyer.id.clone(), token: buyer.token.clone() };
    let callers = (0..20).map(|n| if n % 2 == 0 { &buyer } else { &there });
    let answers = join_all(callers.map(|caller| ask(caller, "request|1", &seller.id))).await;
    let statuses: Vec<_> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!(statuses.iter().filter(|status| **status == 201).count(), 1, "{statuses:?}");
    assert_eq!(statuses.iter().filter(|status| **status == 200).count(), 19, "{statuses:?}");
    let chat = answers[0].data()["chat"].clone();
    assert!(answers.iter().all(|answer| answer.data()["chat"]["_id"] == chat["_id"]));
    assert_eq!((&chat["type"], &chat["participantCount"]), (&json!("direct"), &json!(2)));
    assert_eq!(chat["purchaseRequestId"], "request|1");
    assert_eq!((&chat["buyerId"], &chat["sellerId"]), (&json!(buyer.id), &json!(seller.id)));
    assert_eq!(buyer.get("/api/chat").await.data()["pagination"]["total"], 1);
}

#[tokio::test]
async fn a_seller_finds_the_chat_that_exists() {
    let world = World::new().await;
    let (buyer, seller) = (world.user().await, world.user().await);
    let nothing = ask(&seller, "p", &seller.id).await;
    assert_eq!(nothing.failure(), failure(404, "chat_not_found"));
    assert_eq!(seller.get("/api/chat").await.data()["pagination"]["total"], 0);
    let made = ask(&buyer, "p", &seller.id).await.data();
    let found = ask(&seller, "p", &seller.id).await;
    assert_eq!(found.status, 200);
    assert_eq!(found.data()["chat"]["_id"], made["chat"]["_id"]);
    assert_eq!(ask(&seller, "q", &seller.id).await.failure(), failure(404, "chat_not_found"));
    assert_eq!(ask(&buyer, "p", &buyer.id).await.failure(), failure(404, "chat_not_found"));
}

#[tokio::test]
async fn each_request_buyer_and_seller_have_a_chat_of_their_own() {
    let world = World::new().await;
    let (buyer, seller, other) = (world.user().await, world.user().await, world.user().await);
    let direct = buyer.chat_with(&seller).await;
    let mut ids = vec![json!(direct)];
    for (who, request, whose) in [
        (&buyer, "p", &seller.id),
        (&buyer, "q", &seller.id),
        (&buyer, "p", &other.id),
        (&other, "p", &seller.id),
    ] {
        let answer = ask(who, request, whose).await;
        assert_eq!(answer.status, 201);
        ids.push(answer.data()["chat"]["_id"].clone());
    }
    for (n, id) in ids.iter().enumerate() {
        assert!(!ids[n + 1..].contains(id));
    }
    let found = ask(&seller, "p", &seller.id).await.data();
    assert_eq!(found["chat"]["_id"], ids[1], "the first of several buyers, for good");
    assert_eq!(buyer.chat_with(&seller).await, direct);
}

#[tokio::test]
async fn what_is_no_purchase_request_is_refused() {
    let world = World::new().await;
    let buyer = world.user().await;
    for body in [
        json!({}),
        json!({ "purchaseRequestId": "p" }),
        json!({ "sellerId": "s" }),
        json!({ "purchaseRequestId": "", "sellerId": "s" }),
        json!({ "purchaseRequestId": "x".repeat(129), "sellerId": "s" }),
        json!({ "purchaseRequestId": 7, "sellerId": "s" }),
        json!({ "purchaseRequestId": "p", "sellerId": "\u{0}" }),
    ] {
        let answer = buyer.post("/api/chat/purchase-request", body.clone()).await;
        assert_eq!(answer.failure(), failure(400, "invalid_request"), "{body}");
    }
    let nobody = ask(&buyer, "p", "nobody").await;
    assert_eq!(nobody.failure(), failure(404, "participant_not_found"));
    assert_eq!(nobody.json()["error"]["details"]["userId"], "nobody");
}
