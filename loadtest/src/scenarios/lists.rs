//! `bench lists`: what pages of a very long history and of very many chats cost the database, and by which plans.
//!
//! Postgres explains every statement of the api pod into its own log (`auto_explain`), so the plans and times are those of
//! the service's statements as it sends them, and none of them stands here.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use parley_local::{Cluster, Home, Interrupt, Token, postgres_programs, say};
use serde_json::Value;

use crate::database::Database;
use crate::http::{Connection, address, request};
use crate::measured;
use crate::results;

/// Most that a page of the history may cost more than another one.
const SPREAD: f64 = 1.3;
/// Most that the list of chats, and the totals, may cost: milliseconds.
const LISTS_MS: f64 = 20.0;
/// Requests before those that count.
const WARM_UP: usize = 20;
/// The chat with the long history.
const CHAT: &str = "0192f0a4-7c3b-7d2e-8a1b-000000000001";

/// What `bench lists` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Messages of the one long chat
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(1_000..=10_000_000))]
    messages: u32,
    /// Chats of the one user who has many
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(100..=50_000))]
    chats: u32,
    /// How often each page is asked for
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(10..=10_000))]
    times: u16,
    /// Write the table into loadtest/RESULTS.md
    #[arg(long)]
    write: bool,
}

/// Something that is asked for, again and again.
struct Case {
    name: String,
    path: String,
    /// Whether it is a page of the history: those are held against each other.
    history: bool,
}

/// What the database did for one request.
#[derive(Clone, Debug, Default)]
struct Work {
    ms: f64,
    statements: usize,
    /// Rows of `messages` that were read.
    messages: u64,
    /// The nodes of the plans that touch `messages`, without costs.
    shape: Vec<String>,
}

/// What was measured of a case.
struct Measured {
    name: String,
    history: bool,
    /// Of the one in the middle.
    work: Work,
    shapes: BTreeMap<String, usize>,
}

/// Fills a fresh cluster, asks, and reports; true when every bar is met.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    let home = home.beside(home.root().join("bench"));
    let cluster = Cluster::start(&home, &measured::cluster(&[]), interrupt)?;
    let running = cluster.description();
    let programs = postgres_programs(&home, interrupt)?;
    let database = Database { programs, url: running.postgres.url.clone() };
    say::note(format_args!("making {} messages and {} chats", arguments.messages, arguments.chats));
    fill(&database, arguments)?;
    explain_everything(&database)?;
    let asking = Asking {
        address: address(&running.api[0].url).to_owned(),
        token: Token::user("lister").sign(&running.jwt.secret)?,
        log: home.log("postgres"),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let measured = runtime.block_on(asking.all(&cases(arguments), arguments.times))?;
    let (text, met) = report(&measured);
    let header = format!(
        "`cargo parley bench lists --messages {} --chats {} --times {}`\n\n{}. Times are those that Postgres says of its \
        statements (`auto_explain`, which counts their rows meanwhile), the median of {} requests one after the other.",
        arguments.messages,
        arguments.chats,
        arguments.times,
        results::provenance(),
        arguments.times,
    );
    say::line(format_args!("{header}\n\n{text}"));
    if arguments.write {
        results::write("lists", &format!("{header}\n\n{text}"))?;
    }
    Ok(met)
}

/// One chat of two people with the long history, and many chats of 20 messages each, some of them half read.
fn fill(database: &Database, arguments: &Arguments) -> Result<()> {
    let (messages, chats) = (arguments.messages, arguments.chats);
    let id = |ms: &str| {
        format!(
            "(lpad(to_hex({ms}), 12, '0') || '7' || substr(md5(n::text), 1, 3) || '8' || substr(md5(n::text), 4, 15))::uuid"
        )
    };
    let (long, short) = (id("1700000000000 + n"), id("1700000000000 + n * 20 + seq"));
    let sql = format!(
        "insert into users (id) select 'lister' union all select 'other-' || n from generate_series(0, 99) n;
        insert into chats (id, type, created_by, version, last_seq, last_message_at, participant_count)
        values ('{CHAT}', 'direct', 'lister', {messages}, {messages},
            to_timestamp(1700000000 + {messages} / 1000.0), 2);
        insert into participants (chat_id, user_id, role)
        values ('{CHAT}', 'lister', 'creator'), ('{CHAT}', 'other-0', 'member');
        insert into messages (chat_id, seq, id, version, sender_id, type, content, created_at)
        select '{CHAT}', n, {long}, n, 'other-0', 'text', 'message ' || n, to_timestamp(1700000000 + n / 1000.0)
        from generate_series(1, {messages}) n;
        insert into chats (id, type, created_by, version, last_seq, last_message_at, participant_count)
        select md5('chat' || n)::uuid, 'group', 'lister', 20, 20,
            to_timestamp(1700000000 + (n * 20 + 20) / 1000.0), 2
        from generate_series(1, {chats}) n;
        insert into participants (chat_id, user_id, role, read_seq)
        select md5('chat' || n)::uuid, 'lister', 'creator', n % 20 from generate_series(1, {chats}) n
        union all
        select md5('chat' || n)::uuid, 'other-' || n % 100, 'member', 0 from generate_series(1, {chats}) n;
        insert into messages (chat_id, seq, id, version, sender_id, type, content, created_at)
        select md5('chat' || n)::uuid, seq, {short}, seq, 'other-' || n % 100, 'text', 'message ' || seq,
            to_timestamp(1700000000 + (n * 20 + seq) / 1000.0)
        from generate_series(1, {chats}) n, generate_series(1, 20) seq"
    );
    database.ask(&sql)?;
    database.tidy()?;
    database.settle()
}

