//! An audience on a thread of its own, which listens while something else speaks.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::{Audience, HEARD_WITHIN, SILENCE};

const TURN: Duration = Duration::from_millis(20);

/// An audience that listens until this is dropped.
pub(crate) struct Listening {
    heard: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    /// Why the thread has ended before its time.
    failure: Arc<parking_lot::Mutex<Option<anyhow::Error>>>,
}

impl Listening {
    pub(crate) fn begin(mut audience: Audience) -> Result<Self> {
        let heard = Arc::new(AtomicU64::new(audience.heard()));
        let is_over = Arc::new(AtomicBool::new(false));
        let failure = Arc::new(parking_lot::Mutex::new(None));
        let (count, stop, failed) =
            (Arc::clone(&heard), Arc::clone(&is_over), Arc::clone(&failure));
        let listen = move || {
            while !stop.load(Ordering::Relaxed) {
                if let Err(error) = audience.turn(Some(TURN)) {
                    *failed.lock() = Some(error);
                    return;
                }
                count.store(audience.heard(), Ordering::Relaxed);
            }
        };
        let thread = thread::Builder::new().name("audience".to_owned()).spawn(listen);
        let thread = Some(thread.context("no thread for the audience")?);
        Ok(Self { heard, is_over, thread, failure })
    }

    /// Events that all of them have heard since the beginning.
    pub(crate) fn heard(&self) -> u64 {
        self.heard.load(Ordering::Relaxed)
    }

    /// Waits until they have heard so many in all, and no more than that.
    pub(crate) fn hears(&self, wanted: u64) -> Result<()> {
        let deadline = Instant::now() + HEARD_WITHIN;
        while self.heard() < wanted && Instant::now() < deadline {
            if let Some(error) = self.failure.lock().take() {
                return Err(error).context("the audience has left");
            }
            thread::sleep(TURN);
        }
        thread::sleep(SILENCE);
        if self.heard() != wanted {
            bail!("{} deliveries of {wanted}", self.heard());
        }
        Ok(())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
