use super::*;

const INTERVAL: Duration = Duration::from_millis(300);
const TIMEOUT: Duration = Duration::from_millis(200);

fn machine(transport: Transport) -> (Machine, Instant) {
    let now = Instant::now();
    let timings = Timings { ping_interval: INTERVAL, ping_timeout: TIMEOUT };
    (Machine::new(transport, timings, now), now)
}

#[test]
fn a_ping_is_due_every_interval_whenever_its_pong_comes() {
    let (mut session, start) = machine(Transport::WebSocket);
    assert_eq!(session.next_due(), Some(start + INTERVAL));
    assert_eq!(session.due(start), None);
    assert_eq!(session.due(start + INTERVAL), Some(Due::Ping));
    assert_eq!(session.due(start + INTERVAL), None);
    let pong = start + INTERVAL + Duration::from_millis(10);
    assert_eq!(session.receive(Packet::Pong, pong), Received::Nothing);
    assert_eq!(session.next_due(), Some(start + INTERVAL * 2));
    assert_eq!(session.receive(Packet::Pong, pong), Received::Nothing);
    assert_eq!(session.next_due(), Some(start + INTERVAL * 2), "nobody asked for this one");
    assert_eq!(session.due(start + INTERVAL * 2), Some(Due::Ping));
    session.pause();
    let late = start + INTERVAL * 4;
    session.resume(late);
    assert_eq!(session.receive(Packet::Pong, late), Received::Nothing);
    assert_eq!(session.next_due(), Some(late), "and never in the past");
}

#[test]
fn a_process_that_stood_still_asks_before_it_closes() {
    let (mut session, start) = machine(Transport::WebSocket);
    let late = start + INTERVAL * 10;
    assert_eq!(session.due(late), Some(Due::Ping));
    assert_eq!(session.due(late), None);
    let due = session.due(late + TIMEOUT / 2);
    assert_eq!(due, Some(Due::Close(DisconnectReason::PingTimeout)));
}

#[test]
fn a_poll_may_be_given_up_for_an_upgrade() {
    let (mut session, start) = machine(Transport::Polling);
    assert_eq!(session.begin_poll(start), Ok(()));
    assert!(session.give_up_poll(), "for nothing: the client is gone");
    let (mut session, start) = machine(Transport::Polling);
    assert_eq!(session.begin_probe(), Ok(()));
    session.answer_probe(start);
    assert_eq!(session.begin_poll(start), Ok(()));
    assert!(!session.give_up_poll());
    assert_eq!(session.upgrade(start), Ok(()));
    assert!(!session.give_up_poll());
    let (mut session, start) = machine(Transport::Polling);
    assert_eq!(session.begin_probe(), Ok(()));
    session.answer_probe(start);
    assert!(session.give_up_forwarded_poll(), "it was answered, or never came");
    assert_eq!(session.begin_poll(start), Ok(()));
    assert!(!session.give_up_forwarded_poll());
    assert!(!session.give_up_forwarded_poll(), "told twice");
    let (mut session, start) = machine(Transport::Polling);
    assert_eq!(session.begin_probe(), Ok(()));
    session.answer_probe(start);
    assert_eq!(session.begin_poll(start), Ok(()));
    assert!(!session.give_up_poll());
    assert!(session.end_probe(), "neither transport is left");
}

#[test]
fn silence_after_a_ping_closes_on_time_even_if_the_timer_was_late() {
    let (mut session, start) = machine(Transport::Polling);
    let late = Duration::from_millis(50);
    assert_eq!(session.due(start + INTERVAL + late), Some(Due::Ping));
    assert_eq!(session.next_due(), Some(start + INTERVAL + TIMEOUT));
    let due = session.due(start + INTERVAL + TIMEOUT);
    assert_eq!(due, Some(Due::Close(DisconnectReason::PingTimeout)));
}

#[test]
fn a_peer_that_is_heard_is_alive() {
    let (mut session, start) = machine(Transport::WebSocket);
    assert_eq!(session.due(start + INTERVAL), Some(Due::Ping));
    let heard = start + INTERVAL + Duration::from_millis(150);
    session.receive(Packet::Text("x"), heard);
    assert_eq!(session.due(start + INTERVAL + TIMEOUT), None);
    assert_eq!(session.due(heard + TIMEOUT), Some(Due::Close(DisconnectReason::PingTimeout)));
}

#[test]
fn a_pause_of_ours_is_not_the_peers_silence() {
    let (mut session, start) = machine(Transport::WebSocket);
    assert_eq!(session.due(start + INTERVAL), Some(Due::Ping));
    session.pause();
    let long_after = start + INTERVAL * 10;
    assert_eq!((session.next_due(), session.due(long_after)), (None, None));
    session.resume(long_after);
    assert_eq!(session.next_due(), Some(long_after + TIMEOUT));
}

