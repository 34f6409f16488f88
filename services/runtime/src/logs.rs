//! Log lines: what is logged, changed while the process runs; and which request a line belongs to.
//!
//! A line that is written while a request is worked for carries `request.id`, and `trace.id` if somebody traces it.

use std::fmt;
use std::future::Future;
use std::io::IsTerminal;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry_sdk::trace::SdkTracer;
use parking_lot::Mutex;
use tokio::task::AbortHandle;
use tracing::level_filters::LevelFilter;
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::filter::{FilterExt, Targets, filter_fn};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry, reload};

use crate::settings::{LogFormat, ProcessSettings};

/// The process's log.
static LOG: OnceLock<Log> = OnceLock::new();

/// What is logged, to be asked for and changed.
pub(crate) struct Log {
    handle: reload::Handle<EnvFilter, Registry>,
    /// As the settings have it.
    set: String,
    now: Mutex<Now>,
}

struct Now {
    filter: String,
    /// How often it was changed.
    changes: u64,
    /// What puts the setting back.
    until: Option<AbortHandle>,
}

/// The request that is being worked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// Its id.
    pub id: Arc<str>,
    /// The trace that it belongs to, if any.
    pub trace_id: Option<u128>,
}

tokio::task_local! {
    static REQUEST: Request;
}

/// Has what `work` logs carry the ids of this request.
pub fn of_request<F: Future>(request: Request, work: F) -> impl Future<Output = F::Output> {
    REQUEST.scope(request, work)
}

/// Has what `work` logs carry the ids of the request that is being worked for here, wherever `work` runs.
pub fn of_this_request<F: Future>(work: F) -> impl Future<Output = F::Output> {
    let request = REQUEST.try_with(Clone::clone).ok();
    async move {
        match request {
            Some(request) => REQUEST.scope(request, work).await,
            None => work.await,
        }
    }
}

/// Starts logging to standard error, and tracing if there is somebody to trace for.
pub(crate) fn start(settings: &ProcessSettings, tracer: Option<SdkTracer>) -> anyhow::Result<()> {
    let (filter, handle) = reload::Layer::new(parse(&settings.log)?);
    let json = match settings.log_format {
        LogFormat::Json => true,
        LogFormat::Text => false,
        LogFormat::Auto => !std::io::stderr().is_terminal(),
    };
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    let lines = if json {
        let lines = lines.json().flatten_event(true).with_current_span(false).with_span_list(false);
        lines.map_event_format(|format| WithIds { format, json }).boxed()
    } else {
        let lines = lines.with_ansi(std::io::stderr().is_terminal());
        lines.map_event_format(|format| WithIds { format, json }).boxed()
    };
    let spans = tracer.map(|tracer| {
        let layer = tracing_opentelemetry::layer().with_tracer(tracer);
        layer
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(filter_fn(is_own_span))
    });
    let logged = Registry::default().with(lines.with_filter(filter.and(bounds()))).with(spans);
    logged.try_init().context("start logging")?;
    let now = Mutex::new(Now { filter: settings.log.clone(), changes: 0, until: None });
    LOG.set(Log { handle, set: settings.log.clone(), now }).ok().context("logging is started twice")
}

/// Tests the filter without starting anything.
pub(crate) fn check(settings: &ProcessSettings) -> anyhow::Result<()> {
    parse(&settings.log)
        .map(drop)
        .with_context(|| format!("PARLEY_LOG cannot be \"{}\"", settings.log))
}

fn parse(filter: &str) -> anyhow::Result<EnvFilter> {
    Ok(EnvFilter::builder().parse(filter)?)
}

/// Beyond that, libraries may log what they read and write, and so what people say.
fn bounds() -> Targets {
    Targets::new().with_target("parley", LevelFilter::TRACE).with_default(LevelFilter::DEBUG)
}

/// Only our own spans are traced. Events are not: a trace holds nothing that a log line may.
fn is_own_span(metadata: &Metadata<'_>) -> bool {
    metadata.is_span() && metadata.target().starts_with("parley")
}

/// The process's log, if it was started.
pub(crate) fn log() -> Option<&'static Log> {
    LOG.get()
}

impl Log {
    /// What is logged now.
    pub(crate) fn filter(&self) -> String {
        self.now.lock().filter.clone()
    }

    /// Logs something else from now on; for a while only, if that is given. The error says what is wrong with the filter.
    pub(crate) fn set(&'static self, filter: &str, lasts: Option<Duration>) -> anyhow::Result<()> {
        let mut now = self.now.lock();
        self.change(&mut now, filter)?;
        let seconds = lasts.map(|lasts| lasts.as_secs());
        tracing::info!(filter, seconds, "what is logged was changed");
        let until = lasts.map(|lasts| tokio::spawn(self.ends(now.changes, lasts)).abort_handle());
        if let Some(before) = std::mem::replace(&mut now.until, until) {
            before.abort();
        }
        Ok(())
    }

