//! Reading the history in pages, which are ranges of seqs.

use chrono::{DateTime, Utc};
use parley_domain::ids::{ChatId, MessageId};
use parley_domain::message::Message;
use parley_domain::page::{MessagePagination, Page, Pagination};
use parley_domain::version::{Seq, Version};
use serde_json::value::RawValue;
use sqlx::PgConnection;
use sqlx::types::Json;
use uuid::Uuid;

use super::{MessageRow, message_rows};
use crate::attachments::AttachmentRow;
use crate::metrics::Call;
use crate::{Store, StoreError, signed, unsigned};

/// Which messages of a chat.
#[derive(Debug, Clone, Copy)]
pub struct MessageQuery {
    /// Only older ones.
    pub before: Option<Cursor>,
    /// Only newer ones.
    pub after: Option<Cursor>,
    /// A page with this one in its middle; stands alone.
    pub around: Option<Cursor>,
    /// From which end the range is read.
    pub order: Order,
    /// Which page of the range.
    pub page: Page,
}

/// A place in a chat's history; ranges exclude it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cursor {
    /// A message's place.
    Seq(Seq),
    /// A message, whether still there or not: ids rise with time.
    Id(MessageId),
    /// A moment.
    Time(DateTime<Utc>),
}

/// From which end a list is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Order {
    /// The newest message comes first.
    #[default]
    NewestFirst,
    /// The oldest message comes first.
    OldestFirst,
}

/// Messages of one moment.
#[derive(Debug, Clone)]
pub struct MessagePage {
    /// In the order asked for.
    pub messages: Vec<Message>,
    /// Where they stand.
    pub pagination: MessagePagination,
    /// The chat's version at that moment: the `since` of a join that misses nothing.
    pub version: Version,
}

impl Store {
    /// A page of a chat's messages, or `None` without such a chat. Seqs are dense, so a page is a range of them
    /// whatever its number: no row is read only to be skipped.
    pub async fn messages(
        &self,
        chat: ChatId,
        query: &MessageQuery,
    ) -> Result<Option<MessagePage>, StoreError> {
        let _timed = self.metrics.time(Call::History);
        let mut snapshot = self.snapshot().await?;
        let head = sqlx::query!("select version, last_seq from chats where id = $1", chat.uuid())
            .fetch_optional(&mut *snapshot)
            .await?;
        let Some(head) = head else { return Ok(None) };
        let range = resolve(&mut snapshot, chat, query, unsigned(head.last_seq)).await?;
        let slice = Slice::of(range, query);
        let rows = message_rows!(
            "where m.chat_id = $1 and m.seq between $2 and $3 order by m.seq",
            chat.uuid(),
            signed(slice.first),
            signed(slice.last),
        )
        .fetch_all(&mut *snapshot)
        .await?;
        snapshot.commit().await?;
        let mut messages =
            rows.into_iter().map(MessageRow::message).collect::<Result<Vec<_>, _>>()?;
        let next_before =
            messages.first().filter(|oldest| oldest.seq > Seq(1)).map(|oldest| oldest.id);
        if query.order == Order::NewestFirst {
            messages.reverse();
        }
        Ok(Some(MessagePage {
            messages,
            pagination: MessagePagination { page: slice.pagination, next_before },
            version: Version(unsigned(head.version)),
        }))
    }
}

/// Seqs from `first` to `last`, both included; empty when `first > last`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Range {
    first: u64,
    last: u64,
}

/// The range of seqs that a query speaks of.
async fn resolve(
    connection: &mut PgConnection,
    chat: ChatId,
    query: &MessageQuery,
    last_seq: u64,
) -> Result<Range, StoreError> {
    if let Some(around) = query.around {
        let middle = seqs_below(connection, chat, around, last_seq).await? + 1;
        let half = u64::from(query.page.limit) / 2;
        let first = middle.saturating_sub(half).max(1);
        let last = (first + u64::from(query.page.limit) - 1).min(last_seq);
        return Ok(Range { first, last });
    }
    let last = match query.before {
        Some(cursor) => seqs_below(connection, chat, cursor, last_seq).await?,
        None => last_seq,
    };
    let first = match query.after {
        Some(cursor) => seqs_up_to(connection, chat, cursor, last_seq).await? + 1,
        None => 1,
    };
    Ok(Range { first, last })
}

