//! WebSocket frames by hand: what no client library would send.

use crate::support::{PATIENCE, TestServer};
use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// A raw WebSocket connection to the echo engine, past both handshakes.
async fn raw(server: &TestServer) -> TcpStream {
    let mut stream = TcpStream::connect(server.address).await.expect("a connection");
    let head = "GET /engine.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: test\r\n\
        Connection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
        Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    stream.write_all(head.as_bytes()).await.expect("written");
    let mut answer = Vec::new();
    while !answer.windows(4).any(|window| window == b"\r\n\r\n") {
        answer.push(stream.read_u8().await.expect("a head"));
    }
    let answer = String::from_utf8(answer).expect("text").to_lowercase();
    assert!(answer.starts_with("http/1.1 101"));
    assert!(answer.contains("s3pplmbitxaq9kygzzhzrbk+xoo="));
    let (opcode, open) = read(&mut stream).await.expect("an open packet");
    assert_eq!((opcode, open[0]), (0x81, b'0'));
    stream
}

/// A masked frame.
fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![first];
    if let Ok(short @ 0..=125) = u8::try_from(payload.len()) {
        frame.push(0x80 | short);
    } else {
        let length = u16::try_from(payload.len()).expect("not longer");
        frame.push(0xfe);
        frame.extend_from_slice(&length.to_be_bytes());
    }
    let mask = [0x11, 0x22, 0x33, 0x44];
    frame.extend_from_slice(&mask);
    frame.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    frame
}

/// One unmasked frame: its first byte and its payload.
async fn read(stream: &mut TcpStream) -> Option<(u8, Vec<u8>)> {
    let read = async {
        let first = stream.read_u8().await.ok()?;
        let length = match stream.read_u8().await.ok()? {
            126 => usize::from(stream.read_u16().await.ok()?),
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        stream.read_exact(&mut payload).await.ok()?;
        Some((first, payload))
    };
    timeout(PATIENCE, read).await.expect("it takes too long")
}

async fn assert_closed_with(bytes: &[u8], code: u16) {
    let server = TestServer::start().await;
    let mut stream = raw(&server).await;
    stream.write_all(bytes).await.expect("written");
    let (opcode, payload) = read(&mut stream).await.expect("a close frame");
    assert_eq!((opcode, payload), (0x88, code.to_be_bytes().to_vec()), "{bytes:x?}");
    assert!(read(&mut stream).await.is_none(), "nothing follows");
}

#[tokio::test]
async fn a_message_in_any_pieces_is_one_message() {
    let server = TestServer::start().await;
    let mut stream = raw(&server).await;
    let mut bytes = frame(0x01, b"4hel");
    bytes.extend(frame(0x89, b"between"));
    bytes.extend(frame(0x00, b""));
    bytes.extend(frame(0x80, "lo €".as_bytes()));
    bytes.extend(frame(0x81, &[b'4'; 300]));
    for byte in bytes {
        stream.write_all(&[byte]).await.expect("written");
        stream.flush().await.expect("written");
    }
    assert_eq!(read(&mut stream).await, Some((0x8a, b"between".to_vec())));
    assert_eq!(read(&mut stream).await, Some((0x81, "4hello €".into())));
    assert_eq!(read(&mut stream).await, Some((0x81, vec![b'4'; 300])));
}

#[tokio::test]
async fn many_messages_in_one_piece_are_many_messages() {
    let server = TestServer::start().await;
    let mut stream = raw(&server).await;
    let bytes: Vec<u8> = (0..200).flat_map(|i| frame(0x81, format!("4{i}").as_bytes())).collect();
    stream.write_all(&bytes).await.expect("written");
    for i in 0..200 {
        assert_eq!(read(&mut stream).await, Some((0x81, format!("4{i}").into_bytes())));
    }
}

#[tokio::test]
async fn a_ping_is_answered_with_its_payload_and_a_pong_with_nothing() {
    let server = TestServer::start().await;
    let mut stream = raw(&server).await;
    stream.write_all(&frame(0x8a, b"unasked")).await.expect("written");
    stream.write_all(&frame(0x89, &[7; 125])).await.expect("written");
    assert_eq!(read(&mut stream).await, Some((0x8a, vec![7; 125])));
}

#[tokio::test]
async fn a_close_frame_is_answered_with_its_code() {
    for (payload, code) in [(&[][..], 1000), (&[0x03, 0xe8], 1000), (&[0x0f, 0xa0, b'x'], 4000)] {
        assert_closed_with(&frame(0x88, payload), code).await;
    }
}

#[tokio::test]
async fn broken_frames_are_refused() {
    for bytes in [
        &[0x81, 0x02, b'4', b'x'][..],                      // not masked
        &frame(0xc1, b"4x"),         // a reserved bit: no extension was agreed on
        &frame(0x83, b"4x"),         // a reserved opcode
        &frame(0x8b, b"4x"),         // a reserved control opcode
        &frame(0x80, b"4x"),         // a continuation of nothing
        &frame(0x09, b"4x"),         // a control frame in pieces
        &frame(0x89, &[0; 126]),     // a long control frame
        &frame(0x88, &[0x03]),       // half a close code
        &frame(0x88, &[0x03, 0xed]), // a close code that may not be sent
        &[frame(0x01, b"4x"), frame(0x81, b"4x")].concat(), // a message within a message
        &[0x82, 0xfe, 0, 125, 0, 0, 0, 0], // a length that has a shorter form
        &[&[0x82, 0xff][..], &u64::MAX.to_be_bytes(), &[0; 4]].concat(), // one of 64 bits
    ] {
        assert_closed_with(bytes, 1002).await;
    }
}

#[tokio::test]
async fn text_has_to_be_utf8() {
    assert_closed_with(&frame(0x81, b"4\xff"), 1007).await;
    assert_closed_with(&[frame(0x01, b"4\xe2\x82"), frame(0x80, b"x")].concat(), 1007).await;
    assert_closed_with(&frame(0x88, &[0x03, 0xe8, 0xff]), 1007).await;
}

#[tokio::test]
async fn class_10_a_message_above_the_limit_is_refused_by_its_header() {
    let server = TestServer::start().await;
    for header in [
        [&[0x82, 0xff][..], &1_000_001_u64.to_be_bytes(), &[0; 4]].concat(),
        [&[0x82, 0xff][..], &(u64::MAX >> 1).to_be_bytes(), &[0; 4]].concat(),
    ] {
        let mut stream = raw(&server).await;
        stream.write_all(&header).await.expect("written");
        let (opcode, payload) = read(&mut stream).await.expect("a close frame");
        assert_eq!((opcode, payload), (0x88, 1009_u16.to_be_bytes().to_vec()));
    }
}

#[tokio::test]
async fn a_message_that_is_begun_and_left_does_no_harm() {
    let server = TestServer::start().await;
    let mut stream = raw(&server).await;
    stream.write_all(&frame(0x82, &[0; 1000])[..500]).await.expect("written");
    let nothing = timeout(Duration::from_millis(50), stream.read_u8()).await;
    assert!(nothing.is_err(), "nobody answers half a message");
    drop(stream);
    assert_eq!(server.closed().await, parley_socketio::DisconnectReason::TransportClose);
}
