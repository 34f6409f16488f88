//! Pages of lists.

use serde::Serialize;

use crate::Invalid;
use crate::ids::MessageId;

/// Most items of one page; a larger `limit` counts as this and the answer says so.
pub const MAX_LIMIT: u32 = 100;
/// The last page number that is answered, so that an offset always fits its type.
pub const MAX_PAGE: u32 = 1_000_000;

/// Which page, and how long one is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Page {
    /// From 1.
    pub number: u32,
    /// 1–100.
    pub limit: u32,
}

impl Page {
    /// Reads `page` and `limit` of a query; absent ones are 1 and `default_limit`.
    pub fn parse(
        page: Option<&str>,
        limit: Option<&str>,
        default_limit: u32,
    ) -> Result<Self, Invalid> {
        let number = positive("page", page)?.unwrap_or(1);
        if number > MAX_PAGE {
            return Err(Invalid::new("page", format!("must be at most {MAX_PAGE}")));
        }
        let limit = positive("limit", limit)?.unwrap_or(default_limit).min(MAX_LIMIT);
        Ok(Self { number, limit })
    }

    /// How many items stand before this page.
    pub const fn skipped(self) -> u64 {
        (self.number as u64 - 1) * self.limit as u64
    }

    /// The answer's account of this page of `total` items.
    pub fn of(self, total: u64) -> Pagination {
        Pagination {
            page: self.number,
            limit: self.limit,
            total,
            total_pages: total.div_ceil(u64::from(self.limit)),
            has_next: self.skipped() + u64::from(self.limit) < total,
        }
    }
}

fn positive(field: &'static str, text: Option<&str>) -> Result<Option<u32>, Invalid> {
    let Some(text) = text else { return Ok(None) };
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    match text.parse::<u64>() {
        Ok(number) if digits && number > 0 => Ok(Some(u32::try_from(number).unwrap_or(u32::MAX))),
        Err(_) if digits => Ok(Some(u32::MAX)),
        _ => Err(Invalid::new(field, "must be a whole number from 1")),
    }
}

/// Where a page stands in its list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pagination {
    /// From 1.
    #[cfg_attr(feature = "openapi", schema(minimum = 1))]
    pub page: u32,
    /// As applied, at most 100.
    #[cfg_attr(feature = "openapi", schema(minimum = 1, maximum = 100))]
    pub limit: u32,
    /// Items of the whole list.
    pub total: u64,
    /// Pages of the whole list.
    pub total_pages: u64,
    /// Whether a further page holds something.
    pub has_next: bool,
}

/// Where a page of messages stands in its chat.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct MessagePagination {
    /// The page by number.
    #[serde(flatten)]
    pub page: Pagination,
    /// The `before` that continues towards the past; `null` at the chat's beginning.
    pub next_before: Option<MessageId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_clamped_and_nonsense_is_refused() {
        assert_eq!(Page::parse(None, None, 50).unwrap(), Page { number: 1, limit: 50 });
        assert_eq!(
            Page::parse(Some("3"), Some("1000"), 50).unwrap(),
            Page { number: 3, limit: 100 }
        );
        assert_eq!(Page::parse(None, Some("99999999999999999999999"), 50).unwrap().limit, 100);
        for bad in ["0", "-1", "", "x", "1.5", "+1", " 1"] {
            assert!(Page::parse(None, Some(bad), 50).is_err(), "limit={bad:?}");
            assert!(Page::parse(Some(bad), None, 50).is_err(), "page={bad:?}");
        }
    }

    #[test]
    fn the_last_page_has_no_next() {
        let page = Page { number: 2, limit: 10 };
        assert!(page.of(21).has_next);
        assert!(!page.of(20).has_next);
        assert_eq!(page.of(21).total_pages, 3);
        assert_eq!(Page { number: 1, limit: 10 }.of(0).total_pages, 0);
    }
}