    /// Goes back to what the process was started with, unless something else was set meanwhile.
    async fn ends(&'static self, change: u64, lasts: Duration) {
        tokio::time::sleep(lasts).await;
        let mut now = self.now.lock();
        if now.changes == change && self.change(&mut now, &self.set).is_ok() {
            tracing::info!(filter = self.set, "what is logged was changed back");
        }
    }

    fn change(&self, now: &mut Now, filter: &str) -> anyhow::Result<()> {
        self.handle.reload(parse(filter)?)?;
        filter.clone_into(&mut now.filter);
        now.changes += 1;
        Ok(())
    }
}

/// A format that adds the ids of the request.
struct WithIds<F> {
    format: F,
    json: bool,
}

impl<S, N, F> FormatEvent<S, N> for WithIds<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let Ok(request) = REQUEST.try_with(Clone::clone) else {
            return self.format.format_event(context, writer, event);
        };
        let mut line = String::new();
        self.format.format_event(context, Writer::new(&mut line), event)?;
        writer.write_str(&if self.json {
            with_ids(&line, &request)
        } else {
            beside(&line, &request)
        })
    }
}

/// A JSON object with the ids in it.
fn with_ids(line: &str, request: &Request) -> String {
    let Some(fields) = line.trim_end().strip_suffix('}') else { return line.to_owned() };
    let id = serde_json::Value::from(&*request.id);
    let trace =
        request.trace_id.map_or_else(String::new, |id| format!(r#","trace.id":"{id:032x}""#));
    // What a line says of itself holds.
    if fields.contains(r#""request.id":"#) {
        return format!("{fields}{trace}}}\n");
    }
    format!("{fields},\"request.id\":{id}{trace}}}\n")
}

fn beside(line: &str, request: &Request) -> String {
    let trace = request.trace_id.map_or_else(String::new, |id| format!(" trace.id={id:032x}"));
    format!("{} request.id={}{trace}\n", line.trim_end(), request.id)
}

#[cfg(test)]
mod tests {
    use std::io;

    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Lines {
        type Writer = Self;

        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    fn logged(filter: &str, work: impl FnOnce()) -> Vec<serde_json::Value> {
        let lines = Lines::default();
        let layer = tracing_subscriber::fmt::layer().with_writer(lines.clone());
        let layer = layer.json().flatten_event(true).with_current_span(false);
        let layer = layer.map_event_format(|format| WithIds { format, json: true });
        let filter = parse(filter).unwrap().and(bounds());
        let logged = Registry::default().with(layer.with_filter(filter));
        tracing::subscriber::with_default(logged, work);
        let text = String::from_utf8(lines.0.lock().clone()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    #[test]
    fn a_line_carries_the_ids_of_the_request_that_is_worked_for() {
        let request = Request { id: r#"a"b\c"#.into(), trace_id: Some(0xabc) };
        let lines = logged("info", || {
            tracing::info!("before");
            REQUEST.sync_scope(request, || {
                tracing::info!(number = 7, "within");
                tracing::info!(request.id = "own", "within");
            });
        });
        assert_eq!(lines[0].get("request.id"), None);
        assert_eq!((&lines[1]["request.id"], &lines[1]["number"]), (&r#"a"b\c"#.into(), &7.into()));
        assert_eq!(lines[1]["trace.id"], "00000000000000000000000000000abc");
        assert_eq!(lines[2]["request.id"], "own");
    }

    #[tokio::test]
    async fn what_goes_on_elsewhere_keeps_the_ids() {
        let request = Request { id: "one".into(), trace_id: None };
        let id = of_request(request, async {
            let told = of_this_request(async { REQUEST.with(|request| request.id.clone()) });
            tokio::spawn(told).await.unwrap()
        });
        assert_eq!(&*id.await, "one");
        let nothing = of_this_request(async { REQUEST.try_with(Clone::clone).is_err() });
        assert!(nothing.await, "outside of a request there is none");
    }

    #[test]
    fn libraries_never_log_what_they_read_and_write() {
        let lines = logged("trace", || {
            tracing::trace!(target: "hyper::proto", "a user's words");
            tracing::debug!(target: "hyper::proto", "a library's step");
            tracing::trace!(target: "parley_api::sends", "our own");
        });
        let messages: Vec<_> = lines.iter().map(|line| line["message"].as_str().unwrap()).collect();
        assert_eq!(messages, ["a library's step", "our own"]);
    }
}
