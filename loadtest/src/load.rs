//! The load itself: clients that each send, wait for the answer, and send again.
//!
//! All clients are tasks of one thread, apart from the thread that measures. One thread makes far more requests than two
//! cores of servers answer, and needs no locks.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use tokio::task::LocalSet;

use crate::http::{Answer, Connection};
use crate::window::Done;

/// What a client waits for its last answer once it was told to stop.
const PATIENCE: Duration = Duration::from_secs(20);

/// Writes the requests of one client.
pub(crate) trait Requests: Send + 'static {
    /// Writes the next one into an empty buffer.
    fn write(&mut self, request: &mut Vec<u8>);
}

/// What a load has done.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    /// The good answers.
    pub(crate) done: Vec<Done>,
    /// How many requests failed, in whatever way.
    pub(crate) errors: u64,
    /// What the first of them said.
    pub(crate) first_error: Option<String>,
}

/// A load that runs; dropped, it ends by itself.
pub(crate) struct Load {
    stop: Stop,
    thread: JoinHandle<Result<Outcome>>,
}

/// Tells the clients to stop, at the latest when it is dropped.
struct Stop(Arc<AtomicBool>);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Load {
    /// Starts one client for each of these; they are spread over the addresses. Only this status is
    /// a good answer.
    pub(crate) fn start<R: Requests>(
        addresses: Vec<String>,
        clients: Vec<R>,
        wanted: u16,
    ) -> Result<Self> {
        if addresses.is_empty() {
            bail!("there is no pod to send to");
        }
        let asked = Arc::new(AtomicBool::new(false));
        let stop = Stop(Arc::clone(&asked));
        let thread =
            std::thread::spawn(move || on_this_thread(drive(addresses, clients, wanted, asked)));
        Ok(Self { stop, thread })
    }

    /// Lets every client finish what it has begun.
    pub(crate) fn stop(self) -> Result<Outcome> {
        drop(self.stop);
        self.thread.join().map_err(|_| anyhow::anyhow!("the load has panicked"))?
    }
}

/// Runs this, and the tasks that it makes, on the thread of the caller.
pub(crate) fn on_this_thread<T>(work: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    LocalSet::new().block_on(&runtime, work)
}

async fn drive<R: Requests>(
    addresses: Vec<String>,
    clients: Vec<R>,
    wanted: u16,
    stop: Arc<AtomicBool>,
) -> Result<Outcome> {
    let mut tasks = Vec::new();
    for (number, requests) in clients.into_iter().enumerate() {
        let address = addresses[number % addresses.len()].clone();
        let client = Client { address, requests, wanted, stop: Arc::clone(&stop) };
        tasks.push(tokio::task::spawn_local(client.run()));
    }
    let mut all = Outcome::default();
    for task in tasks {
        let Outcome { done, errors, first_error } = task.await.context("a client has panicked")?;
        all.done.extend(done);
        all.errors += errors;
        all.first_error = all.first_error.or(first_error);
    }
    Ok(all)
}

struct Client<R> {
    address: String,
    requests: R,
    wanted: u16,
    stop: Arc<AtomicBool>,
}

impl<R: Requests> Client<R> {
    async fn run(mut self) -> Outcome {
        let mut outcome = Outcome::default();
        while !self.stop.load(Ordering::Relaxed) {
            // Ends with the load, or with a connection that is of no use any more.
            if let Err(error) = self.converse(&mut outcome).await {
                outcome.errors += 1;
                outcome.first_error.get_or_insert_with(|| format!("{error:#}"));
                // A server that is gone must not make this a busy loop.
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
        outcome
    }

    async fn converse(&mut self, outcome: &mut Outcome) -> Result<()> {
        let mut connection = Connection::open(&self.address).await?;
        let mut request = Vec::with_capacity(2048);
        while !self.stop.load(Ordering::Relaxed) {
            request.clear();
            self.requests.write(&mut request);
            let begun = Instant::now();
            let answer = tokio::time::timeout(PATIENCE, connection.exchange(&request)).await;
            let answer = answer.context("no answer")??;
            if answer.status == self.wanted {
                let took = u32::try_from(begun.elapsed().as_micros()).unwrap_or(u32::MAX);
                outcome.done.push(Done { at: now()?, took });
            } else {
                outcome.errors += 1;
                outcome.first_error.get_or_insert_with(|| shown(&answer));
            }
        }
        Ok(())
    }
}

fn now() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?)
}

fn shown(answer: &Answer<'_>) -> String {
    let body: String = String::from_utf8_lossy(answer.body).chars().take(300).collect();
    format!("{}: {body}", answer.status)
}

/// Asks one address all of these, many at a time, and returns the bodies in the order of the
/// requests. For preparing: any answer that is not good ends it.
pub(crate) fn ask_all(address: &str, requests: Vec<Vec<u8>>) -> Result<Vec<Vec<u8>>> {
    const AT_A_TIME: usize = 16;
    on_this_thread(async move {
        let mut bodies = vec![Vec::new(); requests.len()];
        let left: Left = Rc::new(RefCell::new(requests.into_iter().enumerate().collect()));
        let asking = || tokio::task::spawn_local(ask(address.to_owned(), Rc::clone(&left)));
        let tasks: Vec<_> = std::iter::repeat_with(asking).take(AT_A_TIME).collect();
        for task in tasks {
            for (place, body) in task.await.context("a client has panicked")?? {
                bodies[place] = body;
            }
        }
        Ok(bodies)
    })
}

/// A request or a body, and its place in the list.
type Placed = (usize, Vec<u8>);
type Left = Rc<RefCell<VecDeque<Placed>>>;

async fn ask(address: String, left: Left) -> Result<Vec<Placed>> {
    let mut connection = Connection::open(&address).await?;
    let mut bodies = Vec::new();
    loop {
        let next = left.borrow_mut().pop_front();
        let Some((place, request)) = next else { return Ok(bodies) };
        let answer = tokio::time::timeout(PATIENCE, connection.exchange(&request)).await;
        let answer = answer.context("no answer")??;
        if !(200..300).contains(&answer.status) {
            bail!("{address} answered {}", shown(&answer));
        }
        bodies.push((place, answer.body.to_vec()));
    }
}
