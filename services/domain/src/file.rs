//! Files: what one may be called, and what it is by its content. What a client declares about its type is never asked.

use std::str::FromStr;

use crate::Invalid;
use crate::shown;

/// Most characters of a file's name.
pub const MAX_FILE_NAME: usize = 255;
/// How much of a file's beginning is looked at.
const HEAD: usize = 4096;

/// A file's name as uploaded: 1–255 characters, no part of a path, nothing that cannot be seen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileName(Box<str>);

impl FileName {
    /// Accepts a name within the limits.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        let wrong = |rule: &str| Err(Invalid::new("file", format!("must have a name that {rule}")));
        if text.trim().is_empty() || text.chars().count() > MAX_FILE_NAME {
            return wrong("has 1 to 255 characters");
        }
        if text.contains(['/', '\\']) || text == "." || text == ".." {
            return wrong("is no path");
        }
        if text.chars().any(|c| c.is_control() || turns_text(c)) {
            return wrong("has no control characters");
        }
        Ok(Self(text.into()))
    }

    /// The name as uploaded.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// What follows the last dot, in lower case.
    fn extension(&self) -> String {
        self.0.rsplit_once('.').map(|(_, end)| end.to_ascii_lowercase()).unwrap_or_default()
    }
}

/// Characters that change how what stands around them is shown: `gpj.exe` must not look like `exe.jpg`.
const fn turns_text(c: char) -> bool {
    shown::misleads(c) || matches!(c, '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}')
}

/// The type of a file, found from its content.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FileType(&'static str);

/// Types that a browser may run as a page or a script of its own.
const ACTIVE: [FileType; 5] =
    [FileType::HTML, FileType::SVG, FileType::XML, FileType::JAVASCRIPT, FileType::STYLE];

/// Types that a browser shows without running anything.
const SHOWN: [&str; 22] = [
    "application/pdf",
    "audio/aac",
    "audio/m4a",
    "audio/midi",
    "audio/mpeg",
    "audio/ogg",
    "audio/opus",
    "audio/x-flac",
    "audio/x-wav",
    "image/avif",
    "image/bmp",
    "image/gif",
    "image/heif",
    "image/jpeg",
    "image/png",
    "image/webp",
    "text/plain",
    "video/mp4",
    "video/ogg",
    "video/quicktime",
    "video/webm",
    "video/x-m4v",
];

impl FileType {
    const HTML: Self = Self("text/html");
    const JAVASCRIPT: Self = Self("text/javascript");
    const PDF: &'static str = "application/pdf";
    const PLAIN: Self = Self("text/plain");
    const RTF: &'static str = "application/rtf";
    const STYLE: Self = Self("text/css");
    const SVG: Self = Self("image/svg+xml");
    const XML: Self = Self("text/xml");

    /// As in a `Content-Type`.
    pub const fn as_str(self) -> &'static str {
        self.0
    }

    fn is_active(self) -> bool {
        ACTIVE.contains(&self)
    }

    fn is_executable(self) -> bool {
        EXECUTABLE.contains(&self.0)
    }
}

/// Under which `Content-Type` a file of this type is given out, and whether a browser may show it in place. What a
/// browser could run is only ever a download, and of no type.
pub fn serving(mime_type: &str) -> (&str, bool) {
    if ACTIVE.iter().any(|active| active.0 == mime_type) {
        return ("application/octet-stream", false);
    }
    (mime_type, SHOWN.contains(&mime_type))
}

/// Looks at a file as it passes, and says at its end what it is.
#[derive(Debug, Default)]
pub struct Sniffer {
    head: Vec<u8>,
    text: TextState,
}

/// Whether everything so far is text.
#[derive(Debug)]
enum TextState {
    /// It is; these bytes begin a character.
    Text(Vec<u8>),
    Binary,
}

impl Default for TextState {
    fn default() -> Self {
        Self::Text(Vec::new())
    }
}

impl Sniffer {
    /// The next bytes of the file.
    pub fn look(&mut self, chunk: &[u8]) {
        let room = HEAD.saturating_sub(self.head.len()).min(chunk.len());
        self.head.extend_from_slice(&chunk[..room]);
        let TextState::Text(begun) = &mut self.text else { return };
        // A character's rest, at most three bytes, comes with the next chunk.
        let rest = if begun.is_empty() { 0 } else { chunk.len().min(4) };
        begun.extend_from_slice(&chunk[..rest]);
        self.text = match text_so_far(begun) {
            TextState::Text(again) if again.len() <= rest => {
                text_so_far(&chunk[rest - again.len()..])
            }
            other => other,
        };
    }

