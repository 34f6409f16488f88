//! One direction of one connection.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::Weather;

/// What is read at once.
const PIECE: usize = 8 * 1024;
/// What is under way at most: beyond it the sender waits, as on any long way.
const UNDER_WAY: usize = 1024 * 1024;

/// What is under way, and when it arrives.
#[derive(Default)]
struct UnderWay {
    pieces: VecDeque<(Instant, Vec<u8>)>,
    bytes: usize,
}

impl UnderWay {
    /// Nothing overtakes what was sent before it, though the delay has become shorter.
    fn push(&mut self, delay: Duration, piece: &[u8]) {
        let due = Instant::now() + delay;
        let due = self.pieces.back().map_or(due, |(last, _)| due.max(*last));
        self.bytes += piece.len();
        self.pieces.push_back((due, piece.to_vec()));
    }

    fn pop(&mut self) -> Option<Vec<u8>> {
        let (_, piece) = self.pieces.pop_front()?;
        self.bytes -= piece.len();
        Some(piece)
    }
}

/// Carries until the sender has ended and all has arrived.
pub(super) async fn carry(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut weather: watch::Receiver<Weather>,
    number: u64,
) -> io::Result<()> {
    let mut piece = vec![0; PIECE];
    let mut under_way = UnderWay::default();
    let mut has_ended = false;
    while !has_ended || !under_way.pieces.is_empty() {
        let Weather { delay, silent, .. } = *weather.borrow_and_update();
        if number < silent {
            // Nothing is read either: as on a way without acknowledgements, what is sent piles up where it is sent.
            weather.changed().await.map_err(|_| io::ErrorKind::ConnectionAborted)?;
            continue;
        }
        let due = under_way.pieces.front().map(|(due, _)| *due);
        tokio::select! {
            // What was changed before a byte came holds for it.
            biased;
            changed = weather.changed() => {
                changed.map_err(|_| io::ErrorKind::ConnectionAborted)?;
            }
            () = sleep_until(due.unwrap_or_else(Instant::now)), if due.is_some() => {
                if let Some(piece) = under_way.pop() {
                    to.write_all(&piece).await?;
                }
            }
            count = from.read(&mut piece), if !has_ended && under_way.bytes < UNDER_WAY => {
                match count? {
                    0 => has_ended = true,
                    count if delay.is_zero() && due.is_none() => to.write_all(&piece[..count]).await?,
                    count => under_way.push(delay, &piece[..count]),
                }
            }
        }
    }
    to.shutdown().await
}
