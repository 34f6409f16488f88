//! The server that the published protocol test suites are run against.
//!
//! `/engine.io/` sends every message back. `/socket.io/` has the namespaces `/` and `/custom`, emits
//! `auth` with what the client gave, answers `message` with `message-back`, and acknowledges
//! `message-with-ack`.

use parley_socketio::engine::{Engine, Handle, Handler, Message};
use parley_socketio::{
    Application, Config, Connect, ConnectError, Cors, DisconnectReason, Event, Frame, Router,
    Server, Socket,
};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// The suites attach the listener for `auth` only after they have read the answer to CONNECT: a packet
/// that came in the same read would be lost on them. So it is sent by a task, behind the answer that is
/// written when `connect` returns, and after a pause that is long enough for a busy client to have read
/// that answer alone.
const BETWEEN_PACKETS: Duration = Duration::from_millis(70);

struct Echo;

impl Handler for Echo {
    type Connection = Handle;

    fn open(&self, handle: Handle) -> Handle {
        handle
    }

    async fn message(&self, handle: &mut Handle, message: Message) {
        // A session that closed meanwhile wants no answer.
        let _ = match message {
            Message::Text(text) => handle.send_text(&text),
            Message::Binary(data) => handle.send_binary(&data),
        };
    }

    async fn close(&self, _: Handle, _: DisconnectReason) {}
}

struct Mirror;

impl Application for Mirror {
    type Session = Socket;

    async fn connect(&self, connect: Connect, socket: Socket) -> Result<Socket, ConnectError> {
        if !["/", "/custom"].contains(&connect.namespace.as_str()) {
            return Err(ConnectError::invalid_namespace());
        }
        let auth = connect.auth.map_or_else(|| "{}".to_owned(), |auth| auth.get().to_owned());
        let frame = Frame::event(socket.namespace(), format!(r#"["auth",{auth}]"#).as_bytes());
        let greeted = socket.clone();
        tokio::spawn(async move {
            tokio::time::sleep(BETWEEN_PACKETS).await;
            // The client may be gone already.
            let _ = greeted.send(&frame);
        });
        Ok(socket)
    }

    async fn event(&self, socket: &mut Socket, event: Event) {
        // A client that is gone wants no answer.
        let _ = match (event.name.as_str(), event.ack) {
            ("message", _) => {
                let array = with_name("message-back", event.args.get());
                let namespace = socket.namespace();
                socket.send(&if event.attachments.is_empty() {
                    Frame::event(namespace, array.as_bytes())
                } else {
                    Frame::event_binary(namespace, array.as_bytes(), event.attachments)
                })
            }
            ("message-with-ack", Some(ack)) if event.attachments.is_empty() => {
                socket.ack(ack, event.args.get().as_bytes())
            }
            ("message-with-ack", Some(ack)) => {
                socket.ack_binary(ack, event.args.get().as_bytes(), &event.attachments)
            }
            _ => Ok(()),
        };
    }

    async fn disconnect(&self, _: Socket, _: DisconnectReason) {}
}

/// Puts a name in front of a JSON array's elements.
fn with_name(name: &str, args: &str) -> String {
    match args.trim_start().strip_prefix('[').map(str::trim_start) {
        Some("]") | None => format!(r#"["{name}"]"#),
        Some(rest) => format!(r#"["{name}",{rest}"#),
    }
}

fn config(path: &str) -> Config {
    Config {
        path: path.to_owned(),
        ping_interval: Duration::from_millis(300),
        ping_timeout: Duration::from_millis(200),
        connect_timeout: Duration::from_secs(1),
        max_payload: 1_000_000,
        cors: Cors::Any,
        ..Config::default()
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let port = std::env::args().nth(1).or_else(|| std::env::var("PORT").ok());
    let port: u16 = port.map_or(Ok(3000), |port| port.parse())?;
    // Clients may look for `localhost` in either family.
    let both: SocketAddr = (Ipv6Addr::UNSPECIFIED, port).into();
    let listener = TcpListener::bind(&[both, (Ipv4Addr::UNSPECIFIED, port).into()][..]).await?;
    #[expect(clippy::print_stdout, reason = "says when a test may begin")]
    {
        println!("listening on port {}", listener.local_addr()?.port());
    }
    let router = Router::new()
        .mount(Engine::new(config("/engine.io/"), Echo))
        .mount(Server::new(config("/socket.io/"), Mirror).engine());
    router.serve(listener, CancellationToken::new()).await?;
    Ok(())
}
