//! Input that was made to break something, sent to a process: it stays up, serves others, and takes no memory.

use std::net::SocketAddr;

use futures_util::SinkExt;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use serde_json::json;
use tokio::io::AsyncWriteExt;
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;
use uuid::Uuid;

use crate::classes::{MIB, asks, closes, upgrade};
use crate::client::Client;
use crate::fixture::{ApiPod, token_for};
use crate::process::Process;
use crate::server::{NatsServer, soon};
use crate::transports::Polling;

const CHAT: &str = "0192f0a4-7c3b-7d2e-8a1b-0123456789ab";

/// What has ended processes elsewhere, and what else a parser could trip over.
const PACKETS: &[&str] = &[
    "",
    " ",
    "4",
    "40",
    "41",
    "42",
    "43",
    "44",
    "45",
    "46",
    "47",
    "5",
    "6",
    "7",
    "9",
    "b",
    "bAAAA",
    "0",
    "0{}",
    "1x",
    "2",
    "2probe",
    "3",
    "3probe",
    "\u{1e}",
    "\u{1e}\u{1e}4",
    "40{",
    "40{}{}",
    "40[]",
    "40null",
    "40/",
    "40/,",
    "40/admin,{}",
    "42[]",
    "42{}",
    "42null",
    "42[1]",
    "42[null]",
    "42[[]]",
    "42[{}]",
    "42[\"\"]",
    "42[\"connect\"]",
    "42[\"disconnect\",\"x\"]",
    "42[\"error\"]",
    "42[\"disconnecting\"]",
    "42[\"newListener\",1]",
    "42[\"removeListener\",1]",
    "42[\"__proto__\",{}]",
    "42[\"constructor\",{\"prototype\":{\"x\":1}}]",
    "42[\"toString\"]",
    "42[\"hasOwnProperty\",\"x\"]",
    "42[\"a\",{\"__proto__\":{\"admin\":true}}]",
    "42-1[\"a\"]",
    "42999999999999999999999[\"a\"]",
    "4218446744073709551616[\"a\"]",
    "421.5[\"a\"]",
    "43[]",
    "430[1,2",
    "4399999999999999999999[]",
    "451[\"a\"]",
    "45-[\"a\"]",
    "450-[\"a\"]",
    "451-[\"a\",{\"_placeholder\":true,\"num\":0}]",
    "451-[\"a\",{\"_placeholder\":true,\"num\":9}]",
    "451-[\"a\",{\"_placeholder\":true,\"num\":-1}]",
    "451-[\"a\",{\"_placeholder\":true,\"num\":\"splice\"}]",
    "452-[\"a\",{\"_placeholder\":true,\"num\":0}]",
    "461-0[{\"_placeholder\":true,\"num\":1e9}]",
    "42[\"a\",\"\\ud800\"]",
    "42[\"a\",\"\\u0000\"]",
    "42[\"a\u{0}\"]",
    "42[\"\u{202e}\u{200b}\"]",
    "42[\"a\",1e999]",
    "42[\"a\",-0]",
    "42[\"a\",123456789012345678901234567890]",
    "42[\"join-chat-room\"]",
    "42[\"join-chat-room\",null]",
    "42[\"join-chat-room\",{}]",
    "421[\"join-chat-room\",{\"chatId\":{\"$ne\":1}}]",
    "421[\"join-chat-room\",\"chat.>\"]",
    "421[\"join-chat-room\",\"*\"]",
    "421[\"join-chat-room\",\"\\r\\nPUB x 0\\r\\n\"]",
    "421[\"join-chat-room\",[\"a\"]]",
    "421[\"typing-start\",{\"chatId\":[]}]",
    "421[\"refresh-token\",{}]",
    "421[\"refresh-token\",[[[[]]]]]",
];

/// All of that, and what is too much of something.
fn corpus() -> Vec<String> {
    let mut packets: Vec<String> = PACKETS.iter().copied().map(str::to_owned).collect();
    for since in ["-1", "1.5", "18446744073709551616", "\"1\"", "null", "[]"] {
        packets
            .push(format!("421[\"join-chat-room\",{{\"chatId\":\"{CHAT}\",\"since\":{since}}}]"));
    }
    for deep in ["[", "{\"a\":", "[[", "[{\"a\":"] {
        packets.push(format!("42[\"a\",{}", deep.repeat(30_000)));
        packets.push(format!("40{}", deep.repeat(30_000)));
    }
    packets.push(format!("42[\"{}\"]", "x".repeat(50_000)));
    packets.push(format!("40/{},{{}}", "x".repeat(50_000)));
    packets.push(format!("40{}", json!({ "token": "x".repeat(50_000) })));
    packets.push(format!("42{}[\"a\"]", "9".repeat(50_000)));
    packets.push("\u{1e}".repeat(50_000));
    packets
}