/// The last seq before the cursor.
async fn seqs_below(
    connection: &mut PgConnection,
    chat: ChatId,
    cursor: Cursor,
    last_seq: u64,
) -> Result<u64, StoreError> {
    match cursor {
        Cursor::Seq(seq) => Ok(seq.0.saturating_sub(1).min(last_seq)),
        Cursor::Id(id) => last_seq_below(connection, chat, id.uuid()).await,
        // A time may be finer than the milliseconds of a message: round up, and what is earlier stays in.
        Cursor::Time(time) => {
            last_seq_below(connection, chat, first_id_at(millis_ceil(time))).await
        }
    }
}

/// The last seq that the cursor itself covers.
async fn seqs_up_to(
    connection: &mut PgConnection,
    chat: ChatId,
    cursor: Cursor,
    last_seq: u64,
) -> Result<u64, StoreError> {
    match cursor {
        Cursor::Seq(seq) => Ok(seq.0.min(last_seq)),
        Cursor::Id(id) => {
            let next = Uuid::from_u128(id.uuid().as_u128().saturating_add(1));
            last_seq_below(connection, chat, next).await
        }
        Cursor::Time(time) => {
            last_seq_below(connection, chat, first_id_at(time.timestamp_millis() + 1)).await
        }
    }
}

fn millis_ceil(time: DateTime<Utc>) -> i64 {
    let finer = !time.timestamp_subsec_nanos().is_multiple_of(1_000_000);
    time.timestamp_millis() + i64::from(finer)
}

async fn last_seq_below(
    connection: &mut PgConnection,
    chat: ChatId,
    id: Uuid,
) -> Result<u64, StoreError> {
    let seq = sqlx::query_scalar!(
        "select seq from messages where chat_id = $1 and id < $2 order by id desc limit 1",
        chat.uuid(),
        id,
    )
    .fetch_optional(connection)
    .await?;
    Ok(seq.map_or(0, unsigned))
}

/// The seqs of one page, and the page's account of itself.
struct Slice {
    first: u64,
    last: u64,
    pagination: Pagination,
}

impl Slice {
    fn of(range: Range, query: &MessageQuery) -> Self {
        let total = (range.last + 1).saturating_sub(range.first);
        let pagination = query.page.of(total);
        let (skipped, limit) = (query.page.skipped(), u64::from(query.page.limit));
        if skipped >= total {
            return Self { first: 1, last: 0, pagination };
        }
        let (first, last) = match query.order {
            Order::OldestFirst => {
                let first = range.first + skipped;
                (first, range.last.min(first + limit - 1))
            }
            Order::NewestFirst => {
                let last = range.last - skipped;
                (range.first.max((last + 1).saturating_sub(limit)), last)
            }
        };
        Self { first, last, pagination }
    }
}

/// The smallest id that a message of this moment, or a later one, can have.
fn first_id_at(millis: i64) -> Uuid {
    let millis = u64::try_from(millis).unwrap_or_default();
    uuid::Builder::from_unix_timestamp_millis(millis, &[0; 10]).into_uuid()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slice(first: u64, last: u64, order: Order, number: u32, limit: u32) -> Vec<u64> {
        let page = Page { number, limit };
        let query = MessageQuery { before: None, after: None, around: None, order, page };
        let slice = Slice::of(Range { first, last }, &query);
        (slice.first..=slice.last).collect()
    }

    #[test]
    fn pages_cover_a_range_once_in_either_order() {
        for order in [Order::NewestFirst, Order::OldestFirst] {
            for limit in 1..=6 {
                let mut all: Vec<u64> =
                    (1..=12).flat_map(|n| slice(3, 12, order, n, limit)).collect();
                all.sort_unstable();
                assert_eq!(all, (3..=12).collect::<Vec<_>>(), "{order:?} by {limit}");
            }
        }
        assert_eq!(slice(1, 10, Order::NewestFirst, 1, 3), [8, 9, 10]);
        assert_eq!(slice(1, 10, Order::NewestFirst, 4, 3), [1]);
        assert_eq!(slice(1, 10, Order::OldestFirst, 4, 3), [10]);
    }

    #[test]
    fn an_empty_range_has_only_empty_pages() {
        for order in [Order::NewestFirst, Order::OldestFirst] {
            assert!(slice(1, 0, order, 1, 50).is_empty());
            assert!(slice(8, 3, order, 1, 50).is_empty());
            assert!(slice(1, 5, order, 1_000_000, 100).is_empty());
        }
    }

    #[test]
    fn a_time_finer_than_a_millisecond_keeps_what_is_earlier() {
        let at = |nanos| DateTime::from_timestamp(1, nanos).unwrap();
        assert_eq!(millis_ceil(at(123_000_000)), 1123);
        assert_eq!(millis_ceil(at(123_000_001)), 1124);
    }
}
