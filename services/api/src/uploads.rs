//! Files on their way from a client into storage.

use std::sync::Arc;
use std::time::Duration;

use parley_domain::Invalid;
use parley_domain::file::{FileName, Sniffer};
use parley_domain::ids::AttachmentId;
use parley_domain::link::LinkKey;
use parley_domain::message::NewFile;
use parley_files::{FilesError, Storage, Stored, Upload, storage_key};
use tokio::sync::Notify;
use tokio::time::timeout;
use uuid::Uuid;

use crate::app::State;
use crate::error::ApiError;
use crate::form::{Form, Part};
use crate::metrics::Metrics;
use crate::places::Places;
use crate::settings::FileSettings;

/// What a pod needs for files.
pub(crate) struct Files {
    pub(crate) storage: Storage,
    pub(crate) settings: FileSettings,
    /// What links without a token are signed with; without it there are none.
    pub(crate) link_key: Option<LinkKey>,
    /// Rung when there is something to be removed from storage.
    pub(crate) bell: Arc<Notify>,
    pub(crate) uploads: Places,
    pub(crate) downloads: Places,
}

impl Files {
    pub(crate) fn open(
        storage: Storage,
        settings: FileSettings,
        metrics: &Metrics,
    ) -> anyhow::Result<Self> {
        metrics.limits().uploads.set(settings.max_uploads.into());
        metrics.limits().downloads.set(settings.max_downloads.into());
        let uploads = Places::new(
            settings.max_uploads,
            settings.max_uploads_per_user,
            metrics.uploads.clone(),
            metrics.uploads_refused.clone(),
        );
        let downloads = Places::new(
            settings.max_downloads,
            settings.max_downloads_per_user,
            metrics.downloads.clone(),
            metrics.downloads_refused.clone(),
        );
        let link_key = settings.link_key()?;
        Ok(Self { storage, settings, link_key, bell: Arc::default(), uploads, downloads })
    }
}

/// What a form holds besides its file.
#[derive(Default)]
pub(crate) struct Fields {
    pub(crate) content: Option<String>,
    pub(crate) reply_to_message_id: Option<String>,
    pub(crate) metadata: Option<String>,
    pub(crate) client_message_id: Option<String>,
}

impl Fields {
    /// Where a field goes; `None` for those that mean nothing to us.
    fn place(&mut self, name: &str) -> Option<(&'static str, &mut Option<String>)> {
        Some(match name {
            "content" => ("content", &mut self.content),
            "replyToMessageId" => ("replyToMessageId", &mut self.reply_to_message_id),
            "metadata" => ("metadata", &mut self.metadata),
            "clientMessageId" => ("clientMessageId", &mut self.client_message_id),
            _ => return None,
        })
    }

    async fn take(&mut self, part: Part<'_>) -> Result<(), ApiError> {
        match self.place(part.name()) {
            Some((name, Some(_))) => Err(Invalid::new(name, "must be given once").into()),
            Some((_, place)) => {
                *place = Some(part.text().await?);
                Ok(())
            }
            None => part.text().await.map(drop),
        }
    }
}

/// A form whose file lies in storage, and will be removed unless a message takes it.
pub(crate) struct Received {
    pub(crate) fields: Fields,
    pub(crate) file: NewFile,
}

/// How long the rest of what is too large is read, so that its sender sees why it is refused.
const DRAINING: Duration = Duration::from_secs(30);

