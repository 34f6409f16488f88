//! Files: kept as bytes under names of our own.

use std::path::Path;
use std::time::Instant;

use axum::http::Request;
use http_body_util::Full;
use serde_json::json;

use crate::actor::{World, failure};
use crate::uploads::{Form, PNG};

/// A PNG that says that it has 60 000 × 60 000 pixels, which would be 14 GB.
fn pixel_bomb() -> Vec<u8> {
    let mut png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    png.extend_from_slice(&60_000_u32.to_be_bytes());
    png.extend_from_slice(&60_000_u32.to_be_bytes());
    png.extend_from_slice(b"\x08\x06\0\0\0\0\0\0\0\0\0\0\0IDAT");
    png
}

#[tokio::test]
async fn class_16_no_image_is_ever_decoded() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let gif = [b"GIF89a\xff\xff\xff\xff\xf7\0\0".as_slice(), &[0x2c; 64]].concat();
    let jpeg = [b"\xff\xd8\xff\xc0\0\x11\x08\xff\xff\xff\xff\x03".as_slice(), &[1; 64]].concat();
    let begun = Instant::now();
    for (name, content) in [("a.png", pixel_bomb()), ("a.gif", gif), ("a.jpg", jpeg)] {
        let sent = alice.sends_file(&chat, name, &content).await;
        let url = sent["attachments"][0]["url"].as_str().unwrap();
        assert_eq!(sent["attachments"][0]["size"], content.len());
        let request = Request::get(world.url(url))
            .header("authorization", format!("Bearer {}", bob.token))
            .body(Full::default())
            .unwrap();
        let (_, body) = world.bytes(request).await;
        assert_eq!(body, content, "as it came: {name}");
    }
    assert!(begun.elapsed().as_secs() < 10, "{:?}", begun.elapsed());
    // A decoder that is not there decodes nothing.
    let lock = include_str!("../../../../../Cargo.lock");
    let names: Vec<_> = lock.lines().filter_map(|line| line.strip_prefix("name = \"")).collect();
    assert!(names.contains(&"tokio\""), "no list of crates");
    for decoder in [
        "image",
        "png",
        "jpeg-decoder",
        "zune-jpeg",
        "zune-image",
        "gif",
        "image-webp",
        "libwebp-sys",
        "ravif",
        "dav1d",
        "resvg",
        "usvg",
        "tiff",
        "exr",
        "imagesize",
        "magick_rust",
        "libvips",
        "ffmpeg-sys-next",
        "pdfium-render",
        "lopdf",
    ] {
        assert!(!names.contains(&format!("{decoder}\"").as_str()), "{decoder}");
    }
}

fn paths(folder: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.path() {
            path if path.is_dir() => found.extend(paths(&path)),
            path => found.push(path.to_str().unwrap().to_owned()),
        }
    }
    found
}

#[tokio::test]
async fn class_35_no_name_of_a_file_and_no_path_of_a_request_leads_elsewhere() {
    let world = World::new().await;
    let (alice, bob) = (world.user().await, world.user().await);
    let chat = alice.chat_with(&bob).await;
    let path = format!("/api/chat/{chat}/messages/file");
    for name in [
        "../../etc/passwd",
        "..\\..\\boot.ini",
        "/etc/passwd",
        "C:\\a.png",
        "a/b.png",
        "..",
        ".",
        "a\u{2028}.png",
    ] {
        let refused = alice.send_form(&path, Form::file(name, PNG)).await;
        assert_eq!(refused.failure(), failure(400, "invalid_request"), "{name}");
    }
    for name in ["..png", "%2e%2e%2fpasswd.png", "a.png;x", "~root.png", "$(id).png", "CON.png"] {
        let sent = alice.sends_file(&chat, name, PNG).await;
        assert_eq!(sent["attachments"][0]["filename"], name);
    }
    let kept = paths(world.files.path());
    assert_eq!(kept.len(), 6, "{kept:?}");
    for file in kept {
        let key = file.strip_prefix(world.files.path().to_str().unwrap()).unwrap();
        let own = key.strip_suffix("/file").unwrap_or_else(|| panic!("another name: {key}"));
        assert!(own.chars().all(|c| c.is_ascii_hexdigit() || c == '/'), "a key of ours: {key}");
    }
    for id in ["..", "%2e%2e", "..%2f..%2f..%2fetc%2fpasswd", "%00", "..%5c..%5cboot.ini", "a%2fb"]
    {
        for end in ["", "/link"] {
            let url = format!("/api/chat/{chat}/attachments/{id}{end}");
            let refused = alice.get(&url).await.status.as_u16();
            assert!([400, 404].contains(&refused), "{refused}: {url}");
        }
    }
    let absent = json!({ "content": "x", "attachments": [{ "key": "../../etc/passwd" }] });
    let sent = alice.post(&format!("/api/chat/{chat}/messages"), absent).await.data();
    assert_eq!(sent["message"]["attachments"], json!([]), "no file comes of a name");
}
