//! Sends into rooms of more and more participants, none of whom listens.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use parley_local::{Cluster, Home, Interrupt, postgres_programs, say};

use super::{Arguments, Bar, Told};
use crate::database::Database;
use crate::http::{Connection, address};
use crate::load::{Requests as _, on_this_thread};
use crate::measured;
use crate::plot::{Line, Plot};
use crate::report::{Measure, Range, Side};
use crate::scenarios::fanout::hall::{Shape, furnish};
use crate::scenarios::send::requests::{Client, Sender};
use crate::servers::{Servers, Spent};

/// How many are in each room, and what its column is called.
const ROOMS: [(u32, &str); 4] =
    [(2, "2 people"), (100, "100 people"), (1_000, "1,000 people"), (10_000, "10,000 people")];
const FIRST: usize = 0;
const LAST: usize = ROOMS.len() - 1;
/// Who sends: the same two in every room.
const SENDERS: u32 = 2;
/// Sends of a round before those whose CPU counts.
const WARM_UP: u32 = 200;
/// How much more or less a send may write into the largest room than into the smallest.
const APART: f64 = 0.05;
/// The database tells within ten seconds what it has counted.
const COUNTED_WITHIN: Duration = Duration::from_secs(20);

const GROUPS: [&str; 4] = ["api", "postgres", "redis", "nats"];
const ROWS: usize = 4;
const WAL: usize = 8;
const RECORDS: usize = 9;
const MEASURES: [Measure; 12] = [
    Measure { key: "api_us", title: "api, CPU µs per send", decimals: 0 },
    Measure { key: "postgres_us", title: "Postgres, CPU µs per send", decimals: 0 },
    Measure { key: "redis_us", title: "Redis, CPU µs per send", decimals: 0 },
    Measure { key: "nats_us", title: "NATS, CPU µs per send", decimals: 0 },
    Measure { key: "rows", title: "rows written per send", decimals: 3 },
    Measure { key: "rows_inserted", title: "… inserted", decimals: 3 },
    Measure { key: "rows_updated", title: "… updated", decimals: 3 },
    Measure { key: "rows_deleted", title: "… deleted", decimals: 3 },
    Measure { key: "wal_bytes", title: "WAL bytes per send", decimals: 0 },
    Measure { key: "wal_record_bytes", title: "… without pages written whole", decimals: 0 },
    Measure { key: "sends_per_s", title: "sends/s, one after the other", decimals: 0 },
    Measure { key: "others_percent", title: "busy with others, %", decimals: 0 },
];

