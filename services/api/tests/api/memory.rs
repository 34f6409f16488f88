//! How much memory a file takes on its way through a pod: a real process, as the kernel sees it.

use parley_local::testing;
use serde_json::Value;
use tempfile::TempDir;

use crate::pod::Pod;

const FILE: usize = 25 * 1024 * 1024;
const MIB: u64 = 1024 * 1024;

/// How much more memory it takes, up and down.
fn a_large_file_passes_through(storage: &[(&str, &str)]) -> (u64, u64) {
    let folder = TempDir::new().unwrap();
    let database = testing::fresh_database(&testing::database_url());
    let pod = Pod::start(&database, folder.path(), storage);
    let chat = pod.chat();
    let url_of = |answer: &Value| {
        answer["data"]["message"]["attachments"][0]["url"].as_str().unwrap().to_owned()
    };
    // What the process does for the first time takes memory that no file is to blame for: code, and connections.
    let (_, small) = pod.upload(&chat, 1024);
    pod.call(&format!("GET {}", url_of(&small)), &[b""]);

    let before = pod.status("VmRSS");
    let (up, (head, answer)) = pod.growth(before, || pod.upload(&chat, FILE));
    assert!(head.starts_with("HTTP/1.1 201"), "{head}");
    let (down, (head, _, length)) =
        pod.growth(before, || pod.call(&format!("GET {}", url_of(&answer)), &[b""]));
    assert!(head.starts_with("HTTP/1.1 200") && length == FILE, "{head}");

    let (head, answer) = pod.upload(&chat, FILE + 1);
    assert!(head.starts_with("HTTP/1.1 413"), "{head}");
    assert_eq!(answer["error"]["code"], "payload_too_large");
    (up, down)
}

#[test]
fn i9_25_mib_through_a_pod_take_less_than_4_with_a_folder() {
    let (up, down) = a_large_file_passes_through(&[]);
    println!("folder: 25 MiB take {} KiB up, {} KiB down", up / 1024, down / 1024);
    assert!(up < 4 * MIB && down < 4 * MIB, "{up} up, {down} down");
}

#[test]
fn i9_25_mib_through_a_pod_take_less_than_16_with_a_bucket() {
    let bucket = testing::bucket();
    let storage = [
        ("PARLEY_S3_BUCKET", bucket.name.as_str()),
        ("PARLEY_S3_ENDPOINT", &bucket.endpoint),
        ("PARLEY_S3_ACCESS_KEY", &bucket.access_key),
        ("PARLEY_S3_SECRET_KEY", &bucket.secret_key),
        ("PARLEY_S3_ALLOW_HTTP", "true"),
    ];
    let (up, down) = a_large_file_passes_through(&storage);
    println!("bucket: 25 MiB take {} KiB up, {} KiB down", up / 1024, down / 1024);
    assert!(up < 16 * MIB && down < 16 * MIB, "{up} up, {down} down");
}
