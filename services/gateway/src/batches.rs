//! What waits while an ask is under way leaves together with the next one: ten thousand clients that come back at once are
//! a few hundred asks. Nothing waits for company: who comes alone leaves at once, alone.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant, sleep_until};

/// Items that may wait; more wait in their connections, each in its own.
const QUEUE: usize = 1_024;
/// Asks of a kind that may be under way at a time.
pub(crate) const UNDER_WAY: usize = 16;
/// Turns of the pod's other tasks that an ask waits for at most, while each of them brings somebody.
const TURNS: usize = 16;
/// How long an ask that is not answered holds up the next one: a pod that hangs is not waited for by everybody.
pub(crate) const HOLD: Duration = Duration::from_millis(100);

/// Things of a kind, which can be asked about together.
pub(crate) trait Batch: Send + Sync + 'static {
    type Item: Clone + Send + Sync + 'static;
    type Answer: Send + 'static;
    /// Most items of one ask.
    const MOST: usize;

    /// Asks once. What was told of each item, in their order; of what is left out nothing was told.
    fn ask(&self, items: Vec<Self::Item>) -> impl Future<Output = Vec<Told<Self::Answer>>> + Send;
}

/// What was told of an item.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Told<A> {
    Answer(A),
    /// Nobody could say.
    InVain,
    /// The answer had no room for it: it leaves with the next ask, before others.
    Later,
}

/// The items that wait; clones share them.
pub(crate) struct Batches<B: Batch> {
    queue: mpsc::Sender<Waiting<B>>,
}

impl<B: Batch> Clone for Batches<B> {
    fn clone(&self) -> Self {
        Self { queue: self.queue.clone() }
    }
}

struct Waiting<B: Batch> {
    item: B::Item,
    /// Closed when nobody waits any more.
    told: oneshot::Sender<Option<B::Answer>>,
}

impl<B: Batch> Batches<B> {
    /// Asks until every clone is gone.
    pub(crate) fn start(kind: B) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        let dispatcher = Dispatcher {
            kind: Arc::new(kind),
            queue: waiting,
            waiting: VecDeque::new(),
            under_way: JoinSet::new(),
            left: Instant::now(),
        };
        tokio::spawn(dispatcher.run());
        Self { queue }
    }

    /// The answer, or `None` if nobody could say. Read after this was called: an item never joins an ask that is under way.
    pub(crate) async fn ask(&self, item: B::Item) -> Option<B::Answer> {
        let (told, answer) = oneshot::channel();
        self.queue.send(Waiting { item, told }).await.ok()?;
        answer.await.ok()?
    }
}

struct Dispatcher<B: Batch> {
    kind: Arc<B>,
    queue: mpsc::Receiver<Waiting<B>>,
    /// The next ask's items, in their order.
    waiting: VecDeque<Waiting<B>>,
    under_way: JoinSet<Vec<Waiting<B>>>,
    /// When the last ask left.
    left: Instant,
}

impl<B: Batch> Dispatcher<B> {
    async fn run(mut self) {
        loop {
            let hold = self.hold_ends();
            tokio::select! {
                Some(answered) = self.under_way.join_next() => self.on_answered(answered),
                item = self.queue.recv(), if self.waiting.len() < B::MOST => match item {
                    Some(item) => self.waiting.push_back(item),
                    None => return,
                },
                () = sleep_until(hold.unwrap_or(self.left)), if hold.is_some() => {}
            }
            self.gather();
            while self.may_leave() {
                self.muster().await;
                self.leave();
                self.gather();
            }
        }
    }

    /// Lets others who are about to ask do so first. They are waited for as tasks that can run, and not by the clock: where
    /// there are none, this is over at once.
    async fn muster(&mut self) {
        for _ in 0..TURNS {
            let before = self.waiting.len();
            tokio::task::yield_now().await;
            self.gather();
            if self.waiting.len() == before {
                break;
            }
        }
    }

