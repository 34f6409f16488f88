//! Spans on their way to the collector: a bounded queue, and a thread of its own that sends. Nobody waits for either; what
//! finds no room, or is not taken, is dropped and counted.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use anyhow::Context as _;
use async_trait::async_trait;
use opentelemetry::Context;
use opentelemetry_http::{Bytes, HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, Span, SpanData, SpanExporter, SpanProcessor,
};
use prometheus::{IntCounter, IntCounterVec, Opts};

use super::TraceSettings;

/// Spans that may wait.
const QUEUE: usize = 4_096;
/// Most spans that are sent at once.
const BATCH: usize = 512;
/// Spans are sent at least so often.
const EVERY: Duration = Duration::from_secs(1);
/// How long the collector may take to answer.
const DEADLINE: Duration = Duration::from_secs(3);
/// Most bytes of its answer.
const ANSWER: u64 = 64 * 1024;

/// How spans have ended, of the process: there is one collector.
static SPANS: LazyLock<Result<Spans, prometheus::Error>> = LazyLock::new(Spans::new);

/// The metric, to be registered.
pub(crate) fn spans() -> anyhow::Result<IntCounterVec> {
    Ok(counted()?.all.clone())
}

fn counted() -> anyhow::Result<&'static Spans> {
    SPANS.as_ref().map_err(|error| anyhow::anyhow!("{error}"))
}

#[derive(Debug)]
struct Spans {
    all: IntCounterVec,
    sent: IntCounter,
    failed: IntCounter,
    dropped: IntCounter,
}

impl Spans {
    fn new() -> Result<Self, prometheus::Error> {
        let all = IntCounterVec::new(
            Opts::new(
                "parley_trace_spans_total",
                "Spans of traces, by outcome: sent, failed (the collector did not take them), dropped (too many waited).",
            ),
            &["outcome"],
        )?;
        let of = |outcome| all.with_label_values(&[outcome]);
        let (sent, failed, dropped) = (of("sent"), of("failed"), of("dropped"));
        Ok(Self { all, sent, failed, dropped })
    }
}

/// Where spans go, if there is a collector.
pub(super) fn processor(settings: &TraceSettings) -> anyhow::Result<Option<Bounded>> {
    let Some(endpoint) = endpoint(settings)? else { return Ok(None) };
    let agent = ureq::Agent::config_builder()
        .timeout_global(Some(DEADLINE))
        .http_status_as_error(false)
        .max_redirects(0)
        .build()
        .new_agent();
    let exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(Http(agent))
        .with_timeout(DEADLINE)
        .with_endpoint(endpoint)
        .build()
        .context("PARLEY_OTLP_ENDPOINT")?;
    let counted = counted()?;
    Ok(Some(Bounded::new(exporter, counted)))
}

/// The URL of the traces, by the collector's.
pub(super) fn endpoint(settings: &TraceSettings) -> anyhow::Result<Option<String>> {
    let Some(endpoint) = &settings.otlp_endpoint else { return Ok(None) };
    let is_http = ["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme));
    anyhow::ensure!(is_http, "PARLEY_OTLP_ENDPOINT cannot be \"{endpoint}\": no http or https URL");
    Ok(Some(format!("{}/v1/traces", endpoint.trim_end_matches('/'))))
}

/// The queue. The one of the SDK drops without saying how often; this one is shorter, and counts.
#[derive(Debug)]
pub(super) struct Bounded {
    queue: BatchSpanProcessor,
    waiting: Arc<AtomicUsize>,
    counted: &'static Spans,
}

impl Bounded {
    fn new(exporter: impl SpanExporter + 'static, counted: &'static Spans) -> Self {
        let config = BatchConfigBuilder::default()
            .with_max_queue_size(QUEUE + BATCH)
            .with_max_export_batch_size(BATCH)
            .with_scheduled_delay(EVERY)
            .build();
        let waiting = Arc::<AtomicUsize>::default();
        let exporter = Counting { exporter, waiting: waiting.clone(), counted };
        let queue = BatchSpanProcessor::builder(exporter).with_batch_config(config).build();
        Self { queue, waiting, counted }
    }
}

impl SpanProcessor for Bounded {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.queue.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        if self.waiting.fetch_add(1, Ordering::AcqRel) >= QUEUE {
            self.waiting.fetch_sub(1, Ordering::AcqRel);
            self.counted.dropped.inc();
            return;
        }
        self.queue.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.queue.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.queue.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.queue.set_resource(resource);
    }
}

