//! Objects: where they lie, how they are read and how they go.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::Arc;

use bytes::Bytes;
use futures_util::stream::{self, Stream, StreamExt};
use object_store::local::LocalFileSystem;
use object_store::path::Path;
use object_store::{ObjectStore, ObjectStoreExt};
use parley_domain::ids::AttachmentId;

use crate::{FilesError, StorageSettings, Upload};

/// How much of an object is in memory at a time, of a folder and of a bucket. A part of an S3 upload has at least 5 MiB.
const FOLDER_PIECE: usize = 64 * 1024;
const BUCKET_PIECE: usize = 1024 * 1024;
const BUCKET_PART: usize = 5 * 1024 * 1024;

/// Where a file's bytes lie: nothing of it comes from outside. Each object has a folder of its own, which goes with it
/// and with whatever a crash has left in it.
pub fn storage_key(id: AttachmentId) -> String {
    let digits = id.uuid().simple().to_string();
    // The end of the id is chance, its beginning the time.
    format!("{}/{digits}/file", &digits[30..])
}

/// The storage. Clones share it.
#[derive(Clone, Debug)]
pub struct Storage {
    store: Arc<dyn ObjectStore>,
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Folder(PathBuf),
    Bucket,
}

/// An object's bytes, piece by piece.
pub type Pieces = stream::BoxStream<'static, Result<Bytes, FilesError>>;

impl Storage {
    /// Opens the storage; makes the folder if it is not there. A bucket is not asked: it may be away for now.
    pub fn open(settings: &StorageSettings) -> Result<Self, FilesError> {
        if settings.s3_bucket.is_some() {
            return Ok(Self { store: Arc::new(settings.s3()?), place: Place::Bucket });
        }
        let folder = &settings.files_folder;
        let wrong = |error: &dyn std::fmt::Display| {
            let folder = folder.display();
            FilesError::Settings(format!("PARLEY_FILES_FOLDER: {folder} cannot be used: {error}"))
        };
        std::fs::create_dir_all(folder).map_err(|error| wrong(&error))?;
        let folder = folder.canonicalize().map_err(|error| wrong(&error))?;
        // A 201 to a file has to outlive a power cut, as the message does.
        let store = LocalFileSystem::new_with_prefix(&folder).map_err(|error| wrong(&error))?;
        Ok(Self { store: Arc::new(store.with_fsync(true)), place: Place::Folder(folder) })
    }

    /// Begins to write an object.
    pub fn upload(&self, key: &str) -> Upload {
        let part = match self.place {
            Place::Folder(_) => FOLDER_PIECE,
            Place::Bucket => BUCKET_PART,
        };
        Upload::new(self.store.clone(), Path::from(key), part)
    }

    /// These bytes of an object. Each piece is a request of its own, so a reader that takes its time holds nothing open;
    /// the first one is read at once, so that what is not there is known before anything is answered.
    pub async fn read(&self, key: &str, range: Range<u64>) -> Result<Pieces, FilesError> {
        let (storage, key) = (self.clone(), Path::from(key));
        if range.is_empty() {
            return Ok(stream::empty().boxed());
        }
        let first = storage.piece(&key, &range).await?;
        let rest = range.start + first.len() as u64..range.end;
        let rest = stream::try_unfold(rest, move |rest| {
            let (storage, key) = (storage.clone(), key.clone());
            async move {
                if rest.is_empty() {
                    return Ok(None);
                }
                let piece = storage.piece(&key, &rest).await?;
                let rest = rest.start + piece.len() as u64..rest.end;
                Ok(Some((piece, rest)))
            }
        });
        Ok(Self::and_then(first, rest))
    }

    fn and_then(
        first: Bytes,
        rest: impl Stream<Item = Result<Bytes, FilesError>> + Send + 'static,
    ) -> Pieces {
        stream::once(std::future::ready(Ok(first))).chain(rest).boxed()
    }

    async fn piece(&self, key: &Path, of: &Range<u64>) -> Result<Bytes, FilesError> {
        let most = match self.place {
            Place::Folder(_) => FOLDER_PIECE,
            Place::Bucket => BUCKET_PIECE,
        };
        let end = of.end.min(of.start + most as u64);
        let piece = self.store.get_range(key, of.start..end).await?;
        if piece.is_empty() {
            return Err(FilesError::Unavailable("an object is shorter than it was".to_owned()));
        }
        Ok(piece)
    }

    /// Removes an object, and what an upload that was cut off has left of it. There need not be anything.
    pub async fn remove(&self, key: &str) -> Result<(), FilesError> {
        let removed = match &self.place {
            Place::Bucket => self.store.delete(&Path::from(key)).await.map_err(FilesError::from),
            Place::Folder(root) => {
                let object = root.join(key);
                let folder = object.parent().unwrap_or(&object);
                tokio::fs::remove_dir_all(folder).await.map_err(FilesError::from)
            }
        };
        match removed {
            Err(FilesError::NotFound) => Ok(()),
            other => other,
        }
    }
}
