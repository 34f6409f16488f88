//! Where the bytes of files are kept.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use object_store::aws::AmazonS3Builder;
use object_store::{ClientOptions, RetryConfig};
use secrecy::{ExposeSecret, SecretString};

use crate::FilesError;
use crate::partial::PartialConnector;

/// The storage of files: a folder, or a bucket of an S3-compatible store.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Storage of files")]
pub struct StorageSettings {
    /// The folder, shared by all api pods; not used when there is a bucket
    #[arg(long, env = "PARLEY_FILES_FOLDER", default_value = "files", value_name = "FOLDER")]
    pub files_folder: PathBuf,

    /// A bucket of an S3-compatible store, instead of the folder
    #[arg(long, env = "PARLEY_S3_BUCKET", value_name = "NAME")]
    pub s3_bucket: Option<String>,

    /// Where the store is, `https://host[:port]`; Amazon's own by default
    #[arg(long, env = "PARLEY_S3_ENDPOINT", value_name = "URL")]
    pub s3_endpoint: Option<String>,

    /// The store's region
    #[arg(long, env = "PARLEY_S3_REGION", default_value = "us-east-1", value_name = "REGION")]
    pub s3_region: String,

    /// The access key; without one, what the machine's role gives
    #[arg(long, env = "PARLEY_S3_ACCESS_KEY", hide_env_values = true, value_name = "KEY")]
    pub s3_access_key: Option<SecretString>,

    /// The secret of the access key
    #[arg(long, env = "PARLEY_S3_SECRET_KEY", hide_env_values = true, value_name = "SECRET")]
    pub s3_secret_key: Option<SecretString>,

    /// Whether the bucket stands in the path, as most stores but Amazon's want it, or in the host's name
    #[arg(long, env = "PARLEY_S3_PATH_STYLE", default_value_t = true, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub s3_path_style: bool,

    /// Whether the store may be spoken to without TLS
    #[arg(long, env = "PARLEY_S3_ALLOW_HTTP", default_value_t = false, action = clap::ArgAction::Set, value_name = "BOOL")]
    pub s3_allow_http: bool,

    /// Milliseconds that one request to the store may take
    #[arg(long, env = "PARLEY_S3_MS", default_value_t = 30_000, value_parser = clap::value_parser!(u64).range(100..=300_000), value_name = "MS")]
    pub s3_ms: u64,
}

impl StorageSettings {
    /// Tests what can be tested without the store.
    pub fn check(&self) -> Result<(), FilesError> {
        if self.s3_bucket.is_some() { self.s3().map(drop) } else { Ok(()) }
    }

    pub(crate) fn s3(&self) -> Result<object_store::aws::AmazonS3, FilesError> {
        let wrong = |text: &str| Err(FilesError::Settings(text.to_owned()));
        let Some(bucket) = &self.s3_bucket else { return wrong("PARLEY_S3_BUCKET is not set") };
        if self.s3_access_key.is_some() != self.s3_secret_key.is_some() {
            return wrong("PARLEY_S3_ACCESS_KEY and PARLEY_S3_SECRET_KEY go together");
        }
        let patience = Duration::from_millis(self.s3_ms);
        let options = ClientOptions::new()
            .with_timeout(patience)
            .with_connect_timeout(patience.min(Duration::from_secs(5)))
            .with_allow_http(self.s3_allow_http);
        let retries =
            RetryConfig { max_retries: 3, retry_timeout: patience, ..RetryConfig::default() };
        let mut builder = AmazonS3Builder::new()
            .with_bucket_name(bucket)
            .with_region(&self.s3_region)
            .with_virtual_hosted_style_request(!self.s3_path_style)
            .with_client_options(options)
            .with_http_connector(PartialConnector)
            .with_retry(retries);
        if let Some(endpoint) = &self.s3_endpoint {
            if !self.s3_allow_http && !endpoint.starts_with("https://") {
                return wrong(
                    "PARLEY_S3_ENDPOINT is no https:// URL, and PARLEY_S3_ALLOW_HTTP is not true",
                );
            }
            builder = builder.with_endpoint(endpoint.trim_end_matches('/'));
        }
        if let (Some(key), Some(secret)) = (&self.s3_access_key, &self.s3_secret_key) {
            builder = builder
                .with_access_key_id(key.expose_secret())
                .with_secret_access_key(secret.expose_secret());
        }
        builder.build().map_err(|error| FilesError::Settings(format!("PARLEY_S3_*: {error}")))
    }
}
