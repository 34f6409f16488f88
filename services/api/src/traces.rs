//! The spans of a request that is traced. Nothing of what people say is in them.

use parley_domain::bus;
use parley_domain::change::Change;
use parley_runtime::trace;
use tracing::{Span, field};

/// A step of what runs here, if that is traced.
pub(crate) fn step(name: &'static str) -> Span {
    if trace::is_traced() { tracing::info_span!("step", otel.name = name) } else { Span::none() }
}

/// The telling of a change by whom `parent` is the span, if that is traced: until the bus's client has the event.
pub(crate) fn publishing(parent: &Span, change: &Change) -> Span {
    if parent.is_none() {
        return Span::none();
    }
    tracing::info_span!(
        parent: parent,
        "publish",
        otel.kind = "producer",
        otel.status_code = field::Empty,
        chat.id = %change.chat_id,
        chat.version = change.version.0,
    )
}

/// What goes over the bus of a span.
pub(crate) fn on_the_bus(span: &Span) -> Option<bus::TraceContext> {
    trace::context(span).map(|trace::TraceContext { trace_id, span_id, flags }| bus::TraceContext {
        trace_id,
        span_id,
        flags,
    })
}