/// From here on, the plan of every statement stands in the log. Only new connections are asked to, so the others end.
fn explain_everything(database: &Database) -> Result<()> {
    let name = database.url.rsplit('/').next().context("no database in the URL")?;
    let set = [
        ("session_preload_libraries", "auto_explain"),
        ("auto_explain.log_min_duration", "0"),
        ("auto_explain.log_analyze", "on"),
        ("auto_explain.log_timing", "off"),
        ("auto_explain.log_format", "json"),
    ];
    for (setting, value) in set {
        database.ask(&format!("alter database \"{name}\" set {setting} = '{value}'"))?;
    }
    let others = "select pg_terminate_backend(pid) from pg_stat_activity
        where datname = current_database() and pid <> pg_backend_pid()";
    database.ask(others).map(drop)
}

fn cases(arguments: &Arguments) -> Vec<Case> {
    let messages = format!("/api/chat/{CHAT}/messages");
    let (middle, deep) = (arguments.messages / 2, (arguments.messages / 100).min(10_000));
    let history = [
        "page=1&limit=50".to_owned(),
        format!("page={deep}&limit=50"),
        format!("before={middle}&limit=50"),
        format!("after={middle}&order=asc&limit=50"),
        format!("around={middle}&limit=50"),
    ];
    let history = history.map(|query| {
        let path = format!("{messages}?{query}");
        Case { name: format!("messages, `{query}`"), path, history: true }
    });
    let last = arguments.chats / 20;
    let lists = [
        ("chats, `page=1`", "/api/chat?page=1".to_owned()),
        ("chats, last page", format!("/api/chat?page={last}")),
        ("chats, `archived=false`", "/api/chat?archived=false".to_owned()),
        ("stats", "/api/chat/stats".to_owned()),
    ];
    let lists = lists.map(|(name, path)| Case { name: name.to_owned(), path, history: false });
    history.into_iter().chain(lists).collect()
}

/// Somebody who asks, and reads in the log what that took.
struct Asking {
    address: String,
    token: String,
    log: PathBuf,
}

impl Asking {
    async fn all(&self, cases: &[Case], times: u16) -> Result<Vec<Measured>> {
        let mut connection = Connection::open(&self.address).await?;
        // The pod notices one by one that its connections have ended.
        let mut patience = 100;
        while !self.once(&mut connection, &cases[0].path).await? {
            patience -= 1;
            if patience == 0 {
                bail!("the api pod does not recover its connections");
            }
        }
        let mut measured = Vec::new();
        for case in cases {
            measured.push(self.measure(&mut connection, case, usize::from(times)).await?);
        }
        Ok(measured)
    }

    async fn once(&self, connection: &mut Connection, path: &str) -> Result<bool> {
        let request = request("GET", path, &self.token, "");
        Ok(connection.exchange(&request).await?.status == 200)
    }

    async fn measure(
        &self,
        connection: &mut Connection,
        case: &Case,
        times: usize,
    ) -> Result<Measured> {
        let mut all = Vec::with_capacity(times);
        for number in 0..times + WARM_UP {
            let before = fs::metadata(&self.log)?.len();
            if !self.once(connection, &case.path).await? {
                bail!("{} was refused", case.path);
            }
            let log = fs::read(&self.log)?;
            let said = String::from_utf8_lossy(&log[usize::try_from(before)?..]);
            if number >= WARM_UP {
                all.push(Work::read(&said)?);
            }
        }
        let mut shapes = BTreeMap::new();
        for work in &all {
            *shapes.entry(work.shape.join("; ")).or_default() += 1;
        }
        all.sort_by(|one, other| one.ms.total_cmp(&other.ms));
        let work = all.swap_remove(all.len() / 2);
        Ok(Measured { name: case.name.clone(), history: case.history, work, shapes })
    }
}

