//! Who sees a chat over this pod, for couriers that decide whether somebody is to be told of it.

use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream;
use parley_domain::here::{HereAnswer, HereAsk, Viewers};
use parley_relay::Bus;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::rooms::Rooms;

/// How long a room has to answer; whoever asks waits little longer.
const PATIENCE: Duration = Duration::from_millis(200);
/// Rooms that are asked at a time.
const AT_ONCE: usize = 64;

/// Answers whoever asks, until `stop`.
pub(crate) async fn run(bus: Bus, rooms: Rooms, stop: CancellationToken) -> anyhow::Result<()> {
    let answer = |ask| {
        let rooms = rooms.clone();
        async move { of(&rooms, ask).await }
    };
    Ok(bus.answer_here(answer, stop.cancelled()).await?)
}

async fn of(rooms: &Rooms, ask: HereAsk) -> HereAnswer {
    let one = |asked: Viewers| async move {
        let users = timeout(PATIENCE, rooms.here(asked.chat_id, asked.users)).await;
        let users = users.unwrap_or_default();
        (!users.is_empty()).then_some(Viewers { chat_id: asked.chat_id, users })
    };
    let here = stream::iter(ask.asked).map(one).buffer_unordered(AT_ONCE);
    HereAnswer { here: here.filter_map(std::future::ready).collect().await }
}
