//! What this pod knows of a delivery, for "why did this user not get that message?".

use std::time::Duration;

use chrono::{DateTime, Utc};
use parley_domain::delivery::{
    ConnectionAccount, ConnectionEnded, DeliveryAccount, DeliveryAsk, MAX_ACCOUNTS,
};
use parley_relay::Bus;
use parley_socketio::Socket;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::bearers::Bearers;
use crate::recent::Remembered;
use crate::rooms::Rooms;

/// How long a room has to answer; whoever asks waits little longer.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where it is looked for.
#[derive(Clone)]
pub(crate) struct Accounts {
    pub(crate) rooms: Rooms,
    pub(crate) bearers: Bearers,
    /// This start of the pod.
    pub(crate) instance: String,
}

impl Accounts {
    /// Answers whoever asks, until `stop`.
    pub(crate) async fn run(self, bus: Bus, stop: CancellationToken) -> anyhow::Result<()> {
        let answer = |ask| {
            let accounts = self.clone();
            async move { accounts.of(&ask).await }
        };
        Ok(bus.answer_deliveries(answer, stop.cancelled()).await?)
    }

    async fn of(self, ask: &DeliveryAsk) -> DeliveryAccount {
        let Self { rooms, bearers, instance } = self;
        // Before what has ended: what ends in between is in both, and not in neither.
        let open = bearers.connections(&ask.user_id);
        let room = timeout(PATIENCE, rooms.account(ask)).await.ok().flatten();
        let Remembered { started_at, from, told, mut memberships, mut connections } =
            rooms.recent().of(ask);
        let open = open.iter().rev().take(MAX_ACCOUNTS);
        let open = open.map(|(socket, connected_at)| connection(socket, *connected_at, None));
        let unknown =
            |it: &ConnectionAccount| connections.iter().all(|known| known.socket != it.socket);
        let open: Vec<_> = open.filter(unknown).collect();
        connections.extend(open);
        let (mut at, mut told) = (None, told);
        if let Some(room) = room {
            at = Some(room.at);
            told = room.told.or(told);
            memberships.extend(room.memberships);
        }
        DeliveryAccount {
            pod: rooms.pod().to_owned(),
            instance,
            started_at,
            remembers_from: from,
            room: at,
            told,
            memberships,
            connections,
        }
    }
}

/// A connection as it is told of.
pub(crate) fn connection(
    socket: &Socket,
    connected_at: DateTime<Utc>,
    ended: Option<ConnectionEnded>,
) -> ConnectionAccount {
    ConnectionAccount {
        socket: socket.id().to_string(),
        connected_at,
        waiting: socket.waiting(),
        ended,
    }
}
