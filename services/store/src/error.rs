//! What can go wrong below, as facts.

use std::sync::Arc;

/// An operation that was not carried out, or whose outcome is not known.
#[derive(Debug, Clone, thiserror::Error)]
pub enum StoreError {
    /// `PARLEY_DATABASE_URL` is no URL of a Postgres. Its text is not repeated: it holds a password.
    #[error("PARLEY_DATABASE_URL is not a postgres:// URL")]
    Url,
    /// Between this pod and Postgres is a pooler, which keeps nothing that a session is set to.
    #[error(
        "PARLEY_DATABASE_URL leads to a connection pooler, as PgBouncer is one, and has to lead to Postgres itself: \
         this pod has a bounded pool of its own (PARLEY_DATABASE_CONNECTIONS)"
    )]
    Pooler,
    /// The database does not answer, is overloaded, shuts down, or is not the primary. Trying again may help.
    #[error("Postgres is unavailable: {0}")]
    Unavailable(Arc<sqlx::Error>),
    /// A limit was reached before anything was begun: nothing has happened, and nothing will.
    #[error("not begun: {0}")]
    NotBegun(&'static str),
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
    Unexpected(Arc<sqlx::Error>),
    /// A metric could not be registered: a bug of ours.
    #[error("metrics: {0}")]
    Metrics(String),
}

impl StoreError {
    pub(crate) fn inconsistent(table: &'static str, what: impl Into<String>) -> Self {
        Self::Inconsistent { table, what: what.into() }
    }

    /// Whether the database refused what it was given (SQLSTATE classes 21–23, 54 and errors of our own functions),
    /// so that the same without one of its parts may well be taken.
    pub(crate) fn is_of_data(&self) -> bool {
        let Self::Unexpected(error) = self else { return false };
        let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
        code.is_some_and(|code| ["21", "22", "23", "54", "P0"].iter().any(|c| code.starts_with(c)))
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
        let error = Arc::new(error);
        if unavailable { Self::Unavailable(error) } else { Self::Unexpected(error) }
    }
}

impl From<prometheus::Error> for StoreError {
    fn from(error: prometheus::Error) -> Self {
        Self::Metrics(error.to_string())
    }
}

/// SQLSTATEs that say nothing about the statement: connection trouble (08), resources (53), operator's intervention
/// and time-outs (57), a serialization failure or deadlock (40), a lock not to be had, a server that only reads, and a
/// transaction that the server has ended because it heard nothing for too long (this pod, or the server, hung in it).
fn is_passing(code: &str) -> bool {
    ["08", "53", "57", "40"].iter().any(|class| code.starts_with(class))
        || ["55P03", "25006", "25P03", "25P04"].contains(&code)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_passes_is_told_from_what_is_wrong() {
        // Of what a pod meets that hangs in the middle of a transaction, or whose Postgres does: it is tried again elsewhere.
        for passing in
            ["08006", "53300", "57014", "57P01", "40P01", "55P03", "25006", "25P03", "25P04"]
        {
            assert!(is_passing(passing), "{passing}");
        }
        for wrong in ["23505", "22P02", "42601", "25001", "25P02", "P0001"] {
            assert!(!is_passing(wrong), "{wrong}");
        }
    }
}
