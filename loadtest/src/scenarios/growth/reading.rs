//! Pages of a chat with more and more messages before them, and lists of users with more and more chats.

use std::fmt::Write as _;

use anyhow::Result;
use parley_local::{Cluster, Home, Interrupt, Token, postgres_programs, say};
use serde_json::json;

use super::{Arguments, Bar, Told};
use crate::database::Database;
use crate::explained::{Asking, Case, Explained};
use crate::measured;
use crate::plot::{Line, Plot, thousands};
use crate::population::{LONG_CHAT, Population};
use crate::report::{Range, rounded};

/// Messages of a page.
const LIMIT: u32 = 50;
/// As far as there are messages.
const PAGES: [u32; 6] = [1, 10, 100, 1_000, 10_000, 100_000];
/// Most that a page may cost more than the first one.
const DEEPER: f64 = 1.2;
const CHATS: [u32; 5] = [10, 100, 1_000, 5_000, 20_000];
/// Most that the unread total over so many chats may cost the database: milliseconds.
const TOTAL: (u32, f64) = (5_000, 20.0);
const READER: &str = "reader";
/// Whoever has many chats is one of many people with one or two: what the planner takes for usual.
const OTHERS: u32 = 20_000;

/// What was explained of a page, or of what one user asks.
struct Sized {
    size: u32,
    explained: Explained,
}

impl Sized {
    fn ms(&self) -> f64 {
        self.explained.work.ms
    }
}

/// Pages of the history, the first of the list of chats, and the totals.
type Measured = [Vec<Sized>; 3];

