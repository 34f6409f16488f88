//! Commands that travel together: what waits while the previous ones are under way goes with the next ones.
//!
//! A connection that is shared sends every command by itself as soon as it comes, and both sides pay for each with a
//! system call and a wake-up. Together they pay once. A lone command does not wait for anything.

use deadpool_redis::redis::aio::{ConnectionLike, MultiplexedConnection};
use deadpool_redis::redis::{
    Cmd, ErrorKind, Pipeline, RedisError, RedisFuture, RedisResult, Value,
};
use tokio::sync::{mpsc, oneshot};

/// Commands that may wait; more wait before it, and not longer than one answer may take.
const QUEUE: usize = 1_024;
/// Most commands that travel together.
const MOST: usize = 256;

/// A way to send commands over a connection together with others. Clones share it.
#[derive(Clone)]
pub(crate) struct Convoy(mpsc::Sender<Waiting>);

struct Waiting {
    command: Cmd,
    answer: oneshot::Sender<RedisResult<Value>>,
}

impl Convoy {
    /// Takes a connection over. It is closed with the last clone.
    pub(crate) fn over(connection: MultiplexedConnection) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(drive(connection, waiting));
        Self(queue)
    }
}

async fn drive(mut connection: MultiplexedConnection, mut queue: mpsc::Receiver<Waiting>) {
    let mut together = Vec::with_capacity(MOST);
    while queue.recv_many(&mut together, MOST).await > 0 {
        // Whoever does not wait any more has given the connection up, or its request.
        together.retain(|waiting| !waiting.answer.is_closed());
        let mut pipeline = Pipeline::with_capacity(together.len());
        let mut answers = Vec::with_capacity(together.len());
        for Waiting { command, answer } in together.drain(..) {
            pipeline.add_command(command);
            answers.push(answer);
        }
        if answers.is_empty() {
            continue;
        }
        let values = connection.req_packed_commands(&pipeline, 0, answers.len()).await;
        deliver(answers, values);
    }
}

/// Each its own answer, be it an error of the server's; or all of them the connection's error.
fn deliver(answers: Vec<oneshot::Sender<RedisResult<Value>>>, values: RedisResult<Vec<Value>>) {
    match values {
        Ok(values) => {
            for (answer, value) in answers.into_iter().zip(values) {
                // Whoever does not wait any more has gone on without it.
                let _ = answer.send(Ok(value));
            }
        }
        Err(error) => {
            for answer in answers {
                let _ = answer.send(Err(error.clone()));
            }
        }
    }
}

impl ConnectionLike for Convoy {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let broken = || RedisError::from((ErrorKind::Io, "the connection has ended"));
            let (answer, answered) = oneshot::channel();
            let waiting = Waiting { command: command.clone(), answer };
            self.0.send(waiting).await.map_err(|_| broken())?;
            answered.await.map_err(|_| broken())?
        })
    }

    fn req_packed_commands<'a>(
        &'a mut self,
        _: &'a Pipeline,
        _: usize,
        _: usize,
    ) -> RedisFuture<'a, Vec<Value>> {
        // Nobody here has a pipeline of its own.
        Box::pin(async {
            Err(RedisError::from((ErrorKind::InvalidClientConfig, "one command at a time")))
        })
    }

    fn get_db(&self) -> i64 {
        0
    }
}
