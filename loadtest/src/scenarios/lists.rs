//! `bench lists`: what pages of a very long history and of very many chats cost the database, and by which plans.

use std::fmt::Write as _;

use anyhow::Result;
use parley_local::{Cluster, Home, Interrupt, Token, postgres_programs, say};
use serde_json::{Value, json};

use crate::database::Database;
use crate::explained::{Asking, Case, Explained};
use crate::measured;
use crate::population::{LONG_CHAT, Population};
use crate::report::{Outcome, rounded};
use crate::results;

/// Most that a page of the history may cost more than another one.
const SPREAD: f64 = 1.2;
/// Most that the list of chats, and the totals, may cost: milliseconds.
const LISTS_MS: f64 = 20.0;
const READER: &str = "lister";
/// With whom the reader has chats.
const OTHERS: u32 = 100;

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
    /// End with one JSON object on the last line
    #[arg(long)]
    json: bool,
    /// Write the table into loadtest/RESULTS.md
    #[arg(long)]
    write: bool,
}

/// What was measured of a case.
struct Measured {
    name: String,
    /// Whether it is a page of the history: those are held against each other.
    history: bool,
    explained: Explained,
}

/// Fills a fresh cluster, asks, and reports; true when every bar is met.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    Ok(measure(home, arguments, interrupt)?.end(arguments.json))
}

pub(crate) fn measure(
    home: &Home,
    arguments: &Arguments,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let Arguments { messages, chats, times, .. } = *arguments;
    let measured = explain(home, arguments, interrupt)?;
    let report = Report::of(&measured);
    let header = format!(
        "`cargo parley bench lists --messages {messages} --chats {chats} --times {times}`\n\n{}. Times are those that Postgres says \
        of its statements (`auto_explain`, which counts their rows meanwhile), the median of {times} requests, each asked in its turn.",
        results::provenance(),
    );
    say::line(format_args!("{header}\n\n{}", report.text));
    if arguments.write {
        results::write("lists", &format!("{header}\n\n{}", report.text))?;
    }
    let rows: Vec<_> = measured.iter().map(Measured::json).collect();
    let json = json!({
        "scenario": "lists",
        "rows": rows,
        "history_spread": rounded(report.spread),
        "lists_ms": rounded(report.lists_ms),
        "met": report.met,
    });
    Ok(Outcome { met: report.met, json })
}

fn explain(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<Vec<Measured>> {
    let home = home.beside(home.root().join("bench"));
    let cluster = Cluster::start(&home, &measured::cluster(&[]), interrupt)?;
    let programs = postgres_programs(&home, interrupt)?;
    let database = Database { programs, url: cluster.description().postgres.url.clone() };
    say::note(format_args!("making {} messages and {} chats", arguments.messages, arguments.chats));
    let population = Population::begin(&database, OTHERS)?;
    population.long_chat(READER, arguments.messages)?;
    population.many_chats(READER, arguments.chats)?;
    population.end()?;
    let token = Token::user(READER).sign(&cluster.description().jwt.secret)?;
    let asking = Asking::begin(&cluster, &home, &database)?;
    let mut measured = Vec::new();
    for (history, cases) in [(true, pages(arguments, &token)), (false, lists(arguments, &token))] {
        let explained = asking.all(&cases, arguments.times)?;
        measured.extend(cases.into_iter().zip(explained).map(|(case, explained)| Measured {
            name: case.name,
            history,
            explained,
        }));
    }
    Ok(measured)
}

/// Pages of the history.
fn pages(arguments: &Arguments, token: &str) -> Vec<Case> {
    let messages = format!("/api/chat/{LONG_CHAT}/messages");
    let (middle, deep) = (arguments.messages / 2, (arguments.messages / 100).min(10_000));
    let pages = [
        "page=1&limit=50".to_owned(),
        format!("page={deep}&limit=50"),
        format!("before={middle}&limit=50"),
        format!("after={middle}&order=asc&limit=50"),
        format!("around={middle}&limit=50"),
    ];
    let case = |query: &String| {
        Case::new(format!("messages, `{query}`"), &format!("{messages}?{query}"), token)
    };
    pages.iter().map(case).collect()
}

/// Pages of the list of chats, and the totals.
fn lists(arguments: &Arguments, token: &str) -> Vec<Case> {
    let last = arguments.chats / 20;
    let lists = [
        ("chats, `page=1`", "/api/chat?page=1".to_owned()),
        ("chats, last page", format!("/api/chat?page={last}")),
        ("chats, `archived=false`", "/api/chat?archived=false".to_owned()),
        ("stats", "/api/chat/stats".to_owned()),
    ];
    lists.map(|(name, path)| Case::new(name.to_owned(), &path, token)).into()
}

impl Measured {
    fn json(&self) -> Value {
        let Explained { work, shapes } = &self.explained;
        json!({
            "name": self.name,
            "database_ms": rounded(work.ms),
            "statements": work.statements,
            "messages_read": work.messages,
            "plans": shapes.keys().collect::<Vec<_>>(),
        })
    }
}

/// The table, and what the bars are about.
struct Report {
    text: String,
    spread: f64,
    lists_ms: f64,
    met: bool,
}

impl Report {
    fn of(measured: &[Measured]) -> Self {
        let mut text = String::from(
            "| request | database, ms | statements | messages read | how messages are read |\n| --- | --- | --- | --- | --- |\n",
        );
        for case in measured {
            let Explained { work, shapes } = &case.explained;
            let shapes: Vec<_> = shapes.keys().map(String::as_str).collect();
            let _ = writeln!(
                text,
                "| {} | {:.3} | {} | {} | {} |",
                case.name,
                work.ms,
                work.statements,
                work.messages,
                shapes.join(", or ")
            );
        }
        let history: Vec<_> = measured.iter().filter(|case| case.history).collect();
        let ms = |case: &&Measured| case.explained.work.ms;
        let slowest = history.iter().map(ms).fold(0.0, f64::max);
        let fastest = history.iter().map(ms).fold(f64::MAX, f64::min);
        let spread = slowest / fastest;
        let plans = |case: &Measured| case.explained.shapes.keys().cloned().collect::<Vec<_>>();
        let one_plan = history.iter().all(|case| plans(case) == plans(history[0]));
        let lists_ms =
            measured.iter().filter(|case| !case.history).map(|case| case.explained.work.ms);
        let lists_ms = lists_ms.fold(0.0, f64::max);
        let _ = write!(
            text,
            "\nPages of the history: the slowest costs {spread:.2} of the fastest (bar {SPREAD}), {}. Lists and totals: at most \
            {lists_ms:.1} ms (bar {LISTS_MS}).\n",
            if one_plan { "all by one plan" } else { "BY DIFFERENT PLANS" },
        );
        let met = spread <= SPREAD && one_plan && lists_ms <= LISTS_MS;
        Self { text, spread, lists_ms, met }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explained::Work;

    #[test]
    fn a_different_plan_or_a_slow_page_misses_the_bar() {
        let case = |ms: f64, shape: &str, history| Measured {
            name: String::new(),
            history,
            explained: Explained {
                work: Work { ms, ..Work::default() },
                shapes: [(shape.to_owned(), 1)].into(),
            },
        };
        let met = |cases: &[Measured]| Report::of(cases).met;
        assert!(met(&[case(1.0, "a", true), case(1.15, "a", true), case(19.0, "b", false)]));
        assert!(!met(&[case(1.0, "a", true), case(1.3, "a", true)]));
        assert!(!met(&[case(1.0, "a", true), case(1.0, "b", true)]));
        assert!(!met(&[case(1.0, "a", true), case(21.0, "b", false)]));
    }
}
