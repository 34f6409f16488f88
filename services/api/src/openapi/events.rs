//! The document of what goes over Socket.IO (`AsyncAPI` 3.0), made from the types that the events are written from.

use std::collections::BTreeMap;

use parley_domain::event::{
    ChatShown, MessageDeleted, MessageEdited, MessagesRead, NewMessage, ParticipantRemoved,
    ParticipantsAdded, Resync, UserTyping, client, server,
};
use serde_json::{Map, Value, json};
use utoipa::ToSchema;
use utoipa::openapi::{RefOr, Schema};

use super::completion::require_all;

const INTRODUCTION: &str = "\
What a chat's connections hear, and what they may ask. Socket.IO 5 over Engine.IO 4 at `/socket.io/`, polling and WebSocket; the \
token stands in the CONNECT's `auth.token`, in the header `Authorization`, or in the query's `token`. Every event has one \
object as its argument, always with `chatId`; durable ones have the chat's `version`, which rises by one with every change, \
and its `epoch`. A connection hears each version once and in order. Objects may gain fields; clients ignore what they do not \
know.";

/// The document, as JSON.
///
/// # Panics
/// Never: a schema is plain JSON.
pub fn events() -> String {
    let mut text = serde_json::to_string_pretty(&document()).expect("a document is plain JSON");
    text.push('\n');
    text
}

fn document() -> Value {
    let mut told = Told::default();
    let room = [
        told.event::<NewMessage<'_>>(server::NEW_MESSAGE, "A message was sent."),
        told.event::<MessageEdited<'_>>(server::MESSAGE_EDITED, "A message's text was changed."),
        told.event::<MessageDeleted<'_>>(
            server::MESSAGE_DELETED,
            "A message was deleted; never what it said.",
        ),
        told.event::<ParticipantsAdded<'_>>(
            server::PARTICIPANTS_ADDED,
            "People are in the chat from this version on, or are something else in it.",
        ),
        told.event::<ParticipantRemoved<'_>>(
            server::PARTICIPANT_REMOVED,
            "Somebody is out of the chat from this version on. Their own connections hear it last.",
        ),
        told.event::<MessagesRead<'_>>(
            server::MESSAGES_READ,
            "Somebody has read. In chats of more than 100, told to them and to the authors only.",
        ),
        told.event::<UserTyping<'_>>(
            server::USER_TYPING,
            "Somebody writes, or has stopped: at most 20 people of a room at a time. It ends by itself 6 s after their last \
             `typing-start`, with their message and with their connection.",
        ),
        told.event::<Resync>(
            server::RESYNC,
            "Something is not told one by one: reload the chat by REST.",
        ),
    ];
    let user = [
        told.event::<ChatShown<'_>>(
            server::CHAT_CREATED,
            "The user has this chat from now on; to the support pool: somebody has opened it.",
        ),
        told.event::<ChatShown<'_>>(
            server::CHAT_REMOVED,
            "The chat is not the user's any more; nothing that was said in it is told.",
        ),
    ];
    let asks = [
        told.ask(client::JOIN, &join()),
        told.ask(client::LEAVE, &chat_reference()),
        told.ask(client::REFRESH, &refresh()),
        told.ask(
            client::TYPING_START,
            &typing("The user writes, or goes on writing: to be said every few seconds."),
        ),
        told.ask(client::TYPING_STOP, &typing("The user has stopped, and has not sent anything.")),
    ];
    json!({
        "asyncapi": "3.0.0",
        "info": {
            "title": "Parley, over Socket.IO",
            "version": env!("CARGO_PKG_VERSION"),
            "description": INTRODUCTION,
            "license": { "name": env!("CARGO_PKG_LICENSE") },
        },
        "defaultContentType": "application/json",
        "channels": {
            "room": {
                "address": "chat-{chatId}",
                "description": "A chat's connections, once they have joined.",
                "parameters": { "chatId": { "description": "The chat's id." } },
                "messages": references(&room),
            },
            "user": {
                "address": "/",
                "description": "All connections of a user, in whatever room.",
                "messages": references(&user),
            },
            "asks": {
                "address": "/",
                "description": "What a connection may ask, with an ack callback: it is answered with \
                    `{ success: true, … }` (of a room, with `chatId`) or `{ success: false, error: { code, message } }`. Without one, a \
                    refusal comes as the event `error`.",
                "messages": references(&asks),
            },
        },
        "operations": {
            "tellRoom": { "action": "send", "channel": { "$ref": "#/channels/room" } },
            "tellUser": { "action": "send", "channel": { "$ref": "#/channels/user" } },
            "answer": { "action": "receive", "channel": { "$ref": "#/channels/asks" } },
        },
        "components": { "messages": told.messages, "schemas": told.required() },
    })
}

/// What the messages of the channels are made of.
#[derive(Default)]
struct Told {
    messages: Map<String, Value>,
    schemas: BTreeMap<String, RefOr<Schema>>,
}

impl Told {
    fn event<T: ToSchema>(&mut self, name: &'static str, summary: &str) -> &'static str {
        let mut parts = vec![(T::name().into_owned(), T::schema())];
        T::schemas(&mut parts);
        self.schemas.extend(parts);
        let payload = json!({ "$ref": format!("#/components/schemas/{}", T::name()) });
        self.messages.insert(
            name.to_owned(),
            json!({ "name": name, "summary": summary, "payload": payload }),
        );
        name
    }

    /// Every field is always there, and `null` when absent.
    fn required(&self) -> Value {
        let mut schemas = json!(self.schemas);
        for (name, schema) in schemas.as_object_mut().into_iter().flatten() {
            require_all(name, schema);
        }
        schemas
    }

    fn ask(&mut self, name: &'static str, payload: &Value) -> &'static str {
        self.messages.insert(name.to_owned(), json!({ "name": name, "payload": payload }));
        name
    }
}

fn references(names: &[&str]) -> Map<String, Value> {
    let reference = |name: &&str| {
        ((*name).to_owned(), json!({ "$ref": format!("#/components/messages/{name}") }))
    };
    names.iter().map(reference).collect()
}

fn chat_reference() -> Value {
    json!({
        "oneOf": [
            { "type": "string", "description": "A chat's id, or its id after `chat-`." },
            { "type": "object", "properties": { "chatId": { "type": "string" } }, "required": ["chatId"] },
        ],
    })
}

fn refresh() -> Value {
    json!({
        "description": "Go on with a newer token of the same user: a connection is closed when its token ends. The ack has \
            `expiresAt`; a token that is refused changes nothing.",
        "oneOf": [
            { "type": "string", "description": "The token." },
            { "type": "object", "properties": { "token": { "type": "string" } }, "required": ["token"] },
        ],
    })
}

fn typing(what: &str) -> Value {
    let mut typing = chat_reference();
    typing["description"] = json!(format!("{what} Only of a room that was joined."));
    typing
}

fn join() -> Value {
    let mut join = chat_reference();
    join["description"] = json!(
        "Enter a room. `since` is the version up to which the client has everything, of the history `epoch`: what it has \
         missed is told first, in order. The ack has `version` and `epoch`, from which it is live, and `resync: true` where \
         nothing is told and the chat has to be reloaded; `readPointers` says how far others have read, `typing` who writes \
         now: `[{ userId, name }]`."
    );
    join["oneOf"][1]["properties"]["since"] = json!({ "type": "integer", "minimum": 0 });
    join["oneOf"][1]["properties"]["epoch"] = json!({ "type": "string" });
    join
}
