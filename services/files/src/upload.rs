//! Writing an object, part by part.

use std::sync::Arc;

use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutPayloadMut};
use sha2::{Digest, Sha256};

use crate::FilesError;

/// Memory is taken in blocks of this size, as it is needed.
const BLOCK: usize = 64 * 1024;

/// An object that is being written. One that is neither finished nor aborted is not there, but may leave something behind
/// for [`crate::Storage::remove`].
pub struct Upload {
    store: Arc<dyn ObjectStore>,
    key: Path,
    /// Bytes of a part.
    most: usize,
    part: PutPayloadMut,
    /// There are none before the first part is full.
    parts: Option<Box<dyn MultipartUpload>>,
    size: u64,
    digest: Sha256,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stored {
    /// Its bytes.
    pub size: u64,
    /// Their SHA-256.
    pub digest: [u8; 32],
}

impl Upload {
    pub(crate) fn new(store: Arc<dyn ObjectStore>, key: Path, most: usize) -> Self {
        let (part, digest) = (empty(), Sha256::new());
        Self { store, key, most, part, parts: None, size: 0, digest }
    }

    /// The bytes so far.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The next bytes. While a full part is being written, nothing more is taken.
    pub async fn write(&mut self, chunk: &[u8]) -> Result<(), FilesError> {
        self.size += chunk.len() as u64;
        self.digest.update(chunk);
        let mut rest = chunk;
        while !rest.is_empty() {
            let room = self.most - self.part.content_length();
            let (now, later) = rest.split_at(room.min(rest.len()));
            self.part.extend_from_slice(now);
            rest = later;
            if self.part.content_length() == self.most {
                self.flush().await?;
            }
        }
        Ok(())
    }

    async fn flush(&mut self) -> Result<(), FilesError> {
        let part = std::mem::replace(&mut self.part, empty()).freeze();
        let parts = match &mut self.parts {
            Some(parts) => parts,
            None => self.parts.insert(self.store.put_multipart(&self.key).await?),
        };
        Ok(parts.put_part(part).await?)
    }

    /// Writes what is left. From here on the object is there, whole.
    pub async fn finish(mut self) -> Result<Stored, FilesError> {
        match self.end().await {
            Ok(()) => Ok(Stored { size: self.size, digest: self.digest.finalize().into() }),
            Err(error) => {
                self.abort().await;
                Err(error)
            }
        }
    }

    async fn end(&mut self) -> Result<(), FilesError> {
        if self.parts.is_some() && self.part.content_length() > 0 {
            self.flush().await?;
        }
        if let Some(parts) = &mut self.parts {
            parts.complete().await?;
        } else {
            // A small file is one request.
            let whole = std::mem::replace(&mut self.part, empty()).freeze();
            self.store.put(&self.key, whole).await?;
        }
        Ok(())
    }

    /// Gives up, and takes back what was written as far as the store lets us.
    pub async fn abort(self) {
        if let Some(mut parts) = self.parts {
            // What cannot be taken back now is removed later, as after a crash.
            let _ = parts.abort().await;
        }
    }
}

fn empty() -> PutPayloadMut {
    PutPayloadMut::new().with_block_size(BLOCK)
}
