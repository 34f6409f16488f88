//! Which history this is.

use std::sync::atomic::{AtomicU64, Ordering};

use parley_domain::version::Epoch;
use sha2::{Digest, Sha256};
use sqlx::PgConnection;

/// The epoch of the newest connection.
#[derive(Default)]
pub(crate) struct CurrentEpoch(AtomicU64);

impl CurrentEpoch {
    pub(crate) fn get(&self) -> Epoch {
        Epoch(self.0.load(Ordering::Acquire))
    }

    /// Reads the epoch of the database behind `connection`.
    ///
    /// It is made of what no dump and no copy brings along: the cluster's own id; its timeline, which a restore to a
    /// point in time and a promotion change; and the object id of the table `chats`, which a restored dump makes anew.
    pub(crate) async fn note(&self, connection: &mut PgConnection) -> Result<(), sqlx::Error> {
        let row = sqlx::query!(
            r#"
            select
                (select system_identifier from pg_control_system()) as "cluster!"
                , case when pg_is_in_recovery() then '' else left(pg_walfile_name(pg_current_wal_lsn()), 8) end
                    as "timeline!"
                , coalesce(to_regclass('chats')::oid::bigint, 0) as "chats!"
            "#
        )
        .fetch_one(connection)
        .await?;
        let digest = Sha256::digest(format!("{}/{}/{}", row.cluster, row.timeline, row.chats));
        let mut first = [0; 8];
        first.copy_from_slice(&digest[..8]);
        let epoch = u64::from_be_bytes(first);
        let before = self.0.swap(epoch, Ordering::AcqRel);
        if before != 0 && before != epoch {
            tracing::warn!(before = %Epoch(before), now = %Epoch(epoch), "the database has another history now");
        }
        Ok(())
    }
}