/// One of them with some of its bytes changed, as text.
fn mutated(packets: &[String], random: &mut StdRng) -> String {
    let mut bytes = packets[random.random_range(0..packets.len())].clone().into_bytes();
    bytes.truncate(200);
    for _ in 0..random.random_range(1..6) {
        let place = random.random_range(0..=bytes.len());
        match random.random_range(0..3) {
            0 if place < bytes.len() => drop(bytes.remove(place)),
            1 if place < bytes.len() => bytes[place] = random.random(),
            _ => bytes.insert(place, random.random()),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Says it on a WebSocket, before a CONNECT or after one.
async fn on_a_websocket(gateway: SocketAddr, packet: &str, binary: bool, connected: bool) {
    let url = format!("ws://{gateway}/socket.io/?EIO=4&transport=websocket");
    let (mut ws, _) = soon(connect_async(url)).await.expect("a WebSocket");
    if connected {
        // Limits of a user are not what is tried here.
        let mallory = format!("mallory-{}", Uuid::new_v4());
        let connect = format!("40{}", json!({ "token": token_for(&mallory, 60) }));
        soon(ws.send(Message::text(connect))).await.unwrap();
    }
    let message =
        if binary { Message::binary(packet.as_bytes().to_vec()) } else { Message::text(packet) };
    // The gateway may have closed at the first of the two.
    let _ = soon(ws.send(message.clone())).await;
    let _ = soon(ws.send(message)).await;
}

async fn serves(pod: &mut Process, user: &str) {
    assert!(pod.is_running());
    Client::connect(pod.address, &token_for(user, 60)).await.hears_nothing().await;
}

#[tokio::test]
async fn class_11_no_packet_ends_the_process() {
    let nats = NatsServer::start().await;
    let _api = ApiPod::start(&nats).await;
    let mut pod = Process::start(&nats, &[]).await;
    serves(&mut pod, "alice").await;
    let before = pod.rest();
    let packets = corpus();
    for (number, packet) in packets.iter().enumerate() {
        for connected in [false, true] {
            on_a_websocket(pod.address, packet, number % 2 == 1, connected).await;
        }
        let client = Polling::open(pod.address).await;
        let head = format!("POST {} HTTP/1.1\r\nHost: parley\r\n", client.path());
        let post = format!("{head}Content-Length: {}\r\n\r\n{packet}", packet.len());
        let (_, answer) = asks(pod.address, &post).await;
        let known = ["", "HTTP/1.1 200", "HTTP/1.1 400", "HTTP/1.1 413"];
        assert!(known.contains(&answer.get(..12).unwrap_or("")), "{answer} for {packet:.80}");
        assert!(pod.is_running(), "{packet:.80}");
    }
    let given = std::env::var("PARLEY_PACKET_SEED");
    let seed = given.map_or_else(|_| rand::random(), |seed| seed.parse().unwrap());
    println!("PARLEY_PACKET_SEED={seed}");
    let mut random = StdRng::seed_from_u64(seed);
    for _ in 0..500 {
        let packet = mutated(&packets, &mut random);
        let (binary, connected) = (random.random(), random.random());
        on_a_websocket(pod.address, &packet, binary, connected).await;
        assert!(pod.is_running(), "seed {seed}: {packet:?}");
    }
    serves(&mut pod, "bob").await;
    let grown = pod.height().saturating_sub(before);
    assert!(grown < 16 * MIB, "{grown} bytes");
}

#[tokio::test]
async fn class_11_a_payload_of_100_mb_is_refused_before_it_comes() {
    let nats = NatsServer::start().await;
    let mut pod = Process::start(&nats, &[]).await;
    let before = pod.rest();
    let client = Polling::open(pod.address).await;
    let path = client.path();
    let head = format!("POST {path} HTTP/1.1\r\nHost: parley\r\nContent-Length: 100000000\r\n\r\n");
    let (mut stream, answer) = asks(pod.address, &head).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    // Whoever goes on all the same writes to nobody.
    let piece = "\u{1e}".repeat(1 << 20);
    let mut written = 0;
    while written < 100 && stream.write_all(piece.as_bytes()).await.is_ok() {
        written += 1;
    }
    assert!(written < 100, "all of it was taken");
    let grown = pod.height().saturating_sub(before);
    assert!(grown < 8 * MIB, "{grown} bytes");
    assert!(pod.is_running());
}

/// What is not inflated is no bomb.
#[tokio::test]
async fn nothing_that_comes_is_ever_inflated() {
    let nats = NatsServer::start().await;
    let mut pod = Process::start(&nats, &[]).await;
    let offers = [
        "permessage-deflate",
        "permessage-deflate; client_max_window_bits; server_no_context_takeover",
        "x-webkit-deflate-frame, permessage-bzip2",
    ];
    for offer in offers {
        let fields = format!("Sec-WebSocket-Extensions: {offer}\r\n");
        let (mut stream, answer) = asks(pod.address, &upgrade(&fields)).await;
        assert!(answer.starts_with("HTTP/1.1 101"), "{answer}");
        assert!(!answer.to_lowercase().contains("extensions"), "none is agreed on: {answer}");
        // A masked frame of text with the bit of a compressed one.
        stream.write_all(&[0xc1, 0x82, 0, 0, 0, 0, b'4', b'0']).await.unwrap();
        assert_eq!(closes(stream).await, 1002, "{offer}");
    }
    // An answer is not packed for who says that it may be, and a request that says so is taken as it stands.
    let bomb = b"\x1f\x8b\x08\0\0\0\0\0\0\x03\xed\xc1\x01\x01\0\0\0\x80\x90\xfe\xaf\xee\x08\n";
    let client = Polling::open(pod.address).await;
    let head = format!(
        "POST {} HTTP/1.1\r\nHost: parley\r\nContent-Encoding: gzip\r\nAccept-Encoding: gzip\r\nContent-Length: {}\r\n\r\n",
        client.path(),
        bomb.len()
    );
    let request = [head.as_bytes(), bomb].concat();
    let mut stream = tokio::net::TcpStream::connect(pod.address).await.unwrap();
    stream.write_all(&request).await.unwrap();
    let mut answer = [0; 512];
    let length = soon(tokio::io::AsyncReadExt::read(&mut stream, &mut answer)).await.unwrap();
    let answer = String::from_utf8_lossy(&answer[..length]).to_lowercase();
    assert!(answer.starts_with("http/1.1 400"), "{answer}");
    assert!(!answer.contains("content-encoding"), "{answer}");
    assert!(pod.is_running());
}
