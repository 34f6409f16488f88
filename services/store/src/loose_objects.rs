//! Table `loose_objects`: what lies in storage and belongs to no message, yet or any more.

use std::time::Duration;

use sqlx::postgres::types::PgInterval;

use crate::metrics::Call;
use crate::{Store, StoreError};

impl Store {
    /// Names an object before its first byte is written. Unless a message takes it within `lease`, it is removed.
    pub async fn expect_object(&self, key: &str, lease: Duration) -> Result<(), StoreError> {
        let _timed = self.metrics.time(Call::Files);
        sqlx::query!(
            r#"
            insert into loose_objects (storage_key, remove_after, try_after)
            select $1, moment, moment
            from (select clock_timestamp() + $2::interval as moment) lease
            "#,
            key,
            interval(lease)?,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Nobody will make this object part of a message: it may go now, unless it is part of one already.
    pub async fn release_object(&self, key: &str) -> Result<(), StoreError> {
        let _timed = self.metrics.time(Call::Files);
        sqlx::query!(
            r#"
            update loose_objects
            set remove_after = clock_timestamp(), try_after = clock_timestamp()
            where storage_key = $1
            "#,
            key,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Objects whose time is over, at most so many. No message can take them any more; one that is about to take one
    /// holds its row.
    pub async fn loose_objects(&self, most: u32) -> Result<Vec<String>, StoreError> {
        let _timed = self.metrics.time(Call::Files);
        let keys = sqlx::query_scalar!(
            r#"
            select storage_key
            from loose_objects
            where try_after <= clock_timestamp() and remove_after <= clock_timestamp()
            order by try_after
            limit $1
            for update skip locked
            "#,
            i64::from(most),
        )
        .fetch_all(&self.pool)
        .await?;
        Ok(keys)
    }

    /// These objects are gone from storage.
    pub async fn objects_removed(&self, keys: &[String]) -> Result<(), StoreError> {
        let _timed = self.metrics.time(Call::Files);
        sqlx::query!("delete from loose_objects where storage_key = any($1)", keys)
            .execute(&self.pool)
            .await?;
        Ok(())
    }

    /// These could not be removed: others have their turn before they are tried again.
    pub async fn objects_stay(&self, keys: &[String], pause: Duration) -> Result<(), StoreError> {
        let _timed = self.metrics.time(Call::Files);
        sqlx::query!(
            r#"
            update loose_objects
            set try_after = clock_timestamp() + $2::interval
            where storage_key = any($1)
            "#,
            keys,
            interval(pause)?,
        )
        .execute(&self.pool)
        .await?;
        Ok(())
    }
}

fn interval(time: Duration) -> Result<PgInterval, StoreError> {
    Ok(PgInterval::try_from(time).map_err(sqlx::Error::Encode)?)
}
