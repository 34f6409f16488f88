//! One side of the differential test: the application of `tests/differential/reference.mjs`, on this
//! crate.
//!
//! `/calm/`, `/brisk/` and `/idle/` differ in their timings only. The namespaces are `/`, `/custom` and
//! `/private`, which wants a token. Every socket is written down, under the `script` of its query.

use parking_lot::Mutex;
use parley_socketio::{
    Application, CloseReason, Config, Connect, ConnectError, Cors, DisconnectReason, Event, Frame,
    Router, Server, Socket,
};
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

const TOKEN: &str = "open sesame";

/// What applications elsewhere would keep in a database.
#[derive(Default)]
struct State {
    /// By namespace and room.
    rooms: Mutex<HashMap<(String, String), Vec<Socket>>>,
    /// By script.
    journal: Mutex<HashMap<String, Vec<String>>>,
}

impl State {
    fn note(&self, script: &str, line: String) {
        self.journal.lock().entry(script.to_owned()).or_default().push(line);
    }
}

struct Mirror(Arc<State>);

struct Member {
    socket: Socket,
    script: String,
    slot: String,
}

impl Mirror {
    fn note(&self, member: &Member, what: &str) {
        let (slot, namespace) = (&member.slot, member.socket.namespace());
        self.0.note(&member.script, format!("{slot} {namespace} {what}"));
    }

    fn leave(&self, socket: &Socket, room: Option<&str>) {
        self.0.rooms.lock().retain(|(namespace, name), members| {
            if namespace == socket.namespace() && room.is_none_or(|room| room == name) {
                members.retain(|member| member.key() != socket.key());
            }
            !members.is_empty()
        });
    }

    fn join(&self, socket: &Socket, room: String) {
        let mut rooms = self.0.rooms.lock();
        let members = rooms.entry((socket.namespace().to_owned(), room)).or_default();
        if members.iter().all(|member| member.key() != socket.key()) {
            members.push(socket.clone());
        }
    }

    fn say(&self, namespace: &str, room: &str, text: &Value) {
        let array = json!(["said", room, text]).to_string();
        let frame = Frame::event(namespace, array.as_bytes());
        let rooms = self.0.rooms.lock();
        for member in rooms.get(&(namespace.to_owned(), room.to_owned())).into_iter().flatten() {
            // Who is gone meanwhile hears nothing.
            let _ = member.send(&frame);
        }
    }

    fn echo(socket: &Socket, event: &Event) {
        let args = event.args.get();
        let args = args.strip_prefix('[').unwrap_or(args);
        let comma = if args.trim_start() == "]" { "" } else { "," };
        let array = format!(r#"["message-back"{comma}{args}"#);
        let frame = if event.attachments.is_empty() {
            Frame::event(socket.namespace(), array.as_bytes())
        } else {
            Frame::event_binary(socket.namespace(), array.as_bytes(), event.attachments.clone())
        };
        // A client that is gone wants no answer.
        let _ = socket.send(&frame);
    }
}

impl Application for Mirror {
    type Session = Member;

    async fn connect(&self, connect: Connect, socket: Socket) -> Result<Member, ConnectError> {
        let auth = connect.auth.as_ref().map_or("{}", |auth| auth.get());
        match connect.namespace.as_str() {
            "/" | "/custom" => {}
            "/private" => {
                let given: Value = serde_json::from_str(auth).unwrap_or_default();
                if given.get("token").and_then(Value::as_str) != Some(TOKEN) {
                    let error = ConnectError::new("not authorised");
                    return Err(error.with_data(json!({ "code": "TOKEN" })));
                }
            }
            _ => return Err(ConnectError::invalid_namespace()),
        }
        let query = |name| connect.handshake.query(name).unwrap_or_default().to_owned();
        let member = Member { socket, script: query("script"), slot: query("slot") };
        self.note(&member, "connected");
        let array = format!(r#"["auth",{auth}]"#);
        // What is sent now follows the answer.
        let _ = member.socket.send(&Frame::event(&connect.namespace, array.as_bytes()));
        Ok(member)
    }

    async fn event(&self, member: &mut Member, event: Event) {
        let socket = &member.socket;
        let args: Vec<Value> = serde_json::from_str(event.args.get()).unwrap_or_default();
        let text = |place: usize| args.get(place).and_then(Value::as_str).unwrap_or_default();
        if event.name == "journal" {
            let lines = self.0.journal.lock().get(text(0)).cloned().unwrap_or_default();
            if let Some(ack) = event.ack {
                // A client that is gone wants no answer.
                let _ = socket.ack(ack, json!([lines]).to_string().as_bytes());
            }
            return;
        }
        let count: Vec<IgnoredAny> = serde_json::from_str(event.args.get()).unwrap_or_default();
        self.note(member, &format!("event {} {}", event.name, count.len()));
        match event.name.as_str() {
            "message" => Self::echo(socket, &event),
            "join" => self.join(socket, text(0).to_owned()),
            "leave" => self.leave(socket, Some(text(0))),
            "say" => self.say(socket.namespace(), text(0), args.get(1).unwrap_or(&Value::Null)),
            "dismiss" => socket.disconnect(),
            "shut" => socket.close(CloseReason::GoingAway),
            "message-with-ack" => {}
            _ => return,
        }
        if let Some(ack) = event.ack {
            // A client that is gone wants no answer.
            let _ = if event.attachments.is_empty() {
                socket.ack(ack, event.args.get().as_bytes())
            } else {
                socket.ack_binary(ack, event.args.get().as_bytes(), &event.attachments)
            };
        }
    }

    async fn disconnect(&self, member: Member, reason: DisconnectReason) {
        self.leave(&member.socket, None);
        let reason = match reason {
            DisconnectReason::ClientNamespace => "client namespace",
            DisconnectReason::ServerNamespace => "server namespace",
            DisconnectReason::PingTimeout => "ping timeout",
            // The reference has other names, and fewer.
            _ => "connection",
        };
        self.note(&member, &format!("disconnected {reason}"));
    }
}

fn config(path: &str, timings: [u64; 3]) -> Config {
    let [ping_interval, ping_timeout, connect_timeout] = timings.map(Duration::from_millis);
    Config {
        path: path.to_owned(),
        ping_interval,
        ping_timeout,
        connect_timeout,
        upgrade_timeout: Duration::from_secs(10),
        max_payload: 20_000,
        cors: Cors::Any,
        ..Config::default()
    }
}

/// One thread, as in the reference: what arrives first is handled first.
#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    #[expect(clippy::print_stdout, reason = "says where it is, and that a test may begin")]
    {
        println!("listening on port {}", listener.local_addr()?.port());
    }
    let state = Arc::new(State::default());
    let mut router = Router::new();
    for (path, timings) in [
        ("/calm/", [25_000, 20_000, 45_000]),
        ("/brisk/", [400, 1_500, 45_000]),
        ("/idle/", [25_000, 20_000, 400]),
    ] {
        let server = Server::new(config(path, timings), Mirror(Arc::clone(&state)));
        router = router.mount(server.engine());
    }
    router.serve(listener, CancellationToken::new()).await?;
    Ok(())
}
