use axum::http::Method;
use serde_json::{Value, json};

use crate::actor::{Actor, World, failure};

const URL: &str = "https://app.example/parley";

async fn webhook(host: &Actor<'_>, body: Value) -> (String, Value) {
    let made = host.post("/api/webhooks", body).await;
    assert_eq!(made.status, 201, "{}", made.text);
    let made = made.data();
    (made["webhook"]["_id"].as_str().unwrap().to_owned(), made)
}

#[tokio::test]
async fn class_20_a_secret_is_shown_once_and_rotation_keeps_the_former_one_for_a_while() {
    let world = World::new().await;
    let host = world.actor("host", "service");
    let (id, made) = webhook(&host, json!({ "url": URL, "description": "pushes" })).await;
    let secret = made["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_") && secret.len() == 50, "{secret}");
    assert_eq!(made["webhook"]["enabled"], true);
    let path = format!("/api/webhooks/{id}");
    for shown in [host.get("/api/webhooks").await, host.get(&path).await] {
        assert!(shown.text.contains(&id) && !shown.text.contains("whsec_"), "{}", shown.text);
    }
    let rotated = host.post(&format!("{path}/secret"), json!({})).await.data();
    assert_ne!(rotated["secret"], made["secret"]);
    assert!(rotated["webhook"]["formerSecretUntil"].is_string());
}

#[tokio::test]
async fn what_is_left_out_of_a_change_stays() {
    let world = World::new().await;
    let host = world.actor("host", "service");
    let new = json!({ "url": URL, "description": "pushes", "events": ["message.created"] });
    let (id, _) = webhook(&host, new).await;
    let path = format!("/api/webhooks/{id}");
    let change = async |body| {
        let changed = host.call(Method::PATCH, &path, Some(body)).await;
        changed.data()["webhook"].clone()
    };
    let off = change(json!({ "enabled": false })).await;
    assert_eq!(
        (&off["enabled"], &off["disabledReason"], &off["description"], &off["events"]),
        (&json!(false), &json!("asked"), &json!("pushes"), &json!(["message.created"]))
    );
    let on = change(json!({ "enabled": true, "description": "", "events": [] })).await;
    assert_eq!((&on["enabled"], &on["disabledAt"]), (&json!(true), &Value::Null));
    assert_eq!((&on["description"], &on["events"]), (&Value::Null, &json!([])));
    let gone = host.delete(&path).await.data();
    assert_eq!(gone["webhook"]["_id"], id);
    assert_eq!(host.get(&path).await.failure(), failure(404, "webhook_not_found"));
    assert_eq!(host.delete(&path).await.failure(), failure(404, "webhook_not_found"));
    assert_eq!(host.get("/api/webhooks").await.data()["webhooks"], json!([]));
}

#[tokio::test]
async fn what_no_courier_would_call_or_nobody_tells_is_refused() {
    let world = World::with(&["--outbound-allow", "push.inside", "--max-webhooks", "1"]).await;
    let admin = world.actor("admin", "admin");
    let wrong = [
        json!({ "url": "http://app.example/" }),
        json!({ "url": "https://localhost/" }),
        json!({ "url": "https://user@app.example/" }),
        json!({ "url": "https://2130706433/" }),
        json!({ "url": "gopher://app.example/" }),
        json!({ "url": URL, "events": ["message.shouted"] }),
        json!({ "url": URL, "description": "" }),
    ];
    for body in wrong {
        let refused = admin.post("/api/webhooks", body.clone()).await;
        assert_eq!(refused.failure(), failure(400, "invalid_request"), "{body}");
    }
    webhook(&admin, json!({ "url": "http://push.inside/" })).await;
    let full = admin.post("/api/webhooks", json!({ "url": URL })).await;
    assert_eq!(full.failure(), failure(400, "too_many_webhooks"));
}

#[tokio::test]
async fn a_ping_waits_and_is_shown_in_the_log() {
    let world = World::new().await;
    let host = world.actor("host", "service");
    let (id, _) = webhook(&host, json!({ "url": URL })).await;
    let path = format!("/api/webhooks/{id}");
    for _ in 0..3 {
        assert_eq!(host.post(&format!("{path}/ping"), json!({})).await.status, 201);
    }
    assert_eq!(host.get(&path).await.data()["webhook"]["waiting"], 3);
    let page = host.get(&format!("{path}/deliveries?limit=2&state=waiting")).await.data();
    assert_eq!(page["hasMore"], true);
    let listed = page["deliveries"].as_array().unwrap();
    assert_eq!((listed.len(), &listed[0]["type"]), (2, &json!("webhook.ping")));
    let before = &listed[1]["_id"];
    let rest = host.get(&format!("{path}/deliveries?before={before}")).await.data();
    assert_eq!(
        (rest["deliveries"].as_array().unwrap().len(), &rest["hasMore"]),
        (1, &json!(false))
    );
    let one = host.get(&format!("{path}/deliveries/{before}")).await.data();
    assert_eq!(
        (&one["delivery"]["eventId"], &one["attempts"]),
        (&listed[1]["eventId"], &json!([]))
    );
    let replayed = host.post(&format!("{path}/deliveries/{before}/replay"), json!({})).await.data();
    assert_eq!(replayed["delivery"]["state"], "waiting");
    let range = json!({ "from": "2026-01-01T00:00:00.000Z", "to": "2100-01-01T00:00:00.000Z" });
    let replayed = host.post(&format!("{path}/replay"), range.clone()).await.data();
    let none = json!({ "replayed": 0, "last": null, "hasMore": false });
    assert_eq!(replayed, none, "they wait anyway");
    for (after, refused) in [
        (json!("x"), failure(400, "invalid_request")),
        (json!(9_000_000), failure(404, "delivery_not_found")),
    ] {
        let mut range = range.clone();
        range["after"] = after;
        assert_eq!(host.post(&format!("{path}/replay"), range).await.failure(), refused);
    }
    let goes_on = json!({ "from": range["from"], "to": range["to"], "after": listed[1]["_id"] });
    let goes_on = host.post(&format!("{path}/replay"), goes_on).await;
    assert_eq!(goes_on.data(), none, "an id is given as it was told");
    let ever = json!({ "from": "-4800-01-01T00:00:00.000Z", "to": "+200000-01-01T00:00:00.000Z" });
    assert!(host.post(&format!("{path}/replay"), ever).await.status != 500);
    for wrong in ["?state=lost", "?before=x", "?limit=0"] {
        let refused = host.get(&format!("{path}/deliveries{wrong}")).await;
        assert_eq!(refused.failure(), failure(400, "invalid_request"), "{wrong}");
    }
    let other = host.get(&format!("{path}/deliveries/9000000")).await;
    assert_eq!(other.failure(), failure(404, "delivery_not_found"));
}
