//! What the launcher can be told to do, one file per command.

mod bench;
mod clean;
mod down;
pub mod load;
mod logs;
mod migrate;
mod sqlx;
mod status;
pub mod test;
mod token;
pub mod up;
mod why;

pub use bench::bench;
pub use clean::clean;
pub use down::down;
pub use logs::logs;
pub use migrate::migrate;
pub use sqlx::sqlx;
pub use status::status;
pub use token::{Arguments as TokenArguments, token};
pub use why::{Arguments as WhyArguments, why};