/// Reads a form to its end and its file into storage. When that fails, nothing is left, now or soon.
pub(crate) async fn receive(state: &State, form: Form) -> Result<Received, ApiError> {
    let files = &state.files;
    let most = files.settings.max_file_bytes;
    if form.declared.is_some_and(|declared| declared > most + state.max_body as u64) {
        // However that ends.
        let _ = timeout(DRAINING, form.drain(most)).await;
        return Err(ApiError::PayloadTooLarge);
    }
    let id = AttachmentId::from(Uuid::now_v7());
    let key = storage_key(id);
    state.store.expect_object(&key, files.settings.lease()).await?;
    let mut upload = files.storage.upload(&key);
    let read = timeout(files.settings.upload_deadline(), read(form, &mut upload, most)).await;
    let in_time = read.is_ok();
    let stored = match read.unwrap_or(Err(ApiError::UploadIncomplete)) {
        Ok(parts) => finish(state, upload, parts).await,
        Err(error) => {
            upload.abort().await;
            Err(error)
        }
    };
    match stored {
        Ok((Parts { fields, name, .. }, file_type, Stored { size, digest })) => {
            let file = NewFile { id, name, file_type, size, digest, storage_key: key };
            Ok(Received { fields, file })
        }
        Err(error) => {
            if error == ApiError::Unavailable {
                state.metrics.writes_failed.inc();
            } else if in_time {
                // What the storage was told to keep, and did not answer about, may yet come to be: then its lease ends it.
                release(state, &key).await;
            }
            Err(error)
        }
    }
}

/// Nobody wants this object any more.
pub(crate) async fn release(state: &State, key: &str) {
    match state.store.release_object(key).await {
        Ok(()) => state.files.bell.notify_one(),
        // Its time will be over by itself.
        Err(error) => tracing::warn!(%error, "an object could not be released yet"),
    }
}

/// The parts of a form, its file as it was seen passing.
struct Parts {
    fields: Fields,
    name: FileName,
    sniffer: Sniffer,
}

async fn read(mut form: Form, upload: &mut Upload, most: u64) -> Result<Parts, ApiError> {
    let mut fields = Fields::default();
    let mut file = None;
    let only_one = |rule| Err(Invalid::new("file", rule).into());
    while let Some(part) = form.next().await? {
        match (part.name(), &file) {
            ("file", None) => {
                file = Some(pass(part, upload, most).await?);
                if upload.size() > most {
                    form.drain(most).await;
                    return Err(ApiError::PayloadTooLarge);
                }
            }
            ("file", Some(_)) => return only_one("must be one"),
            _ => fields.take(part).await?,
        }
    }
    let Some((name, sniffer)) = file else { return only_one("must not be missing") };
    Ok(Parts { fields, name, sniffer })
}

/// Passes a file on, up to one chunk more than it may have.
async fn pass(
    mut part: Part<'_>,
    upload: &mut Upload,
    most: u64,
) -> Result<(FileName, Sniffer), ApiError> {
    let name = FileName::parse(part.file_name().unwrap_or_default())?;
    let mut sniffer = Sniffer::default();
    while let Some(chunk) = part.chunk().await? {
        sniffer.look(&chunk);
        upload.write(&chunk).await?;
        if upload.size() > most {
            break;
        }
    }
    Ok((name, sniffer))
}

/// What has become a whole object of an allowed type.
async fn finish(
    state: &State,
    upload: Upload,
    mut parts: Parts,
) -> Result<(Parts, parley_domain::file::FileType, Stored), ApiError> {
    let found = std::mem::take(&mut parts.sniffer).finish(&parts.name);
    let allowed =
        found.filter(|found| state.files.settings.file_types.iter().any(|it| it.allows(*found)));
    let Some(file_type) = allowed else {
        upload.abort().await;
        return Err(ApiError::FileTypeNotAllowed);
    };
    let stored = upload.finish().await?;
    Ok((parts, file_type, stored))
}

impl From<FilesError> for ApiError {
    fn from(error: FilesError) -> Self {
        match error {
            FilesError::NotFound => Self::AttachmentNotFound,
            FilesError::Unavailable(_) => {
                tracing::warn!(%error, "a file was refused");
                Self::Unavailable
            }
            FilesError::Settings(_) => {
                tracing::error!(%error, "a file was refused");
                Self::Internal
            }
        }
    }
}
