//! The schema's own history.

use sqlx::Connection;
use sqlx::migrate::Migrator;

use crate::{DatabaseSettings, Store, StoreError, direct};

static MIGRATOR: Migrator = sqlx::migrate!("../../migrations");

/// Brings the database to this release's schema. Concurrent calls wait for each other, for as long as for any other lock.
pub async fn migrate(settings: &DatabaseSettings) -> Result<(), StoreError> {
    // Building an index on a big table takes as long as it takes. But whoever waits for a lock makes all wait that come after it:
    // longer than the longest statement, it is given up, and tried again another time.
    let patience = format!("{}ms", 2 * settings.database_statement_ms);
    let options = settings
        .connect_options()?
        .options([("statement_timeout", "0"), ("lock_timeout", patience.as_str())]);
    let mut connection = direct::connect(settings, &options).await?;
    MIGRATOR.run(&mut connection).await.map_err(|error| match error {
        sqlx::migrate::MigrateError::Execute(error) => StoreError::from(error),
        other => StoreError::Schema(other.to_string()),
    })?;
    connection.close().await?;
    Ok(())
}

impl Store {
    /// Whether the database has every migration that this release carries. Newer ones are welcome: during a rollout,
    /// the schema is ahead of the pods.
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        let applied = sqlx::query_scalar!(
            r#"select to_regclass('_sqlx_migrations') is not null as "there!""#
        )
        .fetch_one(&self.pool)
        .await?;
        if !applied {
            return Err(StoreError::Schema("run `parley-api migrate` first".to_owned()));
        }
        // Not a checked query: the table is the migrator's own and not part of our schema.
        let versions: Vec<i64> =
            sqlx::query_scalar("select version from _sqlx_migrations where success")
                .fetch_all(&self.pool)
                .await?;
        match MIGRATOR.iter().find(|migration| !versions.contains(&migration.version)) {
            None => Ok(()),
            Some(lacking) => Err(StoreError::Schema(format!(
                "it lacks {} {}; run `parley-api migrate` first",
                lacking.version, lacking.description
            ))),
        }
    }
}
