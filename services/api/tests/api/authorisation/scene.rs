//! A chat, and people who stand to it in every possible way; fresh for each question that changes something.

use serde_json::{Value, json};
use uuid::Uuid;

use super::keys::{AUDIENCE, Host};
use crate::actor::{Actor, World};
use crate::uploads::{Form, PNG};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Group,
    Support,
    Direct,
}

pub(super) struct Scene {
    /// Before everybody's id, so that no scene knows another's people.
    prefix: Uuid,
    chat: String,
    /// What *participant* said.
    message: String,
    /// The file that *participant* sent.
    file: String,
    /// A webhook, and a delivery to it.
    webhook: [String; 2],
}

/// What is sent along.
pub(super) enum Body {
    Json(Value),
    Form(Form),
}

impl Body {
    /// Its type and its bytes.
    pub(super) fn end(self) -> (String, Vec<u8>) {
        match self {
            Self::Json(value) => ("application/json".to_owned(), value.to_string().into_bytes()),
            Self::Form(form) => form.end(),
        }
    }
}

impl Scene {
    /// With a chat, or only with people.
    pub(super) async fn make(world: &World, host: &Host, kind: Kind, with_chat: bool) -> Self {
        let [chat, message, file] = Default::default();
        let webhook = Default::default();
        let mut scene = Self { prefix: Uuid::new_v4(), chat, message, file, webhook };
        let token = |who| host.token(&scene.claims(who));
        let (service, creator) = (token("service"), token("creator"));
        let (removed, left, participant) = (token("removed"), token("left"), token("participant"));
        let service = scene.actor(world, &service);
        let people = ["creator", "participant", "removed", "left", "bystander", "other"]
            .map(|who| json!({ "id": scene.id(who) }));
        service.post("/api/users", json!({ "users": people })).await.data();
        if !with_chat {
            let new = json!({ "url": "https://app.example/parley" });
            let made = service.post("/api/webhooks", new).await.data();
            let webhook = made["webhook"]["_id"].as_str().unwrap().to_owned();
            let ping = service.post(&format!("/api/webhooks/{webhook}/ping"), json!({})).await;
            scene.webhook = [webhook, ping.data()["delivery"]["_id"].to_string()];
            return scene;
        }
        let creator = scene.actor(world, &creator);
        let members = ["participant", "removed", "left", "bystander"].map(|who| scene.id(who));
        let (path, body) = match kind {
            Kind::Group => ("/api/chat", json!({ "participantIds": members, "type": "group" })),
            Kind::Direct => ("/api/chat", json!({ "participantIds": [members[0]] })),
            Kind::Support => ("/api/chat/support", json!({})),
        };
        let made = creator.post(path, body).await.data();
        let chat = made["chat"]["_id"].as_str().unwrap().to_owned();
        let participants = format!("/api/chat/{chat}/participants");
        match kind {
            Kind::Group => {
                creator.delete(&format!("{participants}/{}", scene.id("removed"))).await.data();
                let left = scene.actor(world, &left);
                left.delete(&format!("{participants}/{}", scene.id("left"))).await.data();
                let gone = scene.actor(world, &removed).get(&participants).await;
                assert_eq!(gone.status, 403);
            }
            Kind::Support => {
                for who in ["participant", "bystander"] {
                    service.post(&participants, json!({ "userId": scene.id(who) })).await.data();
                }
            }
            Kind::Direct => {}
        }
        let participant = scene.actor(world, &participant);
        let sent = participant.sends_file(&chat, "a.png", PNG).await;
        scene.file = sent["attachments"][0]["_id"].as_str().unwrap().to_owned();
        scene.message = participant.says(&chat, "hi").await;
        scene.chat = chat;
        scene
    }

    /// The same people, about another chat.
    pub(super) fn elsewhere(self, chat: &str) -> Self {
        Self { chat: chat.to_owned(), ..self }
    }