    /// What the file was, under this name; `None` for what is not known.
    pub fn finish(self, name: &FileName) -> Option<FileType> {
        let magic = infer::get(&self.head).map(|found| found.mime_type());
        // Bytes that happen to begin a text ("BM", "MZ") make it nothing else; a PDF may well be all ASCII.
        let is_text = matches!(&self.text, TextState::Text(begun) if begun.is_empty())
            && !matches!(magic, Some(FileType::PDF | FileType::RTF));
        if is_text {
            return Some(text_type(&self.head, name));
        }
        // Of text types, only whole texts are any.
        magic.filter(|mime| !mime.starts_with("text/")).map(FileType)
    }
}

/// Control characters other than white space and escape are in no text.
fn text_so_far(bytes: &[u8]) -> TextState {
    let binary = |b: &u8| matches!(b, 0..=8 | 0x0b | 0x0e..=0x1a | 0x1c..=0x1f | 0x7f);
    if bytes.iter().any(binary) {
        return TextState::Binary;
    }
    match std::str::from_utf8(bytes) {
        Ok(_) => TextState::Text(Vec::new()),
        Err(error) if error.error_len().is_none() => {
            TextState::Text(bytes[error.valid_up_to()..].to_vec())
        }
        Err(_) => TextState::Binary,
    }
}

/// What a browser would run is told by how it looks or by its name, whichever is worse.
fn text_type(head: &[u8], name: &FileName) -> FileType {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let start = head.trim_start_matches(|c: char| c == '\u{feff}' || c.is_whitespace());
    let markup = start.starts_with('<');
    if head.contains("<svg") || name.extension().starts_with("svg") {
        return FileType::SVG;
    }
    if ["<html", "<script", "<body", "<iframe", "<!doctype html"].iter().any(|it| head.contains(it))
    {
        return FileType::HTML;
    }
    if start.starts_with("<?xml") {
        return FileType::XML;
    }
    if markup {
        return FileType::HTML;
    }
    if ["#!", "\"use strict\"", "'use strict'", "(function", "(()=>", "(() =>"]
        .iter()
        .any(|it| start.starts_with(it))
    {
        return FileType::JAVASCRIPT;
    }
    match name.extension().as_str() {
        "htm" | "html" | "xhtml" | "xht" | "shtml" | "hta" | "mht" | "mhtml" => FileType::HTML,
        "xml" | "xsl" | "xslt" | "rss" | "atom" | "rdf" | "xsd" => FileType::XML,
        "js" | "mjs" | "cjs" | "jsx" | "ts" | "tsx" | "vbs" | "wsf" => FileType::JAVASCRIPT,
        "css" => FileType::STYLE,
        _ => FileType::PLAIN,
    }
}

/// What a system installs or runs, as the sniffer calls it.
const EXECUTABLE: [&str; 12] = [
    "application/java",
    "application/java-archive",
    "application/vnd.android.dex",
    "application/vnd.android.dey",
    "application/vnd.debian.binary-package",
    "application/vnd.microsoft.portable-executable",
    "application/vnd.ms-cab-compressed",
    "application/wasm",
    "application/x-executable",
    "application/x-mach-binary",
    "application/x-rpm",
    "application/x-sharedlib",
];

/// Types that may be uploaded: `image/png`, or a beginning such as `image/*`, which never stands for what a browser or a system runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TypePattern(Box<str>);

impl TypePattern {
    /// Whether it stands for this type.
    pub fn allows(&self, file_type: FileType) -> bool {
        match self.0.strip_suffix('*') {
            Some(beginning) => {
                let runs = file_type.is_active() || file_type.is_executable();
                file_type.0.starts_with(beginning) && !runs
            }
            None => *self.0 == *file_type.0,
        }
    }
}

impl FromStr for TypePattern {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let named = text.strip_suffix('*').unwrap_or(text);
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || "/+-._".contains(c);
        if named.chars().all(known) && (text == "*" || named.matches('/').count() == 1) {
            return Ok(Self(text.into()));
        }
        Err(format!("{text:?} is no type, as image/png or image/* is"))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> FileName {
        FileName::parse(text).unwrap()
    }

