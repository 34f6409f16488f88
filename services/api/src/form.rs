//! A `multipart/form-data` body, read as it arrives and never kept as a whole.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::BodyDataStream;
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, header};
use bytes::{Bytes, BytesMut};
use futures_util::{Stream, StreamExt};
use multer::{Field, Multipart};
use tokio::time::{Instant, Sleep, sleep};

use crate::app::State;
use crate::error::ApiError;

/// Whether the body is a form by its own account.
pub(crate) fn is_form(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
    let essence = value.and_then(|value| value.split(';').next()).unwrap_or_default().trim();
    essence.eq_ignore_ascii_case("multipart/form-data")
}

/// A form whose parts are still to come.
pub(crate) struct Form {
    parts: Multipart<'static>,
    taken: Arc<AtomicU64>,
    /// The length of the body, if the client has told it.
    pub(crate) declared: Option<u64>,
}

/// A part of a form.
pub(crate) struct Part<'f> {
    field: Field<'static>,
    taken: &'f AtomicU64,
}

impl FromRequest<State> for Form {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &State) -> Result<Self, ApiError> {
        if !is_form(request.headers()) {
            return Err(ApiError::NotForm);
        }
        let text = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
        let boundary = text(header::CONTENT_TYPE).map(multer::parse_boundary);
        let Some(Ok(boundary)) = boundary else { return Err(ApiError::InvalidForm) };
        let declared = text(header::CONTENT_LENGTH).and_then(|length| length.parse().ok());
        let taken = Arc::<AtomicU64>::default();
        let body = Arriving {
            chunks: request.into_body().into_data_stream(),
            patience: state.files.settings.upload_idle(),
            idle: Box::pin(sleep(Duration::ZERO)),
            waiting: false,
            passed: false,
            begun: Instant::now(),
            seen: 0,
            taken: taken.clone(),
            most_untaken: state.max_body as u64 + CHUNK,
        };
        Ok(Self { parts: Multipart::new(body, boundary), taken, declared })
    }
}

impl Form {
    /// The next part; `None` at the form's end.
    pub(crate) async fn next(&mut self) -> Result<Option<Part<'_>>, ApiError> {
        let field = self.parts.next_field().await?;
        Ok(field.map(|field| Part { field, taken: &self.taken }))
    }

    /// Reads and drops what is left, within reason: a client that is still writing when the connection closes sees a
    /// broken pipe and never the answer.
    pub(crate) async fn drain(mut self, most: u64) {
        let mut left = most;
        while let Ok(Some(mut part)) = self.next().await {
            while let Ok(Some(chunk)) = part.chunk().await {
                left = left.saturating_sub(chunk.len() as u64);
                if left == 0 {
                    return;
                }
            }
        }
    }
}

impl Part<'_> {
    /// What the part is.
    pub(crate) fn name(&self) -> &str {
        self.field.name().unwrap_or_default()
    }

    /// The name of the file that it is, if it is one.
    pub(crate) fn file_name(&self) -> Option<&str> {
        self.field.file_name()
    }

    /// The next bytes of a file.
    pub(crate) async fn chunk(&mut self) -> Result<Option<Bytes>, ApiError> {
        let chunk = self.field.chunk().await?;
        let length = chunk.as_ref().map_or(0, Bytes::len);
        self.taken.fetch_add(length as u64, Ordering::Relaxed);
        Ok(chunk)
    }

    /// The whole of a short text. Its bytes stay among those that a form may have besides its file.
    pub(crate) async fn text(mut self) -> Result<String, ApiError> {
        let mut text = BytesMut::new();
        while let Some(chunk) = self.field.chunk().await? {
            text.extend_from_slice(&chunk);
        }
        String::from_utf8(text.into()).map_err(|_| ApiError::InvalidForm)
    }
}

/// Why a body was not read to its end.
#[derive(Debug, Clone, Copy, thiserror::Error)]
enum Cut {
    #[error("nothing came for too long")]
    Stalled,
    #[error("the client went away")]
    Gone,
    #[error("too much besides the file")]
    TooMuch,
}

impl From<multer::Error> for ApiError {
    fn from(error: multer::Error) -> Self {
        let cut = match &error {
            multer::Error::StreamReadFailed(cause) => cause.downcast_ref(),
            _ => None,
        };
        match cut {
            Some(Cut::TooMuch) => Self::PayloadTooLarge,
            Some(Cut::Stalled | Cut::Gone) => Self::UploadIncomplete,
            None => Self::InvalidForm,
        }
    }
}

/// What comes of the connection at once, before any of it can be taken.
const CHUNK: u64 = 64 * 1024;
/// Bytes a second, once the patience is over.
const LEAST_RATE: u64 = 16 * 1024;

/// A body, chunk by chunk. The parser would take in all that it gets before it gives out anything, so it gets one chunk
/// at a time; and it keeps what belongs to no file, so that is bounded.
struct Arriving {
    chunks: BodyDataStream,
    patience: Duration,
    idle: Pin<Box<Sleep>>,
    waiting: bool,
    passed: bool,
    begun: Instant,
    seen: u64,
    taken: Arc<AtomicU64>,
    most_untaken: u64,
}

impl Stream for Arriving {
    type Item = Result<Bytes, Cut>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.passed) {
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let Poll::Ready(chunk) = self.chunks.poll_next_unpin(context) else {
            // Only waiting for the client counts, not what we do with what it sends.
            if !std::mem::replace(&mut self.waiting, true) {
                let until = Instant::now() + self.patience;
                self.idle.as_mut().reset(until);
            }
            ready!(self.idle.as_mut().poll(context));
            return Poll::Ready(Some(Err(Cut::Stalled)));
        };
        (self.waiting, self.passed) = (false, true);
        Poll::Ready(match chunk {
            Some(Ok(chunk)) => {
                self.seen += chunk.len() as u64;
                let untaken = self.seen.saturating_sub(self.taken.load(Ordering::Relaxed));
                let due = Duration::from_secs(self.seen / LEAST_RATE);
                Some(if untaken > self.most_untaken {
                    Err(Cut::TooMuch)
                } else if self.begun.elapsed() > self.patience + due {
                    // Whoever trickles holds a place that others wait for.
                    Err(Cut::Stalled)
                } else {
                    Ok(chunk)
                })
            }
            Some(Err(_)) => Some(Err(Cut::Gone)),
            None => None,
        })
    }
}
