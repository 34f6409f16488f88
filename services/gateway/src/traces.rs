//! The span of a delivery that is traced: one for each event and room, not for each connection.

use parley_domain::bus::{Origin, TraceContext};
use parley_runtime::trace;
use parley_socketio::Frame;
use tracing::{Span, field};

use crate::room::{Came, Event};

/// From the first connection of the room to the last, if whoever published it is traced, and this pod traces.
pub(crate) fn delivering(event: &Event<Frame>, pod: &str) -> Span {
    let Came::Live(Origin { trace: Some(published), .. }) = event.came else {
        return Span::none();
    };
    if !trace::is_on() {
        return Span::none();
    }
    let span = tracing::info_span!(
        parent: None,
        "deliver",
        otel.kind = "consumer",
        pod,
        chat.version = event.version.map(|version| version.0),
        members.told = field::Empty,
    );
    let TraceContext { trace_id, span_id, flags } = published;
    trace::follow(&span, trace::TraceContext { trace_id, span_id, flags });
    span
}
