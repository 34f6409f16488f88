use std::path::Path;

use clap::Parser;
use futures_util::TryStreamExt;
use parley_files::{FilesError, Storage, StorageSettings, storage_key};
use parley_local::testing;
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use uuid::Uuid;

#[derive(Parser)]
struct Settings {
    #[command(flatten)]
    storage: StorageSettings,
}

fn open(arguments: &[&str]) -> Result<Storage, FilesError> {
    let settings = Settings::try_parse_from(["test"].iter().chain(arguments)).unwrap().storage;
    settings.check()?;
    Storage::open(&settings)
}

fn folder(folder: &TempDir) -> Storage {
    open(&["--files-folder", folder.path().to_str().unwrap()]).unwrap()
}

fn bucket(secret: Option<&str>) -> Storage {
    // As a process does at its start.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let bucket = testing::bucket();
    let mut arguments = vec!["--s3-bucket", &bucket.name, "--s3-endpoint", &bucket.endpoint];
    arguments.extend(["--s3-access-key", &bucket.access_key]);
    arguments.extend(["--s3-secret-key", secret.unwrap_or(&bucket.secret_key)]);
    arguments.extend(["--s3-allow-http", "true", "--s3-ms", "10000"]);
    open(&arguments).unwrap()
}

fn key() -> String {
    storage_key(Uuid::now_v7().into())
}

fn content(length: usize) -> Vec<u8> {
    (0..length).map(|n| u8::try_from(n % 251).unwrap()).collect()
}

async fn read(storage: &Storage, key: &str, range: std::ops::Range<u64>) -> Option<Vec<u8>> {
    match storage.read(key, range).await {
        Ok(pieces) => {
            let pieces: Vec<_> = pieces.try_collect().await.unwrap();
            Some(pieces.concat())
        }
        Err(FilesError::NotFound) => None,
        Err(error) => panic!("{error}"),
    }
}

async fn what_is_written_is_read_and_removed(storage: Storage) {
    // Nothing, less than a part, exactly one, and several with a rest.
    for length in [0, 1, 100_000, 5 * 1024 * 1024, 11 * 1024 * 1024 + 7] {
        let (key, content) = (key(), content(length));
        let mut upload = storage.upload(&key);
        for chunk in content.chunks(70_001) {
            upload.write(chunk).await.unwrap();
            assert_eq!(
                read(&storage, &key, 0..1).await,
                None,
                "it is not there before it is whole"
            );
        }
        let stored = upload.finish().await.unwrap();
        let size = content.len() as u64;
        assert_eq!(stored.size, size);
        assert_eq!(stored.digest, <[u8; 32]>::from(Sha256::digest(&content)));
        assert!(read(&storage, &key, 0..size).await.unwrap() == content, "{length}");
        if size > 10 {
            let part = read(&storage, &key, 3..size - 2).await.unwrap();
            assert!(part == content[3..length - 2], "{length}");
        }
        storage.remove(&key).await.unwrap();
        assert_eq!(read(&storage, &key, 0..1).await, None);
        storage.remove(&key).await.unwrap();
    }
}

async fn an_upload_that_is_given_up_is_not_there(storage: &Storage) {
    let key = key();
    let mut upload = storage.upload(&key);
    upload.write(&content(6 * 1024 * 1024)).await.unwrap();
    upload.abort().await;
    assert_eq!(read(storage, &key, 0..1).await, None);
}

#[tokio::test]
async fn what_is_written_is_read_and_removed_in_a_folder() {
    let place = TempDir::new().unwrap();
    what_is_written_is_read_and_removed(folder(&place)).await;
    assert_eq!(files(place.path()), 0);
}

#[tokio::test]
async fn what_is_written_is_read_and_removed_in_a_bucket() {
    what_is_written_is_read_and_removed(bucket(None)).await;
}

#[tokio::test]
async fn an_upload_that_is_given_up_is_not_there_in_a_folder() {
    let place = TempDir::new().unwrap();
    an_upload_that_is_given_up_is_not_there(&folder(&place)).await;
    assert_eq!(files(place.path()), 0);
}

#[tokio::test]
async fn an_upload_that_is_given_up_is_not_there_in_a_bucket() {
    an_upload_that_is_given_up_is_not_there(&bucket(None)).await;
}

#[tokio::test]
async fn what_a_crash_leaves_in_a_folder_goes_with_its_object() {
    let place = TempDir::new().unwrap();
    let storage = folder(&place);
    let key = key();
    let mut upload = storage.upload(&key);
    upload.write(&content(1024 * 1024)).await.unwrap();
    // A process that dies drops nothing.
    std::mem::forget(upload);
    assert_eq!(files(place.path()), 1);
    storage.remove(&key).await.unwrap();
    assert_eq!(files(place.path()), 0);
}

#[tokio::test]
async fn a_store_that_does_not_know_us_is_unavailable() {
    let storage = bucket(Some("not the secret key"));
    let mut upload = storage.upload(&key());
    upload.write(b"x").await.unwrap();
    assert!(matches!(upload.finish().await, Err(FilesError::Unavailable(_))));
}

#[test]
fn settings_that_cannot_work_are_refused_before_anything_is_stored() {
    for (arguments, about) in [
        (&["--s3-bucket", "b", "--s3-access-key", "a"][..], "go together"),
        (&["--s3-bucket", "b", "--s3-endpoint", "http://store"], "ALLOW_HTTP"),
        (&["--files-folder", "/proc/nowhere"], "PARLEY_FILES_FOLDER"),
    ] {
        let error = open(arguments).unwrap_err().to_string();
        assert!(error.contains(about), "{error}");
    }
}

fn files(folder: &Path) -> usize {
    let entries = std::fs::read_dir(folder).unwrap().flatten();
    entries.map(|it| if it.path().is_dir() { files(&it.path()) } else { 1 }).sum()
}