#[test]
fn one_poll_and_one_post_at_a_time() {
    let (mut session, start) = machine(Transport::Polling);
    assert_eq!(session.begin_poll(start), Ok(()));
    assert_eq!(session.begin_poll(start), Err(Refused::Overlap));
    session.end_poll();
    assert_eq!(session.begin_poll(start), Ok(()));
    assert_eq!(session.begin_post(), Ok(()));
    assert_eq!(session.begin_post(), Err(Refused::Overlap));
    session.end_post();
    assert_eq!(session.begin_post(), Ok(()));
}

#[test]
fn an_upgrade_needs_a_probe_and_happens_once() {
    let (mut session, start) = machine(Transport::Polling);
    assert!(session.upgrade(start).is_err());
    assert_eq!(session.begin_probe(), Ok(()));
    assert!(session.upgrade(start).is_err());
    assert_eq!(session.begin_probe(), Err(Refused::Overlap));
    session.answer_probe(start);
    assert_eq!(session.upgrade(start), Ok(()));
    assert_eq!(session.begin_poll(start), Err(Refused::WrongTransport));
    assert_eq!(session.begin_probe(), Err(Refused::WrongTransport));
}

#[test]
fn an_answered_probe_releases_polls_with_a_noop() {
    let (mut session, start) = machine(Transport::Polling);
    assert_eq!(session.begin_probe(), Ok(()));
    session.answer_probe(start);
    assert_eq!(session.begin_poll(start), Ok(()));
    assert_eq!(session.due(start), None);
    assert_eq!(session.due(start + NOOP_DELAY), Some(Due::Noop));
    session.end_poll();
    assert!(!session.end_probe());
    assert_eq!(session.begin_poll(start), Ok(()));
    assert_eq!(session.due(start + NOOP_DELAY), None);
    assert_eq!(session.begin_probe(), Ok(()), "a failed probe may be followed by another");
}

#[test]
fn a_poll_that_crossed_the_clients_goodbye_is_owed_a_noop_once() {
    let (mut session, start) = machine(Transport::Polling);
    let close = session.receive(Packet::Close, start);
    assert_eq!(close, Received::Close(DisconnectReason::TransportClose));
    assert!(session.close(DisconnectReason::TransportClose));
    assert!(!session.close(DisconnectReason::PingTimeout), "the first reason stands");
    assert_eq!(session.begin_poll(start), Err(Refused::Farewell));
    assert_eq!(session.begin_poll(start), Err(Refused::Closed));
    assert_eq!(session.closed(), Some(DisconnectReason::TransportClose));
}

#[test]
fn the_heartbeat_of_a_session_that_moved_goes_on() {
    let (mut session, start) = machine(Transport::Polling);
    let moved = start + Duration::from_millis(100);
    let heart = session.heart(moved);
    assert_eq!(heart.ping_in, Some(Duration::from_millis(200)));
    let arrived = moved + Duration::from_millis(7);
    let mut there = Machine::arrived(heart, arrived);
    assert!(!there.is_polling());
    assert_eq!(there.next_due(), Some(arrived + Duration::from_millis(200)));
    assert_eq!(session.due(start + INTERVAL), Some(Due::Ping));
    there = Machine::arrived(session.heart(start + INTERVAL), arrived);
    assert_eq!(there.due(arrived), None, "the ping was sent before it moved");
    assert_eq!(there.receive(Packet::Pong, arrived), Received::Nothing);
    assert_eq!(there.next_due(), Some(arrived + INTERVAL));
}

#[test]
fn a_post_goes_on_through_an_upgrade() {
    let (mut session, start) = machine(Transport::Polling);
    assert_eq!(session.begin_post(), Ok(()));
    assert_eq!(session.begin_probe(), Ok(()));
    session.answer_probe(start);
    assert_eq!(session.upgrade(start), Ok(()));
    assert!(session.is_posting());
    session.end_post();
    assert!(!session.is_posting());
}

#[test]
fn a_clients_ping_is_an_error_and_the_rest_is_ignored() {
    let (mut session, start) = machine(Transport::WebSocket);
    let error = Received::Close(DisconnectReason::ProtocolError);
    assert_eq!(session.receive(Packet::Ping, start), error);
    assert_eq!(session.receive(Packet::Ignored, start), Received::Nothing);
}

#[test]
fn patience_ends_unless_it_was_renewed() {
    let (mut session, start) = machine(Transport::WebSocket);
    let at = start + Duration::from_millis(100);
    session.set_patience(Some((at, DisconnectReason::ConnectTimeout)));
    assert_eq!(session.next_due(), Some(at));
    assert_eq!(session.due(at), Some(Due::Close(DisconnectReason::ConnectTimeout)));
    session.set_patience(None);
    assert_eq!(session.due(at), None);
}
