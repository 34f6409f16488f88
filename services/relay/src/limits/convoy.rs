//! Commands that travel together: what waits while the previous ones are under way goes with the next ones.
//!
//! A connection that is shared sends every command by itself as soon as it comes, and both sides pay for each with a
//! system call and a wake-up. Together they pay once. A lone command does not wait for anything.
//!
//! Questions about attempts, of which there is one for every send, share even their command: one call of the script decides
//! many.

use deadpool_redis::redis::aio::{ConnectionLike, MultiplexedConnection};
use deadpool_redis::redis::{
    Cmd, ErrorKind, FromRedisValue, Pipeline, RedisError, RedisFuture, RedisResult, Script,
    ServerErrorKind, Value, cmd,
};
use tokio::sync::{mpsc, oneshot};

use super::question::{Question, Ruling};

/// Commands that may wait; more wait before it, and not longer than one answer may take.
const QUEUE: usize = 1_024;
/// Most commands that travel together.
const MOST: usize = 256;
/// Most questions of one call: nobody else is served meanwhile.
const MOST_QUESTIONS: usize = 64;
/// Most members that one call tells the server of, unless a single question tells of more.
const MOST_TOLD: usize = 512;

const CHARGE: &str = include_str!("charge.lua");

/// A way to send commands over a connection together with others. Clones share it.
#[derive(Clone)]
pub(crate) struct Convoy(mpsc::Sender<Waiting>);

enum Waiting {
    Command(Cmd, oneshot::Sender<RedisResult<Value>>),
    Question(Asked),
}

struct Asked {
    question: Question,
    answer: oneshot::Sender<RedisResult<Ruling>>,
}

impl Convoy {
    /// Takes a connection over. It is closed with the last clone.
    pub(crate) fn over(connection: MultiplexedConnection) -> Self {
        let (queue, waiting) = mpsc::channel(QUEUE);
        tokio::spawn(drive(connection, waiting));
        Self(queue)
    }

    /// Asks about an attempt.
    pub(crate) async fn ask(&self, question: Question) -> RedisResult<Ruling> {
        let (answer, answered) = oneshot::channel();
        let waiting = Waiting::Question(Asked { question, answer });
        self.0.send(waiting).await.map_err(|_| broken())?;
        answered.await.map_err(|_| broken())?
    }
}

fn broken() -> RedisError {
    RedisError::from((ErrorKind::Io, "the connection has ended"))
}

async fn drive(mut connection: MultiplexedConnection, mut queue: mpsc::Receiver<Waiting>) {
    let script = Script::new(CHARGE);
    let mut together = Vec::with_capacity(MOST);
    while queue.recv_many(&mut together, MOST).await > 0 {
        // Whoever does not wait any more has given the connection up, or its request.
        together.retain(|waiting| !waiting.is_given_up());
        let mut pipeline = Pipeline::with_capacity(together.len());
        let mut answers = Vec::with_capacity(together.len());
        let mut calls: Vec<Call> = Vec::new();
        for waiting in together.drain(..) {
            match waiting {
                Waiting::Command(command, answer) => {
                    pipeline.add_command(command);
                    answers.push(answer);
                }
                Waiting::Question(asked) => match calls.last_mut() {
                    Some(call) if call.has_room_for(&asked) => call.add(asked),
                    _ => calls.push(Call::of(asked)),
                },
            }
        }
        for call in &calls {
            pipeline.add_command(call.command("EVALSHA", script.get_hash()));
        }
        let count = answers.len() + calls.len();
        if count == 0 {
            continue;
        }
        match connection.req_packed_commands(&pipeline, 0, count).await {
            Ok(values) => {
                let mut values = values.into_iter();
                // As many as there are answers, of which none is lost when there are fewer values.
                for (answer, value) in answers.into_iter().zip(values.by_ref()) {
                    // Whoever does not wait any more has gone on without it.
                    let _ = answer.send(Ok(value));
                }
                for (call, value) in calls.into_iter().zip(values) {
                    call.answered(value, &mut connection).await;
                }
            }
            Err(error) => {
                for answer in answers {
                    let _ = answer.send(Err(error.clone()));
                }
                for call in calls {
                    call.failed(&error);
                }
            }
        }
    }
}

impl Waiting {
    fn is_given_up(&self) -> bool {
        match self {
            Self::Command(_, answer) => answer.is_closed(),
            Self::Question(asked) => asked.answer.is_closed(),
        }
    }
}

/// Questions that one call of the script answers.
struct Call {
    asked: Vec<Asked>,
    told: usize,
}

impl Call {
    fn of(first: Asked) -> Self {
        Self { told: first.question.told, asked: vec![first] }
    }

    fn has_room_for(&self, asked: &Asked) -> bool {
        self.asked.len() < MOST_QUESTIONS && self.told + asked.question.told <= MOST_TOLD
    }

    fn add(&mut self, asked: Asked) {
        self.told += asked.question.told;
        self.asked.push(asked);
    }

    fn command(&self, how: &str, script: &str) -> Cmd {
        let mut command = cmd(how);
        command.arg(script).arg(self.asked.len());
        for Asked { question, .. } in &self.asked {
            command.arg(&question.key);
        }
        for Asked { question, .. } in &self.asked {
            command.arg(&question.packed);
        }
        command
    }

    /// The server's answer. One that does not know the script is sent its text.
    async fn answered(self, value: Value, connection: &mut MultiplexedConnection) {
        let unknown = matches!(&value, Value::ServerError(error)
            if error.kind() == Some(ServerErrorKind::NoScript));
        let value = if unknown {
            connection.req_packed_command(&self.command("EVAL", CHARGE)).await
        } else {
            Ok(value)
        };
        let rulings = value
            .and_then(Value::extract_error)
            .and_then(|value| Ok(Vec::<u8>::from_redis_value(value)?))
            .and_then(|packed| Ruling::all(&packed, self.asked.len()));
        match rulings {
            Ok(rulings) => {
                for (asked, ruling) in self.asked.into_iter().zip(rulings) {
                    let _ = asked.answer.send(ruling);
                }
            }
            Err(error) => self.failed(&error),
        }
    }

    fn failed(self, error: &RedisError) {
        for asked in self.asked {
            let _ = asked.answer.send(Err(error.clone()));
        }
    }
}

impl ConnectionLike for Convoy {
    fn req_packed_command<'a>(&'a mut self, command: &'a Cmd) -> RedisFuture<'a, Value> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            let waiting = Waiting::Command(command.clone(), answer);
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