/// All rounds, the rooms in turn.
pub(super) fn measure(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<Told> {
    let bench = Bench::start(home, arguments.sends, interrupt)?;
    let mut sides = ROOMS.map(|(_, name)| Side { name, rounds: Vec::new() });
    // The first round fills tables that were empty, and does not count.
    for number in 0..=arguments.rounds {
        let mut places: Vec<_> = (0..ROOMS.len()).collect();
        // The index of client message ids grows from round to round: nobody is always the last.
        if number % 2 == 0 {
            places.reverse();
        }
        for place in places {
            if interrupt.asked() {
                bail!("interrupted");
            }
            let values = bench.round(place)?;
            if number > 0 {
                sides[place].rounds.push(values);
            }
        }
        say::note(format_args!("send, round {number} of {}", arguments.rounds));
    }
    drop(bench);
    Ok(tell(&sides))
}

/// A cluster with the rooms.
struct Bench {
    sends: u32,
    servers: Servers,
    database: Database,
    pod: String,
    /// Of each room.
    senders: Vec<Arc<[Sender]>>,
    // Last, so that it is stopped last.
    _cluster: Cluster,
}

impl Bench {
    fn start(home: &Home, sends: u32, interrupt: &Interrupt) -> Result<Self> {
        let cluster = Cluster::start(home, &measured::cluster(&[]), interrupt)?;
        let running = cluster.description();
        let programs = postgres_programs(home, interrupt)?;
        let database = Database { programs, url: running.postgres.url.clone() };
        // What is vacuumed between the rounds must not be vacuumed within one.
        database.ask("alter system set autovacuum = off")?;
        database.ask("select pg_reload_conf()")?;
        database.ask("create extension pg_walinspect")?;
        let members = SENDERS as usize;
        let chats = furnish(&cluster, Shape { rooms: ROOMS.len(), members })?;
        for (chat, (size, _)) in chats.ids.iter().zip(ROOMS) {
            crowd(&database, chat, size)?;
        }
        let tokens = chats.tokens.chunks_exact(members);
        let sender = |chat: &String, tokens: &[String]| {
            tokens.iter().map(|token| Sender::new(chat, token)).collect()
        };
        let senders =
            chats.ids.iter().zip(tokens).map(|(chat, tokens)| sender(chat, tokens)).collect();
        let pod = running.api.first().context("there is no api pod")?;
        let pod = address(&pod.url).to_owned();
        Ok(Self { sends, servers: Servers::of(running), database, pod, senders, _cluster: cluster })
    }

    /// A value for each of [`MEASURES`].
    ///
    /// One message is sent after the other, each in a transaction of its own: how many would share one is chance. A
    /// checkpoint stands before the round and none falls into it, so every round writes the pages that it touches whole once.
    fn round(&self, place: usize) -> Result<Vec<Option<f64>>> {
        self.database.tidy()?;
        self.database.settle()?;
        let (written, stand) = (self.written()?, self.database.stand()?);
        self.send(place, WARM_UP)?;
        let load = std::process::id();
        let from = self.servers.usage(load)?;
        self.send(place, self.sends)?;
        let spent = self.servers.usage(load)?.since(&from);
        let sent = u64::from(WARM_UP + self.sends);
        let now = self.database.stand()?;
        if now.messages - stand.messages != sent {
            bail!("{sent} answers 201 have made {} messages", now.messages - stand.messages);
        }
        let written = self.counted(&written, sent)?.since(&written);
        let wal = [now.wal - stand.wal, self.records(stand.wal, now.wal)?];
        Ok(self.values(&spent, &written, wal))
    }

    #[expect(clippy::cast_precision_loss, reason = "counts of a few minutes are exact in an f64")]
    fn values(&self, spent: &Spent, written: &Written, wal: [u64; 2]) -> Vec<Option<f64>> {
        let sends = f64::from(self.sends);
        // What is counted by the database is counted with the warm-up.
        let each = |count: u64| Some(count as f64 / (sends + f64::from(WARM_UP)));
        let micros = GROUPS.map(|group| Some(spent.by(group).as_secs_f64() * 1e6 / sends));
        let Written { inserted, updated, deleted, .. } = *written;
        let rows = [inserted + updated + deleted, inserted, updated, deleted].map(each);
        let rest = [Some(sends / spent.took.as_secs_f64()), Some(spent.others * 100.0)];
        micros.into_iter().chain(rows).chain(wal.map(each)).chain(rest).collect()
    }

    fn send(&self, place: usize, count: u32) -> Result<()> {
        on_this_thread(async {
            let mut connection = Connection::open(&self.pod).await?;
            let mut client = Client { senders: Arc::clone(&self.senders[place]), own: None };
            let mut request = Vec::new();
            for _ in 0..count {
                request.clear();
                client.write(&mut request);
                let answer = connection.exchange(&request).await?;
                if answer.status != 201 {
                    bail!("{}: {}", answer.status, String::from_utf8_lossy(answer.body));
                }
            }
            Ok(())
        })
    }

    /// What was written once so many messages more are counted; what goes with them is counted at the same time.
    fn counted(&self, before: &Written, messages: u64) -> Result<Written> {
        let deadline = Instant::now() + COUNTED_WITHIN;
        loop {
            let now = self.written()?;
            if now.messages - before.messages >= messages {
                return Ok(now);
            }
            if Instant::now() > deadline {
                bail!("the database has counted {} messages", now.messages - before.messages);
            }
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Bytes of the records between two places of the log, without the pages that are in them whole.
    fn records(&self, from: u64, to: u64) -> Result<u64> {
        let said = self.database.ask(&format!(
            "select sum(record_size)::bigint from pg_get_wal_stats('0/0'::pg_lsn + {from}, '0/0'::pg_lsn + {to})"
        ))?;
        said.parse().with_context(|| format!("psql said {said}"))
    }

    fn written(&self) -> Result<Written> {
        let said = self.database.ask(
            "select sum(n_tup_ins), sum(n_tup_upd), sum(n_tup_del), sum(n_tup_ins) filter (where relname = 'messages')
            from pg_stat_user_tables",
        )?;
        Written::parse(&said).with_context(|| format!("psql said {said}"))
    }
}

/// Rows that were ever written, of all tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Written {
    inserted: u64,
    updated: u64,
    deleted: u64,
    /// How many of the inserted ones are messages.
    messages: u64,
}

impl Written {
    fn parse(said: &str) -> Option<Self> {
        let mut numbers = said.split('|').map_while(|number| number.parse().ok());
        let mut next = || numbers.next();
        Some(Self { inserted: next()?, updated: next()?, deleted: next()?, messages: next()? })
    }

    fn since(&self, before: &Self) -> Self {
        Self {
            inserted: self.inserted - before.inserted,
            updated: self.updated - before.updated,
            deleted: self.deleted - before.deleted,
            messages: self.messages - before.messages,
        }
    }
}

/// Lets others into a room, beside those who send.
fn crowd(database: &Database, chat: &str, size: u32) -> Result<()> {
    let others = size - SENDERS;
    database
        .ask(&format!(
            "insert into users (id) select 'member-' || n from generate_series(1, {others}) n on conflict do nothing;
            insert into participants (chat_id, user_id, role)
            select '{chat}', 'member-' || n, 'member' from generate_series(1, {others}) n;
            update chats set participant_count = {size} where id = '{chat}'"
        ))
        .map(drop)
}

fn tell(sides: &[Side; ROOMS.len()]) -> Told {
    let mut told = Told::default();
    told.table("send", "A send, by the participants of its room", &MEASURES, sides);
    told.text.push(format!(
        "One client sends one message after the other through REST, {SENDERS} of the participants by chance, each in a transaction of its \
        own; nobody is connected. Rows are those that Postgres counts, of all tables; CPU counts after {WARM_UP} sends, rows and WAL with them, \
        from a checkpoint on.",
    ));
    let line = |name, measure| Line { name, points: points(sides, measure) };
    let across = "participants of the room";
    let names = ["api", "Postgres", "Redis", "NATS"];
    told.plot(
        "growth-send-cpu",
        Plot {
            title: "What a send costs the servers",
            across,
            up: "CPU µs per send",
            lines: names.into_iter().enumerate().map(|(place, name)| line(name, place)).collect(),
            bar: None,
        },
    );
    let plot = |title, up, lines| Plot { title, across, up, lines, bar: None };
    told.plot(
        "growth-send-rows",
        plot("What a send writes: rows", "rows per send", vec![line("of all tables", ROWS)]),
    );
    let wal = vec![
        line("everything", WAL),
        line("without pages that are written whole after a checkpoint", RECORDS),
    ];
    told.plot("growth-send-wal", plot("What a send writes: WAL", "bytes per send", wal));
    told.bars.extend(bar("rows_apart", "rows", ROWS, sides));
    told.bars.extend(bar("wal_apart", "WAL bytes", WAL, sides));
    told
}

fn points(sides: &[Side], measure: usize) -> Vec<(u32, Range)> {
    let points = ROOMS.iter().zip(sides);
    points.filter_map(|((size, _), side)| Some((*size, side.range(measure)?))).collect()
}

/// The largest room against the smallest, round by round.
fn bar(key: &'static str, what: &str, measure: usize, sides: &[Side]) -> Option<Bar> {
    let ratio = sides[LAST].against(&sides[FIRST], measure)?;
    let says = format!(
        "{what} per send into a room of 10,000 are {} of those into one of 2 (bar: within {:.0} %)",
        ratio.shown(3),
        APART * 100.0
    );
    let value = ratio.median;
    Some(Bar { key, says, value, met: (value - 1.0).abs() <= APART })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_what_was_added() {
        let (before, now) = (Written::parse("5|6|7|1"), Written::parse("15|26|8|3"));
        let since = now.unwrap().since(&before.unwrap());
        assert_eq!(since, Written { inserted: 10, updated: 20, deleted: 1, messages: 2 });
        assert_eq!(Written::parse("5|6|7|"), None);
    }

    #[test]
    fn more_and_less_than_the_bar_are_not_met() {
        let side = |value| Side { name: "", rounds: vec![vec![Some(value)]] };
        let met = |largest| {
            let sides = [side(100.0), side(500.0), side(1.0), side(largest)];
            bar("k", "rows", 0, &sides).unwrap().met
        };
        assert!(met(104.0) && met(96.0));
        assert!(!met(106.0) && !met(94.0));
    }
}
