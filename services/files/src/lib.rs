//! What is large: the bytes of files, in a local folder or in an S3-compatible store.
//!
//! Bytes go in and out piece by piece, and never lie in memory as a whole. An object is written once, under a key of its
//! own, and is there once [`Upload::finish`] has said so. Removing is idempotent.
//!
//! This crate must never know HTTP, SQL, or who may see a file: whoever calls it keeps account of which objects there are,
//! and to what they belong.

mod error;
mod partial;
mod settings;
mod storage;
mod upload;

pub use error::FilesError;
pub use settings::StorageSettings;
pub use storage::{Pieces, Storage, storage_key};
pub use upload::{Stored, Upload};
