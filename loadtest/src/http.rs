//! HTTP/1.1 as a load generator wants it: requests that are bytes already, over one connection, one after the other.
//!
//! By hand, because the generator shares its cores with what it measures: a general client spends several times more on
//! a request than the two system calls that are left here. It understands what Parley answers and refuses anything
//! else: every body has a `Content-Length`.

use anyhow::{Context, Result, bail};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// More than any answer that a scenario asks for.
const LONGEST: usize = 4 << 20;

/// One connection that is kept.
pub(crate) struct Connection {
    stream: TcpStream,
    /// The answer, whole.
    buffer: Vec<u8>,
}

/// What came back, whatever the status.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Answer<'a> {
    pub(crate) status: u16,
    pub(crate) body: &'a [u8],
}

impl Connection {
    /// Connects to `host:port`.
    pub(crate) async fn open(address: &str) -> Result<Self> {
        let stream = TcpStream::connect(address).await;
        let stream = stream.with_context(|| format!("cannot connect to {address}"))?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(4096) })
    }

    /// Sends a request and waits for its answer.
    pub(crate) async fn exchange(&mut self, request: &[u8]) -> Result<Answer<'_>> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        let head = loop {
            if let Some(head) = Head::parse(&self.buffer)? {
                break head;
            }
            self.read().await?;
        };
        let length = head.length + head.body;
        if length > LONGEST {
            bail!("an answer of {length} bytes");
        }
        while self.buffer.len() < length {
            self.read().await?;
        }
        if self.buffer.len() > length {
            bail!("more than one answer to one request");
        }
        Ok(Answer { status: head.status, body: &self.buffer[head.length..] })
    }

    async fn read(&mut self) -> Result<()> {
        if self.stream.read_buf(&mut self.buffer).await? == 0 {
            bail!("the server has closed the connection");
        }
        if self.buffer.len() > LONGEST {
            bail!("an answer without end");
        }
        Ok(())
    }
}

/// What the head of an answer says that matters here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Head {
    status: u16,
    /// Of the head itself.
    length: usize,
    /// Of the body.
    body: usize,
}

impl Head {
    /// `None` while the head is not complete.
    fn parse(bytes: &[u8]) -> Result<Option<Self>> {
        let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
            return Ok(None);
        };
        let text = std::str::from_utf8(&bytes[..end]).context("a head that is no text")?;
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")?.get(..3));
        let status = status.and_then(|digits| digits.parse().ok()).context("no HTTP/1.1 answer")?;
        let length = lines.filter_map(|line| line.split_once(':')).find_map(|(name, value)| {
            name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
        });
        let body = length.with_context(|| format!("{status} without Content-Length"))?;
        Ok(Some(Self { status, length: end + 4, body }))
    }
}

/// A whole request of this user; without a body it is one that reads.
pub(crate) fn request(method: &str, path: &str, token: &str, body: &str) -> Vec<u8> {
    let mut request = head(method, path, token, body.len());
    request.push_str(body);
    request.into_bytes()
}

/// Everything of a request that comes before its body.
pub(crate) fn head(method: &str, path: &str, token: &str, length: usize) -> String {
    let body = match length {
        0 => String::new(),
        _ => format!("Content-Type: application/json\r\nContent-Length: {length}\r\n"),
    };
    format!(
        "{method} {path} HTTP/1.1\r\nHost: parley\r\nAuthorization: Bearer {token}\r\n{body}\r\n"
    )
}

/// `host:port` of a pod's URL.
pub(crate) fn address(url: &str) -> &str {
    url.trim_start_matches("http://").trim_end_matches('/')
}

/// The id of the chat that an answer shows.
pub(crate) fn chat_id(answer: &[u8]) -> Result<String> {
    let answer: Value = serde_json::from_slice(answer)?;
    let id = answer["data"]["chat"]["_id"].as_str();
    Ok(id.with_context(|| format!("no chat in {answer}"))?.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_read_once_it_is_whole() {
        let whole = b"HTTP/1.1 201 Created\r\nContent-Type: x\r\ncontent-LENGTH:  5\r\n\r\nhello";
        let head = Head::parse(whole).unwrap().unwrap();
        assert_eq!(head, Head { status: 201, length: whole.len() - 5, body: 5 });
        for part in [&whole[..0], &whole[..30], &whole[..whole.len() - 6]] {
            assert_eq!(Head::parse(part).unwrap(), None);
        }
    }

    #[test]
    fn other_answers_are_refused() {
        for wrong in [
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n",
            "HTTP/1.0 200 OK\r\nContent-Length: 0\r\n\r\n",
            "SSH-2.0\r\n\r\n",
        ] {
            assert!(Head::parse(wrong.as_bytes()).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_request_without_body_has_no_length() {
        let text = |bytes| String::from_utf8(bytes).unwrap();
        let read = text(request("GET", "/a", "t", ""));
        assert_eq!(read, "GET /a HTTP/1.1\r\nHost: parley\r\nAuthorization: Bearer t\r\n\r\n");
        let write = text(request("POST", "/a", "t", "{}"));
        assert!(write.ends_with("Content-Length: 2\r\n\r\n{}"), "{write}");
        assert_eq!(address("http://127.0.0.1:80/"), "127.0.0.1:80");
    }

    #[tokio::test]
    async fn one_connection_serves_request_after_request() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let server = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut bytes = [0; 1024];
            for body in ["one", "", "three"] {
                assert!(stream.read(&mut bytes).await.unwrap() > 0);
                let length = body.len();
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
                // In pieces, as a network may bring it.
                stream.write_all(head.as_bytes()).await.unwrap();
                tokio::task::yield_now().await;
                stream.write_all(body.as_bytes()).await.unwrap();
            }
        });
        let mut connection = Connection::open(&address).await.unwrap();
        for body in ["one", "", "three"] {
            let answer = connection.exchange(&request("GET", "/", "t", "")).await.unwrap();
            assert_eq!(answer, Answer { status: 200, body: body.as_bytes() });
        }
        server.await.unwrap();
        assert!(connection.exchange(&request("GET", "/", "t", "")).await.is_err());
    }
}
