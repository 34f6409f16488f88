//! A server of the host application, as little of one as there can be: it shares its cores with what is measured.

use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result};
use parking_lot::Mutex;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

const ANSWER: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";

/// Messages that were told, and what was wrong with it.
#[derive(Debug, Default)]
pub(super) struct Heard {
    /// Ids of events.
    ids: HashSet<String>,
    /// The last seq of each chat.
    last: HashMap<String, u64>,
    /// Different events.
    pub(super) events: u64,
    /// Events that came again under their id.
    pub(super) again: u64,
    /// Events that came after a later one of their chat.
    pub(super) disordered: u64,
    /// Of each event, when it came first, and how long after its message's time: microseconds.
    pub(super) latencies: Vec<(u64, u32)>,
}

/// A receiver on a thread of its own; it ends with the process.
#[derive(Clone)]
pub(super) struct Receiver {
    pub(super) address: SocketAddr,
    heard: Arc<Mutex<Heard>>,
    away: Arc<AtomicBool>,
    /// Ends every connection.
    hang_up: watch::Sender<()>,
}

impl Receiver {
    pub(super) fn start() -> Result<Self> {
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let receiver = Self {
            address,
            heard: Arc::default(),
            away: Arc::default(),
            hang_up: watch::channel(()).0,
        };
        let serving = receiver.clone();
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        std::thread::spawn(move || runtime.block_on(serving.serve(listener)));
        Ok(receiver)
    }

    /// From here on, connections are closed as soon as they are made.
    pub(super) fn goes_away(&self) {
        self.away.store(true, Ordering::SeqCst);
        self.hang_up.send_replace(());
    }

    pub(super) fn comes_back(&self) {
        self.away.store(false, Ordering::SeqCst);
    }

    /// Looks at what was heard.
    pub(super) fn look<T>(&self, at: impl FnOnce(&Heard) -> T) -> T {
        at(&self.heard.lock())
    }

    async fn serve(self, listener: std::net::TcpListener) -> Result<()> {
        let listener = TcpListener::from_std(listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            if self.away.load(Ordering::SeqCst) {
                continue;
            }
            let (heard, mut ended) = (self.heard.clone(), self.hang_up.subscribe());
            ended.mark_unchanged();
            tokio::spawn(async move {
                tokio::select! {
                    _ = ended.changed() => {}
                    _ = converse(stream, &heard) => {}
                }
            });
        }
    }
}

async fn converse(mut stream: TcpStream, heard: &Mutex<Heard>) -> Result<()> {
    let mut buffer = Vec::with_capacity(8192);
    loop {
        let whole = loop {
            if let Some(whole) = whole(&buffer)? {
                break whole;
            }
            if stream.read_buf(&mut buffer).await? == 0 {
                return Ok(());
            }
        };
        let text = std::str::from_utf8(&buffer[..whole])?;
        heard.lock().note(text, now()?)?;
        stream.write_all(ANSWER).await?;
        buffer.drain(..whole);
    }
}

/// The length of the request at the beginning, once it is whole.
fn whole(buffer: &[u8]) -> Result<Option<usize>> {
    let Some(end) = buffer.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = std::str::from_utf8(&buffer[..end])?;
    let length: usize = header(head, "content-length").context("no length")?.parse()?;
    let whole = end + 4 + length;
    Ok((buffer.len() >= whole).then_some(whole))
}

fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let mut lines = head.lines().filter_map(|line| line.split_once(':'));
    lines.find(|(it, _)| it.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim())
}

/// What follows a field's name, up to its end: enough for what Parley writes.
fn field<'a>(body: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = body.split_once(&format!("\"{name}\":"))?;
    rest.split([',', '}']).next().map(|value| value.trim_matches('"'))
}

fn now() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?)
}

impl Heard {
    fn note(&mut self, request: &str, now: u64) -> Result<()> {
        let (head, body) = request.split_once("\r\n\r\n").context("no body")?;
        let id = header(head, "webhook-id").context("no id")?;
        if !self.ids.insert(id.to_owned()) {
            self.again += 1;
            return Ok(());
        }
        let chat = field(body, "chatId").context("no chat")?;
        let seq: u64 = field(body, "seq").context("no seq")?.parse()?;
        let at = field(body, "createdAt").context("no time")?;
        let at = chrono::DateTime::parse_from_rfc3339(at)?.timestamp_micros().cast_unsigned();
        let took = u32::try_from(now.saturating_sub(at)).unwrap_or(u32::MAX);
        self.events += 1;
        self.latencies.push((now, took));
        let last = self.last.entry(chat.to_owned()).or_default();
        self.disordered += u64::from(seq < *last);
        *last = seq.max(*last);
        Ok(())
    }

    /// How long those took that came between two moments, the shortest first.
    pub(super) fn between(&self, (from, to): (u64, u64)) -> Vec<u32> {
        let inside = self.latencies.iter().filter(|(at, _)| (from..to).contains(at));
        let mut latencies: Vec<u32> = inside.map(|(_, took)| *took).collect();
        latencies.sort_unstable();
        latencies
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(id: &str, seq: u64) -> String {
        let body = format!(
            r#"{{"type":"message.created","data":{{"chatId":"c1","message":{{"seq":{seq},"createdAt":"1970-01-01T00:00:01.000Z"}}}}}}"#
        );
        format!(
            "POST / HTTP/1.1\r\nwebhook-id: {id}\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )
    }

    #[test]
    fn what_comes_again_or_too_late_is_noticed() {
        let mut heard = Heard::default();
        for (id, seq) in [("a", 1), ("b", 2), ("b", 2), ("d", 4), ("c", 3)] {
            let request = request(id, seq);
            assert_eq!(whole(request.as_bytes()).unwrap(), Some(request.len()));
            heard.note(&request, 1_250_000).unwrap();
        }
        assert_eq!((heard.events, heard.again, heard.disordered), (4, 1, 1));
        assert_eq!(heard.between((0, 2_000_000)), [250_000; 4]);
        assert_eq!(whole(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{").unwrap(), None);
    }
}