    /// The same, about a message and a file that the chat does not have.
    pub(super) fn about_nothing(&self, nothing: &str) -> Self {
        let [chat, message, file] = [&self.chat, nothing, nothing].map(str::to_owned);
        Self { prefix: self.prefix, chat, message, file, webhook: self.webhook.clone() }
    }

    pub(super) fn chat(&self) -> &str {
        &self.chat
    }

    pub(super) fn id(&self, who: &str) -> String {
        format!("{}-{who}", self.prefix)
    }

    /// What the token of somebody says.
    pub(super) fn claims(&self, who: &str) -> Value {
        let role = if ["support", "admin", "service"].contains(&who) { who } else { "user" };
        json!({ "sub": self.id(who), "role": role, "aud": AUDIENCE, "exp": u32::MAX })
    }

    /// The token with which nothing here would be refused: the creator's, who is the host application too.
    pub(super) fn powerful(&self) -> Value {
        let mut claims = self.claims("creator");
        claims["role"] = json!("service");
        claims
    }

    pub(super) fn actor<'w>(&self, world: &'w World, token: &str) -> Actor<'w> {
        Actor { world, id: self.prefix.to_string(), token: token.to_owned() }
    }

    /// The path and body by which `me` asks for an operation.
    pub(super) fn request(
        &self,
        method: &str,
        path: &str,
        case: &str,
        me: &str,
    ) -> (String, Option<Body>) {
        let oneself = case == "(oneself)";
        let named = |who| if oneself { me.to_owned() } else { self.id(who) };
        let [webhook, delivery] = &self.webhook;
        let id = match path.split('/').nth(2) {
            Some("users") => named("other"),
            Some("webhooks") => webhook.clone(),
            _ => self.chat.clone(),
        };
        let mut url = path.replace("{id}", &id).replace("{messageId}", &self.message);
        url = url.replace("{userId}", &named("bystander")).replace("{attachmentId}", &self.file);
        url = url.replace("{deliveryId}", delivery);
        let body = match (method, path) {
            ("POST", "/api/users") => json!({ "users": [{ "id": self.id("other") }] }),
            ("PUT", "/api/users/{id}") => json!({ "name": "Somebody" }),
            ("POST", "/api/webhooks") => json!({ "url": "https://app.example/parley" }),
            ("PATCH", "/api/webhooks/{id}") => json!({ "enabled": false }),
            ("POST", "/api/webhooks/{id}/replay") => {
                json!({ "from": "2026-05-29T12:00:00.000Z", "to": "2026-05-29T13:00:00.000Z" })
            }
            ("POST", "/api/chat") => json!({ "participantIds": [self.id("other")] }),
            ("POST", "/api/chat/purchase-request") => {
                json!({ "purchaseRequestId": self.prefix, "sellerId": self.id("other") })
            }
            ("POST", "/api/chat/support") => json!({ "subject": self.prefix }),
            ("POST", "/api/chat/{id}/participants") => json!({ "userId": self.id("other") }),
            ("POST", "/api/chat/{id}/messages") if case == "(system)" => {
                json!({ "content": "hi", "type": "system" })
            }
            ("POST", "/api/chat/{id}/messages/file") => {
                return (url, Some(Body::Form(Form::file("b.png", PNG))));
            }
            ("POST", "/api/chat/{id}/messages") if case == "(form)" => {
                return (url, Some(Body::Form(Form::file("b.png", PNG))));
            }
            ("POST", "/api/chat/{id}/messages") => json!({ "content": "hi" }),
            ("PUT", "/api/chat/{id}/messages/{messageId}") => json!({ "content": "ho" }),
            ("PATCH", "/api/chat/{id}/mute") => json!({ "muted": true }),
            ("PUT", "/api/users/me/preferences") => json!({ "notificationPreviews": false }),
            ("PATCH", "/api/chat/{id}/messages/read") => json!({}),
            ("PATCH", "/api/chat/{id}/messages/unread") => json!({ "messageId": self.message }),
            ("GET", "/api/chat/{id}/changes") => {
                url += "?since=0";
                return (url, None);
            }
            _ => return (url, None),
        };
        (url, Some(Body::Json(body)))
    }
}
