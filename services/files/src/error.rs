//! What can go wrong below, as facts.

/// An object that was not written, read or removed.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// The settings cannot be used.
    #[error("{0}")]
    Settings(String),
    /// There is no such object.
    #[error("there is no such object")]
    NotFound,
    /// The store does not answer, refuses us, or is full. Trying again may help.
    #[error("the storage of files is unavailable: {0}")]
    Unavailable(String),
}

impl From<object_store::Error> for FilesError {
    fn from(error: object_store::Error) -> Self {
        match error {
            object_store::Error::NotFound { .. } => Self::NotFound,
            other => Self::Unavailable(other.to_string()),
        }
    }
}

impl From<std::io::Error> for FilesError {
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            std::io::ErrorKind::NotFound => Self::NotFound,
            _ => Self::Unavailable(error.to_string()),
        }
    }
}
