//! What api pods send, as what rooms pass on: each event is wrapped in one frame, and never read.

use std::sync::Arc;

use parley_domain::ask::{CatchUpAnswer, Missed, MissedEvent, MissedPage};
use parley_domain::bus::{Kind, RoomEvent};
use parley_domain::ids::UserId;
use parley_domain::version::Epoch;
use parley_socketio::Frame;

use crate::asks::Admission;
use crate::room::{Answer, Came, Event, Snapshot, Standing};

/// An event of the bus.
pub(crate) fn live(event: &RoomEvent) -> Event<Frame> {
    let frame = Frame::event("/", &event.event);
    // A receipt may be for some alone.
    let only = if event.kind == Kind::MessagesRead {
        event.affected.as_slice().into()
    } else {
        Arc::default()
    };
    let removed = removed(event.kind, &event.affected);
    let hidden_from = Arc::default();
    let (version, epoch, came) = (event.version, event.epoch, Came::Live(event.origin));
    Event { version, epoch, removed, only, hidden_from, came, frame }
}

/// The answer to a catch-up; `None` when it could not be answered.
pub(crate) fn caught_up(answer: CatchUpAnswer) -> Option<Answer<Frame>> {
    match answer {
        CatchUpAnswer::Missed(missed) => Some(self::missed(missed)),
        CatchUpAnswer::ChatNotFound => Some(Answer::Gone),
        CatchUpAnswer::Unavailable => None,
    }
}

/// What a joiner was answered.
pub(crate) fn snapshot(Admission { chat, missed }: Admission) -> Snapshot<Frame> {
    let head = Standing { version: chat.version, epoch: chat.epoch };
    Snapshot { head, missed }
}

/// What was missed.
pub(crate) fn missed(missed: Missed) -> Answer<Frame> {
    match missed {
        Missed::Events(MissedPage { events, up_to, version, epoch }) => {
            let events = events.iter().map(|event| told_again(event, epoch)).collect();
            Answer::Page { events, up_to, head: Standing { version, epoch } }
        }
        Missed::Resync { version, epoch } => Answer::Reload(Standing { version, epoch }),
    }
}

fn told_again(event: &MissedEvent, epoch: Epoch) -> Event<Frame> {
    Event {
        version: Some(event.version),
        epoch,
        removed: removed(Kind::from_code(event.kind), &event.affected),
        only: Arc::default(),
        hidden_from: event.hidden_from.as_slice().into(),
        came: Came::CaughtUp,
        frame: Frame::event("/", event.event.as_bytes()),
    }
}

fn removed(kind: Kind, affected: &[UserId]) -> Arc<[UserId]> {
    if kind == Kind::ParticipantRemoved { affected.into() } else { Arc::default() }
}