impl Work {
    /// Reads the explanations in a piece of the log.
    fn read(log: &str) -> Result<Self> {
        let mut work = Self::default();
        for entry in log.split("duration: ").skip(1) {
            let (ms, rest) = entry.split_once(" ms  plan:").context("a duration without a plan")?;
            let mut json = serde_json::Deserializer::from_str(rest).into_iter::<Value>();
            let explained = json.next().context("a plan is missing")??;
            work.ms += ms.trim().parse::<f64>()?;
            work.statements += 1;
            work.walk(&explained["Plan"]);
        }
        if work.statements == 0 {
            bail!("nothing was explained: {log}");
        }
        Ok(work)
    }

    fn walk(&mut self, node: &Value) {
        let text = |key: &str| node[key].as_str().unwrap_or_default();
        if text("Relation Name") == "messages" {
            let rows = node["Actual Rows"].as_f64().unwrap_or_default();
            let skipped = node["Rows Removed by Filter"].as_f64().unwrap_or_default();
            let loops = node["Actual Loops"].as_f64().unwrap_or_default();
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a count of rows that were read"
            )]
            let read = ((rows + skipped) * loops).round() as u64;
            self.messages += read;
            self.shape.push(format!("{} on {}", text("Node Type"), text("Index Name")));
        }
        for child in node["Plans"].as_array().into_iter().flatten() {
            self.walk(child);
        }
    }
}

/// The table, and whether every bar is met.
fn report(measured: &[Measured]) -> (String, bool) {
    let mut text = String::from(
        "| request | database, ms | statements | messages read | how messages are read |\n| --- | --- | --- | --- | --- |\n",
    );
    for case in measured {
        let shapes: Vec<_> = case.shapes.keys().map(String::as_str).collect();
        let _ = writeln!(
            text,
            "| {} | {:.3} | {} | {} | {} |",
            case.name,
            case.work.ms,
            case.work.statements,
            case.work.messages,
            shapes.join(", or ")
        );
    }
    let history: Vec<_> = measured.iter().filter(|case| case.history).collect();
    let ms = |case: &&Measured| case.work.ms;
    let slowest = history.iter().map(ms).fold(0.0, f64::max);
    let fastest = history.iter().map(ms).fold(f64::MAX, f64::min);
    let spread = slowest / fastest;
    let one_shape = history.iter().all(|case| case.shapes.keys().eq(history[0].shapes.keys()));
    let lists = measured.iter().filter(|case| !case.history).map(|case| case.work.ms);
    let lists = lists.fold(0.0, f64::max);
    let _ = write!(
        text,
        "\nPages of the history: the slowest costs {spread:.2} of the fastest (bar {SPREAD}), {}. Lists and totals: at most \
        {lists:.1} ms (bar {LISTS_MS}).\n",
        if one_shape { "all by one plan" } else { "BY DIFFERENT PLANS" },
    );
    (text, spread <= SPREAD && one_shape && lists <= LISTS_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &str = "x LOG:  duration: 0.250 ms  plan:\n\t{\"Query Text\": \"select\", \"Plan\": {\"Node Type\": \"Limit\", \
        \"Plans\": [{\"Node Type\": \"Index Scan\", \"Relation Name\": \"messages\", \"Index Name\": \"messages_pkey\", \
        \"Actual Rows\": 50.00, \"Actual Loops\": 1, \"Rows Removed by Filter\": 2}]}}\ny LOG:  duration: 1.5 ms  plan:\n\t{\"Plan\": \
        {\"Node Type\": \"Result\"}}\n";

    #[test]
    fn the_log_says_what_a_request_took() {
        let work = Work::read(LOG).unwrap();
        assert!((work.ms - 1.75).abs() < 1e-9);
        assert_eq!((work.statements, work.messages), (2, 52));
        assert_eq!(work.shape, ["Index Scan on messages_pkey"]);
        assert!(Work::read("x LOG:  nothing").is_err());
    }

    #[test]
    fn a_different_plan_or_a_slow_page_misses_the_bar() {
        let case = |ms: f64, shape: &str, history| Measured {
            name: String::new(),
            history,
            work: Work { ms, ..Work::default() },
            shapes: [(shape.to_owned(), 1)].into(),
        };
        assert!(report(&[case(1.0, "a", true), case(1.2, "a", true), case(19.0, "b", false)]).1);
        assert!(!report(&[case(1.0, "a", true), case(1.4, "a", true)]).1);
        assert!(!report(&[case(1.0, "a", true), case(1.0, "b", true)]).1);
        assert!(!report(&[case(1.0, "a", true), case(21.0, "b", false)]).1);
    }
}
