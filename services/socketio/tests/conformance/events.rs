//! Events and their answers.

use crate::support::TestServer;
use parley_socketio::{CloseReason, DisconnectReason};

const PLACEHOLDERS: &str = r#"{"_placeholder":true,"num":0},{"_placeholder":true,"num":1}"#;

#[tokio::test]
async fn an_event_arrives_and_is_answered() {
    let server = TestServer::start().await;
    let mut ws = server.joined_ws().await;
    ws.send(r#"42["message",1,"2",{"3":[true]}]"#).await;
    assert_eq!(ws.text().await, r#"42["message-back",1,"2",{"3":[true]}]"#);
    ws.send(r#"42["message"]"#).await;
    assert_eq!(ws.text().await, r#"42["message-back"]"#);
    ws.send("40/custom,").await;
    ws.text().await;
    ws.text().await;
    ws.send(r#"42/custom,["message","€"]"#).await;
    assert_eq!(ws.text().await, r#"42/custom,["message-back","€"]"#);
}

#[tokio::test]
async fn an_event_arrives_over_polling() {
    let server = TestServer::start().await;
    let session = server.poll_session("/socket.io/").await;
    let body = format!(
        "40\x1e42[\"message\",1]\x1e421[\"message-with-ack\",2]\x1e\
         452-[\"message\",{PLACEHOLDERS}]\x1ebAQID\x1ebBAUG"
    );
    assert_eq!(session.post(body).await.status, 200);
    let packets = session.packets(7).await;
    assert!(packets[0].starts_with("40{"));
    assert_eq!(packets[1], "42[\"auth\",{}]");
    assert_eq!(packets[2], "42[\"message-back\",1]");
    assert_eq!(packets[3], "431[2]");
    assert_eq!(packets[4], format!("452-[\"message-back\",{PLACEHOLDERS}]"));
    assert_eq!(packets[5..], ["bAQID", "bBAUG"]);
}

#[tokio::test]
async fn an_event_is_acknowledged() {
    let server = TestServer::start().await;
    let mut ws = server.joined_ws().await;
    ws.send(r#"42456["message-with-ack",1,"2",{"3":[false]}]"#).await;
    assert_eq!(ws.text().await, r#"43456[1,"2",{"3":[false]}]"#);
    ws.send(r#"420["message-with-ack"]"#).await;
    assert_eq!(ws.text().await, "430[]");
}

#[tokio::test]
async fn an_event_has_attachments() {
    let server = TestServer::start().await;
    let mut ws = server.joined_ws().await;
    ws.send(&format!(r#"452-["message",{PLACEHOLDERS}]"#)).await;
    ws.send_binary(&[1, 2, 3]).await;
    ws.send_binary(&[4, 5, 6]).await;
    assert_eq!(ws.text().await, format!(r#"452-["message-back",{PLACEHOLDERS}]"#));
    assert_eq!(ws.binary().await, [1, 2, 3]);
    assert_eq!(ws.binary().await, [4, 5, 6]);
}

#[tokio::test]
async fn an_acknowledgement_has_attachments() {
    let server = TestServer::start().await;
    let mut ws = server.joined_ws().await;
    ws.send(&format!(r#"452-789["message-with-ack",{PLACEHOLDERS}]"#)).await;
    ws.send_binary(&[1, 2, 3]).await;
    ws.send_binary(&[4, 5, 6]).await;
    assert_eq!(ws.text().await, format!("462-789[{PLACEHOLDERS}]"));
    assert_eq!(ws.binary().await, [1, 2, 3]);
    assert_eq!(ws.binary().await, [4, 5, 6]);
}

#[tokio::test]
async fn acknowledgements_of_the_client_are_read_and_dropped() {
    let server = TestServer::start().await;
    let mut ws = server.joined_ws().await;
    ws.send("4312[1,2]").await;
    ws.send(r#"461-7[{"_placeholder":true,"num":0}]"#).await;
    ws.send_binary(&[1]).await;
    ws.send(r#"42["message",1]"#).await;
    assert_eq!(ws.text().await, r#"42["message-back",1]"#);
}

#[tokio::test]
async fn malformed_packets_close_the_connection() {
    let server = TestServer::start().await;
    for packet in [
        "4",
        "4abc",
        "47",
        "42",
        "42{}",
        "42[]",
        "42[{}]",
        "42[\"a\"",
        "42abc[\"message-with-ack\",1,\"2\",{\"3\":[false]}]",
        "42[\"connect\"]",
        "42[\"disconnect\"]",
        "41{}",
        "43[]",
        "431{}",
        "45[\"a\"]",
        "451[\"a\"]",
        "45x-[\"a\"]",
        "40[]",
        "44{\"message\":\"x\"}",
    ] {
        let mut ws = server.joined_ws().await;
        ws.send(packet).await;
        assert_eq!(ws.close_code().await, Some(1002), "{packet}");
        assert_eq!(server.disconnect().await.1, DisconnectReason::ProtocolError, "{packet}");
    }
}

#[tokio::test]
async fn malformed_packets_close_a_polling_session() {
    let server = TestServer::start().await;
    for packet in ["4abc", "42{}", "450-[\"a\"]", "bAQID", "451-[\"a\"]\x1e42[\"b\"]"] {
        let session = server.poll_session("/socket.io/").await;
        assert_eq!(session.post("40").await.status, 200);
        session.post(packet).await;
        assert_eq!(server.disconnect().await.1, DisconnectReason::ProtocolError, "{packet}");
        session.assert_unknown().await;
    }
}

#[tokio::test]
async fn attachments_that_nobody_expects_close_the_connection() {
    let server = TestServer::start().await;
    let mut ws = server.joined_ws().await;
    ws.send_binary(&[1, 2, 3]).await;
    assert_eq!(ws.close_code().await, Some(1002));
    let mut ws = server.joined_ws().await;
    ws.send(r#"451-["message",{"_placeholder":true,"num":0}]"#).await;
    ws.send(r#"42["message"]"#).await;
    assert_eq!(ws.close_code().await, Some(1002));
}

#[tokio::test]
async fn the_server_sends_at_any_time() {
    let server = TestServer::start().await;
    let mut ws = server.joined_ws().await;
    let socket = server.socket().await;
    socket.emit("one", &1).expect("open");
    socket.emit("two", &("a", [1, 2])).expect("open");
    socket.emit("none", &()).expect("open");
    assert_eq!(ws.text().await, r#"42["one",1]"#);
    assert_eq!(ws.text().await, r#"42["two","a",[1,2]]"#);
    assert_eq!(ws.text().await, r#"42["none",null]"#);
    socket.close(CloseReason::Policy);
    assert_eq!(ws.close_code().await, Some(1008));
}
