//! Traces, for those few requests that are sampled: spans of `tracing`, sent to a collector as OTLP over HTTP.
//!
//! Whether a request is traced is decided where it comes in, before there is a span: what is not sampled costs nothing.
//! Whoever works for it later makes spans only where there is one already ([`is_traced`]), or where a [`TraceContext`] came
//! along. Without a collector nothing is traced.

mod context;
mod export;

use std::sync::OnceLock;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use opentelemetry::trace::{
    SpanContext, SpanId, TraceContextExt, TraceFlags, TraceId, TraceState, TracerProvider,
};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracer, SdkTracerProvider};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt;

pub use context::TraceContext;
pub(crate) use export::spans as exported_spans;

/// Traces.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Traces")]
pub struct TraceSettings {
    /// The collector, which takes OTLP over HTTP, such as `http://collector:4318`; without one nothing is traced
    #[arg(long, env = "PARLEY_OTLP_ENDPOINT", value_name = "URL")]
    pub otlp_endpoint: Option<String>,

    /// The share of requests that are traced, from 0 to 1
    #[arg(long, env = "PARLEY_TRACE_SAMPLE", default_value_t = 0.01, value_parser = share, value_name = "SHARE")]
    pub trace_sample: f64,

    /// Whether a request's own `traceparent` says if it is traced. Only where a proxy sets it: a client could have
    /// everything traced
    #[arg(long, env = "PARLEY_TRACE_FOLLOW", default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub trace_follow: bool,
}

fn share(text: &str) -> Result<f64, String> {
    let share: f64 = text.parse().map_err(|_| "no number".to_owned())?;
    if (0.0..=1.0).contains(&share) { Ok(share) } else { Err("not from 0 to 1".to_owned()) }
}

/// Which requests are traced.
#[derive(Debug, Clone, Copy)]
struct Choice {
    share: f64,
    follow: bool,
}

impl Choice {
    /// `given`: what the request brings along. `draw`: a random number from 0 to 1, 1 excluded. Not by the trace's id, which
    /// the client chooses.
    fn samples(self, given: Option<TraceContext>, draw: f64) -> bool {
        match given {
            Some(given) if self.follow => given.is_sampled(),
            _ => draw < self.share,
        }
    }
}

/// The process's.
static TRACING: OnceLock<Tracing> = OnceLock::new();

struct Tracing {
    choice: Choice,
    provider: SdkTracerProvider,
}

/// Begins to trace, if the settings say so: what `tracing` needs for it.
pub(crate) fn start(
    settings: &TraceSettings,
    service: String,
    pod: &str,
) -> anyhow::Result<Option<SdkTracer>> {
    let Some(processor) = export::processor(settings)? else { return Ok(None) };
    let resource = Resource::builder_empty().with_service_name(service).with_attributes([
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("service.instance.id", pod.to_owned()),
    ]);
    let provider = SdkTracerProvider::builder()
        .with_span_processor(processor)
        .with_resource(resource.build())
        // Chosen already: there is no span that is not sampled.
        .with_sampler(Sampler::AlwaysOn)
        .build();
    let tracer = provider.tracer("parley");
    let choice = Choice { share: settings.trace_sample, follow: settings.trace_follow };
    TRACING.set(Tracing { choice, provider }).ok().context("traces are started twice")?;
    Ok(Some(tracer))
}

/// Tests the settings without starting anything.
pub(crate) fn check(settings: &TraceSettings) -> anyhow::Result<()> {
    export::endpoint(settings).map(drop)
}

/// Sends what waits, but not for long.
pub(crate) fn stop(within: Duration) {
    if let Some(tracing) = TRACING.get()
        && let Err(error) = tracing.provider.shutdown_with_timeout(within)
    {
        tracing::warn!(%error, "the last spans were not sent");
    }
}

/// Whether a request that brings this along is to be traced.
pub fn samples(given: Option<TraceContext>) -> bool {
    TRACING.get().is_some_and(|tracing| tracing.choice.samples(given, rand::random()))
}

/// Whether this process traces anything.
pub fn is_on() -> bool {
    TRACING.get().is_some()
}

/// Whether what runs here belongs to something that is traced.
pub fn is_traced() -> bool {
    is_on() && !Span::current().is_none()
}

/// Has a new span follow one of another process. Before anything else is asked of it.
pub fn follow(span: &Span, parent: TraceContext) {
    let parent = SpanContext::new(
        TraceId::from(parent.trace_id),
        SpanId::from(parent.span_id),
        TraceFlags::SAMPLED,
        true,
        TraceState::NONE,
    );
    // A span that is not traced has no parent.
    let _ = span.set_parent(Context::new().with_remote_span_context(parent));
}

/// What another process needs to follow this span; `None` for one that is not traced.
pub fn context(span: &Span) -> Option<TraceContext> {
    if span.is_none() {
        return None;
    }
    let context = span.context();
    let span = context.span();
    let span = span.span_context();
    span.is_valid().then(|| TraceContext {
        trace_id: u128::from_be_bytes(span.trace_id().to_bytes()),
        span_id: u64::from_be_bytes(span.span_id().to_bytes()),
        flags: span.trace_flags().to_u8(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_client_cannot_have_itself_traced_unless_it_is_followed() {
        let given = |flags| Some(TraceContext { trace_id: 1, span_id: 1, flags });
        let own = Choice { share: 0.25, follow: false };
        for given in [None, given(0), given(1)] {
            assert!(own.samples(given, 0.24) && !own.samples(given, 0.25), "{given:?}");
        }
        let followed = Choice { share: 0.25, follow: true };
        assert!(followed.samples(given(1), 0.99) && !followed.samples(given(0), 0.0));
        assert!(followed.samples(None, 0.24) && !followed.samples(None, 0.25));
        let never = Choice { share: 0.0, follow: false };
        assert!(!never.samples(given(1), 0.0));
    }

    #[test]
    fn a_share_is_from_0_to_1() {
        assert_eq!((share("0"), share("1"), share("0.01")), (Ok(0.0), Ok(1.0), Ok(0.01)));
        for wrong in ["-0.1", "1.1", "NaN", "1 %", ""] {
            assert!(share(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn without_a_collector_nothing_is_traced() {
        let given = Some(TraceContext { trace_id: 1, span_id: 1, flags: 1 });
        assert!(!samples(given) && !is_traced());
        assert_eq!(context(&Span::none()), None);
    }
}