pub(super) fn measure(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<Told> {
    let cluster = Cluster::start(home, &measured::cluster(&[]), interrupt)?;
    let programs = postgres_programs(home, interrupt)?;
    let database = Database { programs, url: cluster.description().postgres.url.clone() };
    say::note(format_args!(
        "making {} messages of one chat, and {} chats of 20 messages",
        thousands(arguments.messages),
        thousands(CHATS.iter().sum())
    ));
    let population = Population::begin(&database, OTHERS)?;
    population.long_chat(READER, arguments.messages)?;
    for chats in CHATS {
        population.many_chats(&lister(chats), chats)?;
    }
    population.end()?;
    let sign = |user: &str| Token::user(user).sign(&cluster.description().jwt.secret);
    let asking = Asking::begin(&cluster, home, &database)?;
    say::note("asking for pages and lists");
    let ask = |cases: Vec<(u32, Case)>| -> Result<Vec<Sized>> {
        let (sizes, cases): (Vec<_>, Vec<_>) = cases.into_iter().unzip();
        let explained = sizes.into_iter().zip(asking.all(&cases, arguments.times)?);
        Ok(explained.map(|(size, explained)| Sized { size, explained }).collect())
    };
    let measured = [
        ask(pages(arguments.messages, &sign(READER)?))?,
        ask(of_listers("/api/chat?page=1", sign)?)?,
        ask(of_listers("/api/chat/stats", sign)?)?,
    ];
    drop(cluster);
    Ok(tell(&measured, arguments))
}

/// Who has so many chats.
fn lister(chats: u32) -> String {
    format!("lister-{chats}")
}

/// The pages that there are.
fn pages(messages: u32, token: &str) -> Vec<(u32, Case)> {
    let pages = PAGES.into_iter().filter(|page| page * LIMIT <= messages);
    let case = |page| {
        let path = format!("/api/chat/{LONG_CHAT}/messages?page={page}&limit={LIMIT}");
        (page, Case::new(format!("page {page}"), &path, token))
    };
    pages.map(case).collect()
}

/// The same of everybody who has many chats.
fn of_listers(path: &str, sign: impl Fn(&str) -> Result<String>) -> Result<Vec<(u32, Case)>> {
    let case = |chats| {
        let token = sign(&lister(chats))?;
        Ok((chats, Case::new(format!("{path} of {chats} chats"), path, &token)))
    };
    CHATS.into_iter().map(case).collect()
}

fn tell(measured: &Measured, arguments: &Arguments) -> Told {
    let [pages, lists, totals] = measured;
    let mut told = Told::default();
    let table = |title: &str, size: &str, sized: &[Sized]| {
        let mut text = format!(
            "**{title}**\n\n| {size} | database, ms | statements | messages read | how messages are read |\n| --- | --- | --- | --- | --- |\n"
        );
        for it in sized {
            let Explained { work, shapes } = &it.explained;
            let shapes: Vec<_> = shapes.keys().map(String::as_str).collect();
            let _ = writeln!(
                text,
                "| {} | {:.3} | {} | {} | {} |",
                thousands(it.size),
                work.ms,
                work.statements,
                work.messages,
                shapes.join(", or ")
            );
        }
        text.trim_end().to_owned()
    };
    told.text.extend([
        table("A page of a long history, by its number", "page", pages),
        table("The first page of the list of chats, by how many there are", "chats", lists),
        table("The unread total and the others of it, by chats", "chats", totals),
        format!(
            "A chat of {} messages, in pages of {LIMIT}; users with so many chats of 20 messages, most of which are half read. Times are \
            those that Postgres says of its statements (`auto_explain`, which counts their rows meanwhile), the median of {} requests, each \
            asked in its turn.",
            thousands(arguments.messages),
            arguments.times
        ),
    ]);
    for (part, sized) in ["history", "lists", "totals"].into_iter().zip(measured) {
        told.rows.extend(sized.iter().map(|it| {
            json!({
                "part": part,
                "name": thousands(it.size),
                "size": it.size,
                "database_ms": rounded(it.ms()),
                "messages_read": it.explained.work.messages,
                "plans": it.explained.shapes.keys().collect::<Vec<_>>(),
            })
        }));
    }
    plots(&mut told, measured);
    told.bars.extend(depth_bar(pages));
    told.bars.extend(total_bar(totals));
    told
}

fn plots(told: &mut Told, [pages, lists, totals]: &Measured) {
    let line = |name, sized: &[Sized]| {
        let range = |ms| Range { median: ms, min: ms, max: ms };
        Line { name, points: sized.iter().map(|it| (it.size, range(it.ms()))).collect() }
    };
    told.plot(
        "growth-history",
        Plot {
            title: "A page of a long history",
            across: "page",
            up: "database, ms",
            lines: vec![line("a page of 50 messages", pages)],
            bar: pages.first().map(|first| (first.ms() * DEEPER, "1.2 of page 1")),
        },
    );
    told.plot(
        "growth-lists",
        Plot {
            title: "The list of chats and the totals",
            across: "chats of the user",
            up: "database, ms",
            lines: vec![
                line("the list, first page", lists),
                line("unread and other totals", totals),
            ],
            bar: Some((TOTAL.1, "20 ms: the bar of totals over 5,000 chats")),
        },
    );
}

/// The dearest page against the first one.
fn depth_bar(pages: &[Sized]) -> Option<Bar> {
    let (first, last) = (pages.first()?, pages.last()?);
    let ratio = pages.iter().map(|page| page.ms() / first.ms()).fold(0.0, f64::max);
    let plans = |page: &Sized| page.explained.shapes.keys().cloned().collect::<Vec<_>>();
    let one_plan = pages.iter().all(|page| plans(page) == plans(first));
    let says = format!(
        "of pages 1 to {}, the dearest costs {ratio:.2} of page 1 (bar {DEEPER}), {}",
        thousands(last.size),
        if one_plan { "all by one plan" } else { "BY DIFFERENT PLANS" }
    );
    Some(Bar { key: "history_spread", says, value: ratio, met: ratio <= DEEPER && one_plan })
}

fn total_bar(totals: &[Sized]) -> Option<Bar> {
    let (chats, most) = TOTAL;
    let ms = totals.iter().find(|it| it.size == chats)?.ms();
    let says = format!(
        "the unread total over {} chats takes the database {ms:.1} ms (bar {most})",
        thousands(chats)
    );
    Some(Bar { key: "total_ms", says, value: ms, met: ms <= most })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::explained::Work;

    fn sized(size: u32, ms: f64, plan: &str) -> Sized {
        let work = Work { ms, ..Work::default() };
        Sized { size, explained: Explained { work, shapes: [(plan.to_owned(), 1)].into() } }
    }

    #[test]
    fn a_deep_page_by_another_plan_or_at_another_price_is_not_met() {
        let met = |deep| depth_bar(&[sized(1, 1.0, "a"), deep]).unwrap().met;
        assert!(met(sized(10_000, 1.2, "a")));
        assert!(!met(sized(10_000, 1.21, "a")));
        assert!(!met(sized(10_000, 1.0, "b")));
    }

    #[test]
    fn only_the_total_of_5_000_has_a_bar() {
        let met = |ms| total_bar(&[sized(5_000, ms, ""), sized(20_000, 90.0, "")]).unwrap().met;
        assert!(met(20.0));
        assert!(!met(20.1));
    }

    #[test]
    fn pages_end_with_the_messages() {
        let numbers = |messages| pages(messages, "t").into_iter().map(|(page, _)| page);
        assert!(numbers(500_000).eq([1, 10, 100, 1_000, 10_000]));
        assert!(numbers(10_000_000).eq(PAGES));
    }
}