    /// Takes in what is there already.
    fn gather(&mut self) {
        while self.waiting.len() < B::MOST
            && let Ok(item) = self.queue.try_recv()
        {
            self.waiting.push_back(item);
        }
    }

    /// What waits goes as soon as nothing is under way; beside what is, if that takes long, or if there is a full ask.
    fn may_leave(&self) -> bool {
        let held = self.left.elapsed() < HOLD && self.waiting.len() < B::MOST;
        !self.waiting.is_empty()
            && self.under_way.len() < UNDER_WAY
            && (self.under_way.is_empty() || !held)
    }

    /// When what waits may leave although something is under way.
    fn hold_ends(&self) -> Option<Instant> {
        let some = !self.waiting.is_empty() && self.under_way.len() < UNDER_WAY;
        some.then(|| self.left + HOLD)
    }

    fn leave(&mut self) {
        // Whoever has given up is not asked about.
        self.waiting.retain(|item| !item.told.is_closed());
        let batch: Vec<_> = self.waiting.drain(..self.waiting.len().min(B::MOST)).collect();
        if batch.is_empty() {
            return;
        }
        self.left = Instant::now();
        let kind = self.kind.clone();
        self.under_way.spawn(async move {
            let items = batch.iter().map(|waiting| waiting.item.clone()).collect();
            let told =
                kind.ask(items).await.into_iter().map(Some).chain(std::iter::repeat_with(|| None));
            let mut later = Vec::new();
            for (waiting, told) in batch.into_iter().zip(told) {
                let answer = match told {
                    Some(Told::Answer(answer)) => Some(answer),
                    Some(Told::InVain) | None => None,
                    Some(Told::Later) => {
                        later.push(waiting);
                        continue;
                    }
                };
                // Nobody waits any more if this fails.
                let _ = waiting.told.send(answer);
            }
            later
        });
    }

