//! A document that somebody else publishes, read again and again: from a file, or over HTTP.

use std::io::Read;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use prometheus::{IntCounterVec, Opts, Registry};
use tokio::sync::Mutex;
use tokio_util::sync::CancellationToken;

/// Most bytes of a document.
const MOST: u64 = 512 * 1024;
/// How long a fetch may take.
const DEADLINE: Duration = Duration::from_secs(5);
/// The pause after a fetch in vain, unless the ordinary one is shorter.
const AFTER_FAILURE: Duration = Duration::from_secs(15);
/// Who asks for a fetch out of turn gets one at most so often.
const OUT_OF_TURN: Duration = Duration::from_mins(1);
/// Redirects that are followed; from https to https only.
const REDIRECTS: u32 = 3;

const TAKEN: &str = "taken";
const FAILED: &str = "failed";

/// Where a document is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// A file.
    File(PathBuf),
    /// An http or https URL.
    Url(String),
}

type Take = dyn Fn(&[u8]) -> Result<(), String> + Send + Sync;

/// A document and who takes it; clones share it.
#[derive(Clone)]
pub struct Document(Arc<Inner>);

struct Inner {
    name: &'static str,
    source: Source,
    every: Duration,
    take: Box<Take>,
    /// One fetch at a time.
    turn: Arc<Mutex<Turn>>,
    fetches: Fetches,
}

/// Counts fetches, of a document that is not fetched too: then there are none.
#[derive(Clone)]
pub struct Fetches(IntCounterVec);

impl Fetches {
    /// Of the documents of these names.
    pub fn register(
        registry: &Registry,
        names: &[&'static str],
    ) -> Result<Self, prometheus::Error> {
        let fetches = IntCounterVec::new(
            Opts::new("parley_document_fetches_total", "Documents fetched, by name and outcome."),
            &["document", "outcome"],
        )?;
        for name in names {
            for outcome in [TAKEN, FAILED] {
                fetches.with_label_values(&[name, outcome]);
            }
        }
        registry.register(Box::new(fetches.clone()))?;
        Ok(Self(fetches))
    }
}

impl Document {
    /// A document that is fetched so often and handed to `take`, which says what is wrong with it, if anything is.
    pub fn new(
        name: &'static str,
        source: Source,
        every: Duration,
        fetches: Fetches,
        take: impl Fn(&[u8]) -> Result<(), String> + Send + Sync + 'static,
    ) -> Self {
        let (take, turn) = (Box::new(take), Arc::default());
        Self(Arc::new(Inner { name, source, every, take, turn, fetches }))
    }

    /// Fetches until `stop`; a fetch in vain changes nothing. The pauses vary by a tenth, so that pods that have started
    /// together do not ask together.
    pub async fn run(self, stop: CancellationToken) {
        let mut taken = true;
        loop {
            let pause = if taken { self.0.every } else { self.0.every.min(AFTER_FAILURE) };
            let pause = pause.mul_f64(rand::random_range(0.9..1.1));
            if stop.run_until_cancelled(tokio::time::sleep(pause)).await.is_none() {
                return;
            }
            let Some(fetched) = stop.run_until_cancelled(self.fetch()).await else { return };
            taken = fetched;
        }
    }

    /// Fetches now, in turn; says whether the document was taken.
    pub async fn fetch(&self) -> bool {
        let _turn = self.0.turn.lock().await;
        self.0.fetch().await
    }

