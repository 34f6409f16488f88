//! The cluster that a measurement begins with.

use parley_local::{Durability, Options, Place};

/// One pod of each kind, durable, gone afterwards, with these settings of the pods; a scenario says what it has otherwise.
pub(crate) fn cluster(settings: &[(&str, &str)]) -> Options {
    let settings = settings.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Options {
        api: 1,
        gateways: 1,
        couriers: 0,
        nats: 1,
        secure: false,
        place: Place::Anywhere,
        ephemeral: true,
        durability: Durability::Durable,
        settings: settings.collect(),
        binaries: None,
        system: false,
        demo: false,
    }
}
