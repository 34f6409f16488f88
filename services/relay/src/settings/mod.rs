//! How the bus and Redis are reached.

mod nats;
mod redis;
mod tls;

pub use nats::NatsSettings;
pub use redis::RedisSettings;
pub(crate) use redis::{Place, Sentinels};
