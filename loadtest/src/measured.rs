//! The cluster that a measurement begins with.

use parley_local::{Durability, Options, Place};

/// Limits of sends are raised, so that they are asked and never refuse. The windows are short, so that they hold about as many
/// messages as those of people, who may send 20 in theirs.
const RAISED: [(&str, &str); 2] =
    [("PARLEY_MESSAGE_LIMITS", "user=10000/5"), ("PARLEY_ATTEMPT_LIMIT", "10000/5")];

/// An api pod and a gateway, durable, gone afterwards, with raised limits and these settings of the pods, of which the last one counts; a
/// scenario says what it has otherwise.
pub(crate) fn cluster(settings: &[(&str, &str)]) -> Options {
    let settings = RAISED
        .iter()
        .chain(settings)
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
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
