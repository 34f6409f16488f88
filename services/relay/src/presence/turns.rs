//! Who is online from now on, or is not any more: anywhere, and not only at one gateway. Best effort: what a Redis or a bus
//! that is away does not take is not told later.

use std::time::Duration;

use parley_domain::attendance::Turn;
use parley_domain::ids::UserId;
use tokio::time::sleep;

use super::{CHUNK, LIFE, Movements, Presence};

/// How long it is known who is somewhere, without anybody moving.
const THERE: Duration = Duration::from_hours(24 * 90);
/// People of whom one step of a sweep asks, and how long it leaves Redis to others after each.
const STEP: usize = 500;
const REST: Duration = Duration::from_millis(20);

impl Presence {
    /// For whom these movements, which [`Presence::moved`] has taken, are more than a change of gateways.
    pub async fn turns(&self, movements: &Movements) -> Vec<Turn> {
        let (come, gone) = (movements.come.chunks(CHUNK), movements.gone.chunks(CHUNK));
        let steps = come.map(|come| (come, &[][..])).chain(gone.map(|gone| (&[][..], gone)));
        let mut turns = Vec::new();
        for step in steps {
            let Some(more) = self.turn(step, movements.everybody).await else { break };
            turns.extend(more);
        }
        turns
    }

    /// Who is not anywhere any more without their gateway having said so, because it died.
    pub async fn swept(&self) -> Vec<Turn> {
        let (mut turns, mut cursor) = (Vec::new(), 0);
        loop {
            let Some(live) = self.0.link.live() else { break };
            let mut connection = live.connection();
            let page = self.0.scripts.somewhere(&mut connection, cursor, STEP);
            let Some((next, users)) = self.0.link.run(&live, page).await else { break };
            for users in users.chunks(STEP) {
                turns.extend(self.turn((&[], users), false).await.unwrap_or_default());
            }
            if next == 0 {
                break;
            }
            cursor = next;
            sleep(REST).await;
        }
        turns
    }

    async fn turn(&self, step: (&[UserId], &[UserId]), everybody: bool) -> Option<Vec<Turn>> {
        let live = self.0.link.live()?;
        let mut connection = live.connection();
        let asked = self.0.scripts.turns(&mut connection, step, everybody, (THERE, LIFE));
        let (came, went) = self.0.link.run(&live, asked).await?;
        let turns = came.into_iter().map(|user| (user, true));
        let turns = turns.chain(went.into_iter().map(|user| (user, false)));
        Some(turns.map(|(user_id, online)| Turn { user_id, online }).collect())
    }
}