    fn found(file: &[u8], called: &str) -> Option<&'static str> {
        let mut sniffer = Sniffer::default();
        sniffer.look(file);
        sniffer.finish(&name(called)).map(FileType::as_str)
    }

    #[test]
    fn a_star_stands_for_nothing_that_a_system_runs() {
        let program = b"MZ\x90\x00\x03\x00\x00\x00\x04\x00\x00\x00\xff\xff";
        assert_eq!(
            found(program, "invoice.pdf"),
            Some("application/vnd.microsoft.portable-executable")
        );
        for (pattern, allowed) in [
            ("*", false),
            ("application/*", false),
            ("application/vnd.*", false),
            ("application/vnd.microsoft.portable-executable", true),
        ] {
            let mut sniffer = Sniffer::default();
            sniffer.look(program);
            let file_type = sniffer.finish(&name("a.exe")).unwrap();
            assert_eq!(
                pattern.parse::<TypePattern>().unwrap().allows(file_type),
                allowed,
                "{pattern}"
            );
        }
    }

    #[test]
    fn names_are_kept_but_are_no_paths() {
        for good in ["a", "photo.png", "…", ".bashrc", "a..b", "Ünïcode 文件.txt", "a\"b;c=d.txt"]
        {
            assert_eq!(name(good).as_str(), good);
        }
        let long = "x".repeat(256);
        for bad in [
            "",
            " ",
            ".",
            "..",
            "../x",
            "a/b",
            "a\\b",
            "/etc/passwd",
            "C:\\x",
            "a\0b",
            "a\nb",
            "a\u{202e}gpj.exe",
            "a\u{85}",
            &long,
        ] {
            assert!(FileName::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn a_type_is_what_the_content_says() {
        let png = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR";
        for (file, called, expected) in [
            (&png[..], "x.png", Some("image/png")),
            (png, "x.html", Some("image/png")),
            (b"<html><script>alert(1)</script>", "x.png", Some("text/html")),
            (b" \xef\xbb\xbf <!DOCTYPE html>", "x.png", Some("text/html")),
            (b"words, and then <script>alert(1)</script>", "x.txt", Some("text/html")),
            (b"<b>bold", "x.txt", Some("text/html")),
            (
                b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>",
                "x",
                Some("image/svg+xml"),
            ),
            (b"<?xml version='1.0'?><svg/>", "x.png", Some("image/svg+xml")),
            (b"<?xml version='1.0'?><a/>", "x.png", Some("text/xml")),
            (b"alert(1)", "x.js", Some("text/javascript")),
            (b"'use strict'; alert(1)", "x.txt", Some("text/javascript")),
            (b"GIF89a=1;alert(1)", "x.JS", Some("text/javascript")),
            (b"GIF89a=1;alert(1)", "x.gif", Some("text/plain")),
            (b"BMW is a car", "x.bmp", Some("text/plain")),
            (b"a { color: red }", "x.css", Some("text/css")),
            (b"plain words", "x.png", Some("text/plain")),
            ("größe".as_bytes(), "x.md", Some("text/plain")),
            (b"", "empty", Some("text/plain")),
            (b"PK\x03\x04\x14\0\0\0\x08\0", "x.png", Some("application/zip")),
            (b"%PDF-1.7\n1 0 obj", "x.exe", Some("application/pdf")),
            (b"\xff\xfe<\0h\0t\0m\0l\0>\0", "x.html", None),
            (b"<html>\xff\xff", "x.png", None),
            (b"\0\x01\x02\x03\x04", "x.png", None),
        ] {
            assert_eq!(found(file, called), expected, "{}", String::from_utf8_lossy(file));
        }
    }

    #[test]
    fn what_a_browser_could_run_is_a_download_of_no_type() {
        for active in ACTIVE {
            assert_eq!(serving(active.as_str()), ("application/octet-stream", false));
        }
        assert_eq!(serving("image/png"), ("image/png", true));
        assert_eq!(serving("application/zip"), ("application/zip", false));
    }

    #[test]
    fn a_pattern_with_a_star_never_allows_what_runs() {
        let pattern = |text: &str| text.parse::<TypePattern>().unwrap();
        assert!(pattern("image/*").allows(FileType("image/png")));
        assert!(!pattern("image/*").allows(FileType::SVG));
        assert!(!pattern("*").allows(FileType::HTML));
        assert!(pattern("text/html").allows(FileType::HTML));
        assert!(!pattern("image/png").allows(FileType("image/jpeg")));
        for bad in ["", "png", "image/png/x", "Image/png", "*/*", "im*ge/png"] {
            assert!(bad.parse::<TypePattern>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn how_a_file_is_cut_does_not_matter(text in "[a-zéß用😀]{0,40}", cuts in proptest::collection::vec(1_usize..6, 0..60), broken in any::<bool>()) {
            let mut bytes = text.into_bytes();
            if broken {
                bytes.push(0xe2);
            }
            let whole = found(&bytes, "x");
            let mut sniffer = Sniffer::default();
            let mut rest = &bytes[..];
            for cut in cuts {
                let (chunk, others) = rest.split_at(cut.min(rest.len()));
                sniffer.look(chunk);
                rest = others;
            }
            sniffer.look(rest);
            prop_assert_eq!(sniffer.finish(&name("x")).map(FileType::as_str), whole);
            prop_assert_eq!(whole.is_none(), broken);
        }
    }
}
