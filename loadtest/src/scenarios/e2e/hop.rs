//! Events through NATS, from one connection to another.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::window::WARM_UP;

/// About as long as the event of a send.
const EVENT: &str = include_str!("../../../../services/domain/tests/golden/new-message.json");
const PATIENCE: Duration = Duration::from_secs(5);
const SUBJECT: &str = "bench.hop";

/// Sends so many a second, for so long, and waits for each; how long they took after the warm-up, in microseconds.
pub(super) fn hops(url: &str, rate: u32, time: Duration) -> Result<Vec<u32>> {
    let mut listener = Connection::open(url)?;
    write!(listener.stream.get_mut(), "SUB {SUBJECT} 1\r\n")?;
    listener.settle()?;
    let mut speaker = Connection::open(url)?;
    speaker.settle()?;
    let beginning = Instant::now();
    let mut times = Vec::new();
    for turn in 0_u64.. {
        let due = Duration::from_secs(turn) / rate;
        if due >= time {
            break;
        }
        std::thread::sleep(due.saturating_sub(beginning.elapsed()));
        let from = Instant::now();
        let publish = format!("PUB {SUBJECT} {}\r\n{EVENT}\r\n", EVENT.len());
        speaker.stream.get_mut().write_all(publish.as_bytes())?;
        listener.message()?;
        if due >= WARM_UP {
            times.push(u32::try_from(from.elapsed().as_micros()).unwrap_or(u32::MAX));
        }
    }
    Ok(times)
}

struct Connection {
    stream: BufReader<TcpStream>,
}

impl Connection {
    fn open(url: &str) -> Result<Self> {
        let address = url.rsplit_once("//").map_or(url, |(_, address)| address);
        let stream = TcpStream::connect(address).context("cannot connect to NATS")?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut connection = Self { stream: BufReader::new(stream) };
        connection.stream.get_mut().write_all(b"CONNECT {\"verbose\":false}\r\n")?;
        Ok(connection)
    }

    /// Waits until the server has taken in all that was said.
    fn settle(&mut self) -> Result<()> {
        self.stream.get_mut().write_all(b"PING\r\n")?;
        while self.line()? != "PONG\r\n" {}
        Ok(())
    }

    fn message(&mut self) -> Result<()> {
        let line = self.line()?;
        let length = line.strip_prefix("MSG ").and_then(|rest| rest.trim_end().rsplit(' ').next());
        let length: usize = length.and_then(|it| it.parse().ok()).context("not a message")?;
        let mut payload = vec![0; length + 2];
        self.stream.read_exact(&mut payload)?;
        Ok(())
    }

    /// The next line that is not about whether anybody is still there.
    fn line(&mut self) -> Result<String> {
        loop {
            let mut line = String::new();
            if self.stream.read_line(&mut line)? == 0 {
                bail!("NATS has closed the connection");
            }
            match line.as_str() {
                "PING\r\n" => self.stream.get_mut().write_all(b"PONG\r\n")?,
                _ if line.starts_with("INFO ") => {}
                _ if line.starts_with("-ERR") => bail!("NATS says {}", line.trim_end()),
                _ => return Ok(line),
            }
        }
    }
}
