//! Whether it is Postgres that answers, and not a pooler that shares its sessions out.
//!
//! Pools set their sessions up (limits of time, plans of the appender), and statements are prepared once for a session. Behind a
//! pooler that holds for whoever is served next, or for nobody.

use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::{ConnectOptions, Row};
use tokio::time::timeout;

use crate::{DatabaseSettings, StoreError};

/// Opens one connection by hand: a pool tells only that it waited in vain, this tells why.
pub(crate) async fn connect(
    settings: &DatabaseSettings,
    options: &PgConnectOptions,
) -> Result<PgConnection, StoreError> {
    let attempt = timeout(settings.acquire_timeout(), options.connect()).await;
    let attempt = attempt.map_err(|_| StoreError::from(sqlx::Error::PoolTimedOut))?;
    let mut connection = match attempt {
        Err(error) if takes_no_parameters(&error) => return Err(StoreError::Pooler),
        attempt => attempt?,
    };
    // In the simple form, which no pooler can take apart.
    let asked = sqlx::raw_sql(
        "select setting from pg_settings where name = 'idle_in_transaction_session_timeout'",
    );
    let held: String = asked.fetch_one(&mut connection).await?.try_get(0)?;
    if held == settings.database_statement_ms.to_string() {
        Ok(connection)
    } else {
        Err(StoreError::Pooler)
    }
}

/// Poolers refuse what they cannot keep for a session; Postgres knows all that we set.
fn takes_no_parameters(error: &sqlx::Error) -> bool {
    error.as_database_error().is_some_and(|error| {
        error.message().to_lowercase().contains("unsupported startup parameter")
    })
}
