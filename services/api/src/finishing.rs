//! What comes to its end whether or not somebody waits for it.

use std::pin::Pin;
use std::task::{Context, Poll};

use parley_runtime::logs;
use tokio::runtime::Handle;

/// Lets something come to its end whether or not a client waits for it. It runs within the request as long as that is
/// there, and goes on as a task of its own when the request is dropped: a task for each would cost every request two
/// wake-ups, for the few whose clients go away.
pub(crate) async fn to_the_end<T: Send + 'static>(
    work: impl Future<Output = T> + Send + 'static,
) -> T {
    Finishing(Some(Box::pin(work))).await
}

/// Work that was begun, until it is done.
struct Finishing<T: Send + 'static>(Option<Pin<Box<dyn Future<Output = T> + Send>>>);

impl<T: Send + 'static> Future for Finishing<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        // Taken out meanwhile: what panics must not be polled again by whoever drops this.
        let Some(mut work) = self.0.take() else { return Poll::Pending };
        let outcome = work.as_mut().poll(context);
        if outcome.is_pending() {
            self.0 = Some(work);
        }
        outcome
    }
}

impl<T: Send + 'static> Drop for Finishing<T> {
    fn drop(&mut self) {
        // Without a runtime the process is at its end.
        if let (Some(work), Ok(runtime)) = (self.0.take(), Handle::try_current()) {
            runtime.spawn(logs::of_this_request(work));
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_nobody_waits_for_any_more_comes_to_its_end() {
        let (go, gone) = oneshot::channel::<()>();
        let (done, is_done) = oneshot::channel();
        let mut work = Box::pin(to_the_end(async move {
            gone.await.unwrap();
            done.send(7).unwrap();
        }));
        assert_eq!(work.as_mut().now_or_never(), None);
        drop(work);
        go.send(()).unwrap();
        assert_eq!(is_done.await, Ok(7));
    }

    #[tokio::test]
    async fn what_was_never_begun_is_not_begun_by_going_away() {
        let (done, is_done) = oneshot::channel();
        drop(to_the_end(async move { done.send(7) }));
        assert!(is_done.await.is_err());
    }

    #[tokio::test]
    async fn whoever_waits_has_the_outcome_at_once_and_a_panic_too() {
        assert_eq!(to_the_end(async { 7 }).now_or_never(), Some(7));
        let work = to_the_end(async { panic!("as planned") });
        let caught = std::panic::AssertUnwindSafe(work).catch_unwind().now_or_never();
        assert!(caught.is_some_and(|caught: Result<(), _>| caught.is_err()));
    }
}