    /// Fetches out of turn, for who misses something in the document; at most once a minute, however many ask. Who asks
    /// while a fetch is on its way waits for it.
    pub async fn fetch_again(&self, now: Instant) {
        let mut turn = self.0.turn.clone().lock_owned().await;
        if !turn.allows(now) {
            return;
        }
        let inner = self.0.clone();
        // A task, so that the fetch does not end with whoever asked first.
        let fetched = tokio::spawn(async move {
            inner.fetch().await;
            drop(turn);
        });
        // A panic is reported where it happens.
        let _ = fetched.await;
    }
}

impl Inner {
    async fn fetch(&self) -> bool {
        let source = self.source.clone();
        let read = tokio::task::spawn_blocking(move || read(&source)).await;
        let outcome = read
            .unwrap_or_else(|error| Err(error.to_string()))
            .and_then(|document| (self.take)(&document));
        let taken = outcome.is_ok();
        let label = if taken { TAKEN } else { FAILED };
        self.fetches.0.with_label_values(&[self.name, label]).inc();
        if let Err(error) = outcome {
            tracing::warn!(document = self.name, error, "a document could not be fetched");
        }
        taken
    }
}

/// When somebody was granted a fetch out of turn.
#[derive(Default)]
struct Turn {
    granted: Option<Instant>,
}

impl Turn {
    fn allows(&mut self, now: Instant) -> bool {
        let allowed = self
            .granted
            .is_none_or(|granted| now.saturating_duration_since(granted) >= OUT_OF_TURN);
        if allowed {
            self.granted = Some(now);
        }
        allowed
    }
}

fn read(source: &Source) -> Result<Vec<u8>, String> {
    match source {
        Source::File(path) => {
            let file = std::fs::File::open(path).map_err(|error| error.to_string())?;
            let mut document = Vec::new();
            file.take(MOST + 1).read_to_end(&mut document).map_err(|error| error.to_string())?;
            if document.len() as u64 > MOST {
                return Err(format!("it has more than {MOST} bytes"));
            }
            Ok(document)
        }
        Source::Url(url) => {
            let agent = ureq::Agent::config_builder()
                .timeout_global(Some(DEADLINE))
                .https_only(url.starts_with("https:"))
                .max_redirects(REDIRECTS)
                .build()
                .new_agent();
            let answer = agent.get(url).header("accept", "application/json").call();
            let mut answer = answer.map_err(|error| error.to_string())?;
            let body = answer.body_mut().with_config().limit(MOST);
            body.read_to_vec().map_err(|error| error.to_string())
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn i9_however_many_ask_out_of_turn_a_minute_has_one_fetch() {
        let path = std::env::temp_dir().join(format!("parley-document-{}", std::process::id()));
        std::fs::write(&path, "text").unwrap();
        let fetched = Arc::new(AtomicUsize::new(0));
        let counted = fetched.clone();
        let source = Source::File(path.clone());
        let every = Duration::from_mins(5);
        let fetches = Fetches::register(&Registry::new(), &["test"]).unwrap();
        let document = Document::new("test", source, every, fetches, move |document| {
            assert_eq!(document, b"text");
            counted.fetch_add(1, Ordering::SeqCst);
            Ok(())
        });
        let begin = Instant::now();
        // Ten thousand, evenly over five minutes, many at a time.
        for hundred in 0..100 {
            let mut asking = tokio::task::JoinSet::new();
            for one in 0..100 {
                let now = begin + Duration::from_millis((hundred * 100 + one) * 30);
                let document = document.clone();
                asking.spawn(async move { document.fetch_again(now).await });
            }
            asking.join_all().await;
            let minutes = usize::try_from((hundred * 100 + 99) * 30 / 60_000).unwrap();
            assert!(fetched.load(Ordering::SeqCst) <= minutes + 1, "in minute {minutes}");
        }
        assert_eq!(fetched.load(Ordering::SeqCst), 5);
        std::fs::remove_file(path).unwrap();
    }

    #[tokio::test]
    async fn what_is_too_large_or_absent_is_not_taken() {
        let path = std::env::temp_dir().join(format!("parley-large-{}", std::process::id()));
        std::fs::write(&path, vec![b' '; usize::try_from(MOST).unwrap() + 1]).unwrap();
        for source in [
            Source::File(path.clone()),
            Source::File(path.with_extension("absent")),
            // Nothing listens on port 1.
            Source::Url("http://127.0.0.1:1/jwks".to_owned()),
        ] {
            let every = Duration::from_mins(5);
            let fetches = Fetches::register(&Registry::new(), &["test"]).unwrap();
            let document = Document::new("test", source, every, fetches, |_| panic!("taken"));
            assert!(!document.fetch().await);
        }
        std::fs::remove_file(path).unwrap();
    }
}
