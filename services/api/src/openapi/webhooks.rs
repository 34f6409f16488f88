//! What webhooks are posted, as the document's `webhooks`: made from the domain's types, and compared by a test of the
//! courier with what it posts.

use parley_domain::webhook::EventKind;
use serde_json::{Map, Value, json};

/// Every event, by its name.
pub(super) fn webhooks() -> Value {
    EventKind::ALL
        .map(|kind| (kind.as_str().to_owned(), operation(kind)))
        .into_iter()
        .collect::<Map<_, _>>()
        .into()
}

fn operation(kind: EventKind) -> Value {
    json!({ "post": {
        "operationId": kind.as_str(),
        "summary": summary(kind),
        "tags": ["webhooks"],
        "security": [],
        "parameters": [
            header("webhook-id", "The event: the same at every attempt and at every webhook"),
            header("webhook-timestamp", "When this attempt was made, in seconds of the Unix epoch"),
            header("webhook-signature", "`v1,` and the signature; several while the secret changes"),
        ],
        "requestBody": {
            "required": true,
            "content": { "application/json": { "schema": {
                "type": "object",
                "required": ["type", "timestamp", "data"],
                "properties": {
                    "type": { "type": "string", "const": kind.as_str() },
                    "timestamp": named("Timestamp"),
                    "data": data(kind),
                },
            } } },
        },
        "responses": {
            "2XX": { "description": "It is taken" },
            "410": { "description": "Nothing is wanted any more: the webhook is switched off" },
            "default": { "description": "It is told again later; what is behind it in its chat waits" },
        },
    } })
}

const fn summary(kind: EventKind) -> &'static str {
    match kind {
        EventKind::MessageCreated => "A message was sent; it is shown as it is when it is told",
        EventKind::MessageEdited => "A message's text was changed",
        EventKind::MessageDeleted => "A message was deleted; what is left of it",
        EventKind::MessageRead => "Somebody has read messages",
        EventKind::ParticipantAdded => {
            "People are in a chat from here on, or are something else there"
        }
        EventKind::ParticipantRemoved => "Somebody is out of a chat from here on",
        EventKind::ChatCreated => "There is a chat",
        EventKind::NotificationDue => {
            "Somebody is to be told of what was said while they were away: what a push or a mail needs"
        }
        EventKind::WebhookDisabled => "A webhook was switched off by itself",
        EventKind::WebhookPing => "A test, which says nothing",
        EventKind::UserOnline => {
            "Somebody has a connection, and had none anywhere; best effort, and only if it is switched on"
        }
        EventKind::UserOffline => {
            "Somebody has no connection any more; best effort, and only if it is switched on"
        }
    }
}

fn header(name: &str, description: &str) -> Value {
    let schema = json!({ "type": "string" });
    json!({ "name": name, "in": "header", "required": true, "description": description, "schema": schema })
}

fn named(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn list(items: &Value) -> Value {
    json!({ "type": "array", "items": items })
}

fn data(kind: EventKind) -> Value {
    let (chat, version) = (("chatId", named("ChatId")), ("version", named("Version")));
    let message = ("message", named("Message"));
    let user = ("userId", named("UserId"));
    match kind {
        EventKind::MessageCreated => object(&[chat, message]),
        EventKind::MessageEdited => object(&[chat, version, message]),
        EventKind::MessageDeleted => {
            object(&[chat, version, ("deletedBy", named("UserId")), message])
        }
        EventKind::MessageRead => {
            let ids = json!({
                "type": ["array", "null"], "items": named("MessageId"),
                "description": "Which ones, when they were read singly",
            });
            let at = ("readAt", named("Timestamp"));
            object(&[chat, user, ("readUpTo", named("Seq")), ("messageIds", ids), at])
        }
        EventKind::ParticipantAdded => {
            let one = object(&[user, ("role", named("ParticipantRole"))]);
            let added = ("addedBy", named("UserId"));
            object(&[chat, version, ("participants", list(&one)), added])
        }
        EventKind::ParticipantRemoved => {
            object(&[chat, version, user, ("removedBy", named("UserId"))])
        }
        EventKind::ChatCreated => object(&[chat, ("chat", named("OutwardChat"))]),
        EventKind::NotificationDue => {
            let number = |description| json!({ "type": "integer", "minimum": 0, "description": description });
            let text =
                |description| json!({ "type": ["string", "null"], "description": description });
            object(&[
                chat,
                user,
                ("count", number("Messages of this chat of which they were not told before")),
                ("badge", number("All that they have not read, in all chats")),
                (
                    "title",
                    text(
                        "The chat's title or subject; of a chat without one, the last author's name",
                    ),
                ),
                ("messageId", named("MessageId")),
                ("senderId", named("UserId")),
                ("senderName", text("The last author's name")),
                ("preview", text("How the last message begins, if that may be shown")),
            ])
        }
        EventKind::WebhookDisabled => {
            let reason = json!({ "type": "string", "enum": ["failing", "gone"] });
            let url =
                json!({ "type": "string", "description": "Without what stands behind a `?`" });
            object(&[("webhookId", named("WebhookId")), ("url", url), ("reason", reason)])
        }
        EventKind::WebhookPing => object(&[]),
        EventKind::UserOnline | EventKind::UserOffline => object(&[user]),
    }
}

/// All of these are always there.
fn object(properties: &[(&str, Value)]) -> Value {
    let required: Vec<&str> = properties.iter().map(|(name, _)| *name).collect();
    let properties: Map<_, _> =
        properties.iter().map(|(name, schema)| ((*name).to_owned(), schema.clone())).collect();
    json!({ "type": "object", "required": required, "properties": properties })
}
