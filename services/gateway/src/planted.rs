//! The one place where a delivery leaves for a socket, and where the feature `planted-faults` breaks one in so many.
//!
//! Without the feature, which no image has, this is nothing but the sending itself.

use parley_domain::ids::ChatId;
use parley_socketio::{Closed, Frame, Socket};

/// Gives a frame of this chat to a member; written at once, or by its connection's own task.
#[cfg(not(feature = "planted-faults"))]
#[inline]
pub(crate) fn send(
    _chat: ChatId,
    socket: &Socket,
    (frame, at_once): (&Frame, bool),
) -> Result<(), Closed> {
    if at_once { socket.send_now(frame) } else { socket.send(frame) }
}

#[cfg(feature = "planted-faults")]
pub use with_faults::{Fault, PlantedSettings};
#[cfg(feature = "planted-faults")]
pub(crate) use with_faults::{plant, send};

#[cfg(feature = "planted-faults")]
mod with_faults {
    use std::collections::HashMap;
    use std::sync::OnceLock;

    use clap::{Args, ValueEnum};
    use parking_lot::Mutex;
    use rand::rngs::StdRng;
    use rand::{Rng, SeedableRng};

    use super::{ChatId, Closed, Frame, Socket};

    /// What to break.
    #[derive(Debug, Clone, Args)]
    #[command(next_help_heading = "Planted faults")]
    pub struct PlantedSettings {
        /// What is done to one delivery in so many
        #[arg(long, env = "PARLEY_PLANTED_FAULT", value_name = "FAULT")]
        pub planted_fault: Option<Fault>,

        /// One delivery in how many is broken, as the seed says which
        #[arg(long, env = "PARLEY_PLANTED_EVERY", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..), value_name = "NUMBER")]
        pub planted_every: u32,

        /// Says which deliveries are broken
        #[arg(long, env = "PARLEY_PLANTED_SEED", default_value_t = 1, value_name = "NUMBER")]
        pub planted_seed: u64,
    }

    /// A way to break a delivery.
    #[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
    pub enum Fault {
        /// It is lost.
        Drop,
        /// It comes twice.
        Duplicate,
        /// It comes after the next one.
        Reorder,
        /// A connection of another chat hears it too.
        Leak,
    }

    struct Plant {
        fault: Fault,
        every: u32,
        chance: StdRng,
        /// What was held back, for which socket.
        held: HashMap<u64, Frame>,
        /// Somebody of each chat, to whom the others' frames may leak.
        seen: HashMap<ChatId, Socket>,
    }

    static PLANT: OnceLock<Mutex<Plant>> = OnceLock::new();

    /// Begins to break what is sent.
    pub(crate) fn plant(settings: &PlantedSettings) {
        let Some(fault) = settings.planted_fault else { return };
        tracing::error!(?fault, every = settings.planted_every, "deliveries are broken on purpose");
        let plant = Plant {
            fault,
            every: settings.planted_every,
            chance: StdRng::seed_from_u64(settings.planted_seed),
            held: HashMap::new(),
            seen: HashMap::new(),
        };
        // One pod is one process; a second one in the same process is as broken as the first.
        let _ = PLANT.set(Mutex::new(plant));
    }

    /// Gives a frame of this chat to a member, mostly.
    pub(crate) fn send(
        chat: ChatId,
        socket: &Socket,
        (frame, at_once): (&Frame, bool),
    ) -> Result<(), Closed> {
        let Some(plant) = PLANT.get() else {
            return if at_once { socket.send_now(frame) } else { socket.send(frame) };
        };
        plant.lock().send(chat, socket, frame)
    }

    impl Plant {
        fn send(&mut self, chat: ChatId, socket: &Socket, frame: &Frame) -> Result<(), Closed> {
            self.seen.insert(chat, socket.clone());
            if let Some(held) = self.held.remove(&socket.key()) {
                socket.send(frame)?;
                return socket.send(&held);
            }
            if self.chance.random_range(0..self.every) > 0 {
                return socket.send(frame);
            }
            match self.fault {
                Fault::Drop => Ok(()),
                Fault::Duplicate => {
                    socket.send(frame)?;
                    socket.send(frame)
                }
                Fault::Reorder => {
                    self.held.insert(socket.key(), frame.clone());
                    Ok(())
                }
                Fault::Leak => {
                    socket.send(frame)?;
                    let outsider =
                        self.seen.iter().find(|(other, it)| **other != chat && !it.is_closed());
                    // That the outsider's connection is closed is none of the member's business.
                    outsider.map_or(Ok(()), |(_, outsider)| outsider.send(frame).or(Ok(())))
                }
            }
        }
    }
}
