//! What can go wrong below, as facts.

/// An operation that was not carried out, or whose outcome is not known.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// `PARLEY_DATABASE_URL` is no URL of a Postgres. Its text is not repeated: it holds a password.
    #[error("PARLEY_DATABASE_URL is not a postgres:// URL")]
    Url,
    /// The database does not answer, is overloaded, shuts down, or is not the primary. Trying again may help.
    #[error("Postgres is unavailable: {0}")]
    Unavailable(sqlx::Error),
    /// The schema is not the one that this release was built for.
    #[error("the database is not migrated: {0}")]
    Schema(String),
    /// A row that should be impossible.
    #[error("table {table} is inconsistent: {what}")]
    Inconsistent {
        /// Where.
        table: &'static str,
        /// What was found.
        what: String,
    },
    /// Anything else: a bug of ours.
    #[error("unexpected database error: {0}")]
    Unexpected(sqlx::Error),
}

impl StoreError {
    pub(crate) fn inconsistent(table: &'static str, what: impl Into<String>) -> Self {
        Self::Inconsistent { table, what: what.into() }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        use sqlx::Error::{Io, PoolClosed, PoolTimedOut, Protocol, Tls, WorkerCrashed};
        let unavailable = match &error {
            Io(_) | Tls(_) | Protocol(_) | PoolTimedOut | PoolClosed | WorkerCrashed => true,
            sqlx::Error::Database(database) => {
                database.code().is_some_and(|code| is_passing(code.as_ref()))
            }
            _ => false,
        };
        if unavailable { Self::Unavailable(error) } else { Self::Unexpected(error) }
    }
}

/// SQLSTATEs that say nothing about the statement: connection trouble (08), resources (53), operator's intervention
/// and time-outs (57), a serialization failure or deadlock (40), a lock not to be had, and a server that only reads.
fn is_passing(code: &str) -> bool {
    ["08", "53", "57", "40"].iter().any(|class| code.starts_with(class))
        || ["55P03", "25006"].contains(&code)
}