    /// An ask that has panicked has let go of those who waited for it.
    fn on_answered(&mut self, later: Result<Vec<Waiting<B>>, JoinError>) {
        for item in later.into_iter().flatten().rev() {
            self.waiting.push_front(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use parking_lot::Mutex;
    use tokio::sync::Semaphore;
    use tokio::task::JoinHandle;

    /// Answers a number with itself; an ask waits for a permit. 13 is in vain, and the last of 100 or more has no room.
    #[derive(Clone)]
    struct Numbers {
        asks: Arc<Mutex<Vec<Vec<u64>>>>,
        begun: Arc<Semaphore>,
        gate: Arc<Semaphore>,
    }

    impl Numbers {
        fn new() -> Self {
            let closed = || Arc::new(Semaphore::new(0));
            Self { asks: Arc::default(), begun: closed(), gate: closed() }
        }

        fn open() -> Self {
            Self { gate: Arc::new(Semaphore::new(Semaphore::MAX_PERMITS)), ..Self::new() }
        }

        async fn has_begun(&self, asks: u32) {
            self.begun.acquire_many(asks).await.unwrap().forget();
        }
    }

    impl Batch for Numbers {
        type Item = u64;
        type Answer = u64;
        const MOST: usize = 100;

        async fn ask(&self, items: Vec<u64>) -> Vec<Told<u64>> {
            self.asks.lock().push(items.clone());
            self.begun.add_permits(1);
            self.gate.acquire().await.unwrap().forget();
            let full = items.len() >= Self::MOST;
            let told = items.iter().enumerate().map(|(place, item)| match *item {
                13 => Told::InVain,
                _ if full && place + 1 == items.len() => Told::Later,
                item => Told::Answer(item),
            });
            told.collect()
        }
    }

    fn asking(batches: &Batches<Numbers>, item: u64) -> JoinHandle<Option<u64>> {
        let batches = batches.clone();
        tokio::spawn(async move { batches.ask(item).await })
    }

    /// Lets everything happen that can happen without time.
    async fn settle() {
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_ask_waits_for_nobody() {
        let numbers = Numbers::open();
        let batches = Batches::start(numbers.clone());
        let begun = Instant::now();
        for item in 20..30 {
            assert_eq!(batches.ask(item).await, Some(item));
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(numbers.asks.lock().len(), 10);
    }

    #[tokio::test(start_paused = true)]
    async fn what_waits_while_one_is_under_way_leaves_together_and_each_has_its_own_outcome() {
        let numbers = Numbers::new();
        let batches = Batches::start(numbers.clone());
        let first = asking(&batches, 1);
        numbers.has_begun(1).await;
        let others: Vec<_> = (10..20).map(|item| asking(&batches, item)).collect();
        settle().await;
        assert_eq!(*numbers.asks.lock(), [vec![1]], "an item never joins an ask that is under way");
        numbers.gate.add_permits(2);
        assert_eq!(first.await.unwrap(), Some(1));
        for (item, other) in (10..20).zip(others) {
            assert_eq!(
                other.await.unwrap(),
                (item != 13).then_some(item),
                "its failure is its own"
            );
        }
        assert_eq!(numbers.asks.lock()[1..], [(10..20).collect::<Vec<_>>()]);
    }

    #[tokio::test(start_paused = true)]
    async fn i9_an_ask_has_at_most_so_many_items_and_what_it_has_no_room_for_leads_the_next() {
        let numbers = Numbers::new();
        let batches = Batches::start(numbers.clone());
        let first = asking(&batches, 1);
        numbers.has_begun(1).await;
        let others: Vec<_> = (1_000..1_150).map(|item| asking(&batches, item)).collect();
        settle().await;
        numbers.gate.add_permits(10);
        first.await.unwrap().unwrap();
        for (item, other) in (1_000..1_150).zip(others) {
            assert_eq!(other.await.unwrap(), Some(item));
        }
        let asks = numbers.asks.lock();
        assert_eq!(asks[1], (1_000..1_100).collect::<Vec<_>>());
        let mut rest: Vec<_> = asks[2..].concat();
        rest.sort_unstable();
        assert_eq!(rest, (1_099..1_150).collect::<Vec<_>>(), "1099 was asked about twice");
    }

    #[tokio::test(start_paused = true)]
    async fn i9_an_ask_that_hangs_holds_others_up_for_a_moment_and_so_many_are_under_way() {
        let numbers = Numbers::new();
        let batches = Batches::start(numbers.clone());
        let begun = Instant::now();
        let mut asks: Vec<_> = Vec::new();
        for item in 0..UNDER_WAY {
            asks.push(asking(&batches, 100 + item as u64));
            numbers.has_begun(1).await;
            let holds = begun.elapsed().as_millis() / HOLD.as_millis();
            assert_eq!(holds, item as u128, "each is held up by the one before");
        }
        asks.push(asking(&batches, 99));
        asks.push(asking(&batches, 98));
        tokio::time::sleep(100 * HOLD).await;
        assert_eq!(numbers.asks.lock().len(), UNDER_WAY);
        numbers.gate.add_permits(100);
        for ask in asks {
            assert!(ask.await.unwrap().is_some());
        }
        assert_eq!(numbers.asks.lock()[UNDER_WAY..], [vec![99, 98]]);
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_given_up_is_not_asked_about() {
        let numbers = Numbers::new();
        let batches = Batches::start(numbers.clone());
        let first = asking(&batches, 1);
        numbers.has_begun(1).await;
        let (gone, there) = (asking(&batches, 2), asking(&batches, 3));
        settle().await;
        gone.abort();
        settle().await;
        numbers.gate.add_permits(2);
        assert_eq!((first.await.unwrap(), there.await.unwrap()), (Some(1), Some(3)));
        assert_eq!(*numbers.asks.lock(), [vec![1], vec![3]]);
    }
}