/// Counts what becomes of spans that leave the queue.
#[derive(Debug)]
struct Counting<E> {
    exporter: E,
    waiting: Arc<AtomicUsize>,
    counted: &'static Spans,
}

impl<E: SpanExporter> SpanExporter for Counting<E> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len();
        let sent = self.exporter.export(batch).await;
        // Only now: what is on its way waits, too.
        self.waiting.fetch_sub(spans, Ordering::AcqRel);
        let outcome = if sent.is_ok() { &self.counted.sent } else { &self.counted.failed };
        outcome.inc_by(spans as u64);
        if let Err(error) = &sent {
            tracing::debug!(%error, spans, "spans were not sent");
        }
        sent
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.exporter.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.exporter.set_resource(resource);
    }
}

/// One request at a time, on the thread of the queue, which may block.
#[derive(Debug)]
struct Http(ureq::Agent);

#[async_trait]
impl HttpClient for Http {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let answer = self.0.run(Request::from_parts(head, body.as_ref()))?;
        let (head, mut body) = answer.into_parts();
        let body = body.with_config().limit(ANSWER).read_to_vec()?;
        Ok(Response::from_parts(head, Bytes::from(body)))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, Sender, channel};

    use opentelemetry::trace::{Span as _, Tracer, TracerProvider};
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use parking_lot::Mutex;

    use super::*;

    /// A collector that takes a batch whenever it is let, and says how large it was.
    #[derive(Debug)]
    struct Stalled(Mutex<Receiver<()>>, Mutex<Sender<usize>>);

    impl SpanExporter for Stalled {
        async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
            let _ = self.1.lock().send(batch.len());
            let _ = self.0.lock().recv();
            Ok(())
        }
    }

    #[test]
    fn i9_a_collector_that_stalls_delays_nobody_and_what_is_dropped_is_counted() {
        let counted: &'static Spans = Box::leak(Box::new(Spans::new().unwrap()));
        let ((go, gate), (taken, takes)) = (channel(), channel());
        let processor = Bounded::new(Stalled(Mutex::new(gate), Mutex::new(taken)), counted);
        let provider = SdkTracerProvider::builder().with_span_processor(processor).build();
        let tracer = provider.tracer("test");
        for _ in 0..QUEUE + 100 {
            tracer.start("span").end();
        }
        assert_eq!(counted.dropped.get(), 100);
        let first = takes.recv_timeout(Duration::from_secs(20)).expect("a batch is sent");
        assert!(first <= BATCH, "{first}");
        assert_eq!(counted.sent.get(), 0, "it is still on its way");
        drop(go);
        provider.shutdown_with_timeout(Duration::from_secs(20)).unwrap();
        assert_eq!((counted.sent.get(), counted.failed.get()), (QUEUE as u64, 0));
    }

    #[test]
    fn a_collector_that_is_not_there_is_counted_and_holds_up_no_shutdown() {
        let counted: &'static Spans = Box::leak(Box::new(Spans::new().unwrap()));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let nobody = listener.local_addr().unwrap();
        drop(listener);
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(Http(ureq::agent()))
            .with_endpoint(format!("http://{nobody}/v1/traces"))
            .build()
            .unwrap();
        let provider = SdkTracerProvider::builder()
            .with_span_processor(Bounded::new(exporter, counted))
            .build();
        provider.tracer("test").start("span").end();
        let begun = std::time::Instant::now();
        let _ = provider.shutdown_with_timeout(Duration::from_secs(10));
        assert!(begun.elapsed() < Duration::from_secs(10));
        assert_eq!((counted.sent.get(), counted.failed.get()), (0, 1));
    }

    #[test]
    fn the_traces_path_is_added_to_the_collectors_url() {
        let of = |endpoint: Option<&str>| {
            let otlp_endpoint = endpoint.map(str::to_owned);
            endpoint_of(TraceSettings { otlp_endpoint, trace_sample: 0.0, trace_follow: false })
        };
        let endpoint_is = Some("http://collector:4318/v1/traces".to_owned());
        assert_eq!(of(None).unwrap(), None);
        assert_eq!(of(Some("http://collector:4318")).unwrap(), endpoint_is);
        assert_eq!(of(Some("http://collector:4318/")).unwrap(), endpoint_is);
        let wrong = of(Some("collector:4317")).unwrap_err().to_string();
        assert!(wrong.starts_with("PARLEY_OTLP_ENDPOINT cannot be"), "{wrong}");
    }

    #[expect(clippy::needless_pass_by_value, reason = "a test's")]
    fn endpoint_of(settings: TraceSettings) -> anyhow::Result<Option<String>> {
        endpoint(&settings)
    }
}
