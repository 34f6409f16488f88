//! What can go wrong between pods, as facts.

/// The bus did not do what it was asked, or a setting is wrong.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RelayError {
    /// `PARLEY_NATS_URL` is no URL of a NATS server. Its text is not repeated: it may hold a password.
    #[error("PARLEY_NATS_URL is not a list of nats:// or tls:// URLs")]
    Url,
    /// `PARLEY_REDIS_URL` is no URL of a Redis server. Its text is not repeated: it may hold a password.
    #[error("PARLEY_REDIS_URL is not a redis://host:port or rediss://host:port URL")]
    RedisUrl,
    /// `PARLEY_REDIS_SENTINELS` is no list of such URLs.
    #[error("PARLEY_REDIS_SENTINELS is not a list of redis://host:port or rediss://host:port URLs")]
    RedisSentinels,
    /// A setting does not go with another, or names a file that is of no use. Begins with its name.
    #[error("{0}")]
    Setting(String),
    /// A limit makes no sense.
    #[error("limits: {0}")]
    Limits(String),
    /// The bus is away or does not answer.
    #[error("NATS is unavailable: {0}")]
    Unavailable(String),
    /// Redis is away or does not answer.
    #[error("Redis is unavailable: {0}")]
    Redis(String),
    /// A metric could not be registered: a bug of ours.
    #[error("metrics: {0}")]
    Metrics(String),
}

impl RelayError {
    pub(crate) fn redis(cause: impl std::fmt::Display) -> Self {
        Self::Redis(cause.to_string())
    }

    pub(crate) fn unavailable(cause: impl std::fmt::Display) -> Self {
        Self::Unavailable(cause.to_string())
    }
}

impl From<prometheus::Error> for RelayError {
    fn from(error: prometheus::Error) -> Self {
        Self::Metrics(error.to_string())
    }
}
