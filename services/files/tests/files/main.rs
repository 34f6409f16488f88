//! The same tests for a folder and for a real S3-compatible store.
#![expect(clippy::unwrap_used, reason = "tests")]

mod storage;
