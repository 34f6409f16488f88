//! How members are told: what came together goes to each of them in one write.

use parley_domain::bus::Origin;
use parley_socketio::{CloseReason, Frame};

use super::RoomTask;
use crate::planted;
use crate::room::{Came, Event, Heard, Lost, Part, parts};
use crate::traces;

/// Sockets written to before other tasks get a turn.
const BEFORE_OTHERS: usize = 64;
/// Members of a room that its own task writes to, where there are other workers: the sockets of a larger one are written to by
/// their own tasks, on all of them. It costs a wake-up each.
const ALONE: usize = 512;

/// To how many members a room's own task writes, on a runtime of so many workers.
pub(crate) fn alone(workers: usize) -> usize {
    if workers > 1 { ALONE } else { usize::MAX }
}

impl RoomTask {
    /// Passes on, and lets go of members whose connection is closed.
    pub(super) async fn fan_out(&mut self, heard: Vec<Heard<Frame>>) {
        for part in parts(heard, self.rooms.0.turn, Frame::len) {
            match part {
                Part::Together(events) => self.deliver(&events).await,
                Part::Alone(event) => {
                    self.deliver(std::slice::from_ref(&event)).await;
                    self.pass(&event).await;
                }
                Part::Close(why) => self.send_all_away(why),
            }
            self.linger();
        }
    }

    fn send_all_away(&mut self, why: Lost) {
        tracing::warn!(chat.id = %self.chat, ?why, "a room's connections are closed");
        self.rooms.0.metrics.lost(why);
        self.note_all_sent_away();
        for socket in self.room.clear() {
            socket.close(CloseReason::GoingAway);
        }
        (self.writers, self.typists) = Default::default();
    }

    /// What an event does to the membership of those whom it concerns.
    async fn pass(&mut self, event: &Event<Frame>) {
        let left = self.room.passed(event);
        self.note_passed(event, &left);
        self.rooms.0.metrics.evicted.inc_by(left.removed as u64);
        for socket in left.closed {
            socket.close(CloseReason::GoingAway);
        }
        self.on_removed(event).await;
    }

    /// Gives events to whom they are for. Several are durable ones for everybody, in their order.
    pub(super) async fn deliver(&mut self, events: &[Event<Frame>]) {
        if events.is_empty() {
            return;
        }
        let frames: Vec<_> = events.iter().map(|event| event.frame.clone()).collect();
        let together = Frame::together(&frames);
        let spans: Vec<_> =
            events.iter().map(|event| traces::delivering(event, self.rooms.pod())).collect();
        let at_once = self.room.len() <= self.rooms.0.alone;
        let (mut served, mut closed) = (0, Vec::new());
        // How many were told each event.
        let mut told = vec![0_u64; events.len()];
        for (key, socket, known) in self.room.hearers(events) {
            served += 1;
            if served % BEFORE_OTHERS == 0 {
                tokio::task::yield_now().await;
            }
            let rest = (known > 0).then(|| Frame::together(&frames[known..]));
            let frame = rest.as_ref().unwrap_or(&together);
            if planted::send(self.chat, socket, (frame, at_once)).is_ok() {
                told[known..].iter_mut().for_each(|told| *told += 1);
            } else {
                closed.push((key, known));
            }
        }
        self.rooms.0.metrics.delivered.inc_by(told.iter().sum());
        for ((event, span), told) in events.iter().zip(spans).zip(told) {
            span.record("members.told", told);
            self.note_telling(event);
            if told > 0 && event.version.is_some() {
                self.time(event.came);
            }
        }
        for (key, known) in closed {
            self.note_closed(key, &events[known]);
            self.leave(key);
        }
    }

    /// How long it was on its way, if it came live.
    fn time(&self, came: Came) {
        if let Came::Live(Origin { committed_at: Some(committed), .. }) = came {
            self.rooms.0.metrics.handed_over(self.rooms.0.clock.now() - committed);
        }
    }
}
