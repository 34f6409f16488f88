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
        let mut scene = Self { prefix: Uuid::new_v4(), chat, message, file };
        let token = |who| host.token(&scene.claims(who));
        let (service, creator) = (token("service"), token("creator"));
        let (removed, left, participant) = (token("removed"), token("left"), token("participant"));
        let service = scene.actor(world, &service);
        let people = ["creator", "participant", "removed", "left", "bystander", "other"]
            .map(|who| json!({ "id": scene.id(who) }));
        service.post("/api/users", json!({ "users": people })).await.data();
        if !with_chat {
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
        let about_users = path.starts_with("/api/users");
        let id = if about_users { named("other") } else { self.chat.clone() };
        let mut url = path.replace("{id}", &id).replace("{messageId}", &self.message);
        url = url.replace("{userId}", &named("bystander")).replace("{attachmentId}", &self.file);
        let body = match (method, path) {
            ("POST", "/api/users") => json!({ "users": [{ "id": self.id("other") }] }),
            ("PUT", "/api/users/{id}") => json!({ "name": "Somebody" }),
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
