//! `bench growth`: what becomes dearer when there is more: participants of a room, messages of a chat, chats of a user,
//! rooms and connections of a gateway.

mod gateway;
mod reading;
mod sending;

use anyhow::Result;
use parley_local::{Home, Interrupt, say};
use serde_json::{Value, json};

use crate::plot::Plot;
use crate::report::{self, Measure, Outcome, Side};
use crate::results;

/// What `bench growth` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Messages of the one long chat
    #[arg(long, default_value_t = 1_000_000, value_parser = clap::value_parser!(u32).range(50_000..=10_000_000))]
    messages: u32,
    /// How often each page and list is asked for
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u16).range(10..=10_000))]
    times: u16,
    /// How many messages are sent into each room in a round
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u32).range(500..=100_000))]
    sends: u32,
    /// How long the gateway's rounds count, after their warm-up
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=600))]
    seconds: u64,
    /// How often each size has its turn
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Only these parts; without it, all
    #[arg(long, value_enum, value_delimiter = ',', conflicts_with = "write")]
    only: Vec<Part>,
    /// End with one JSON object on the last line
    #[arg(long)]
    json: bool,
    /// Write tables into loadtest/RESULTS.md and plots into loadtest/plots
    #[arg(long)]
    write: bool,
}

/// What grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Part {
    /// Participants of a room into which is sent
    Send,
    /// Messages of a chat, and chats of a user
    Lists,
    /// Rooms and connections of a gateway
    Gateway,
}

/// Something that is demanded of growth.
#[derive(Debug, Clone)]
struct Bar {
    key: &'static str,
    /// What it is about, with the value and the bar in it.
    says: String,
    value: f64,
    met: bool,
}

/// What a part has shown.
#[derive(Debug, Default)]
struct Told {
    /// Pieces of Markdown.
    text: Vec<String>,
    /// With the names of their files.
    plots: Vec<(&'static str, Plot)>,
    rows: Vec<Value>,
    bars: Vec<Bar>,
}

impl Told {
    /// A table of sizes, as columns.
    fn table(&mut self, part: &str, title: &str, measures: &[Measure], sides: &[Side]) {
        self.text.push(format!("**{title}**\n\n{}", report::table(measures, sides)));
        for mut row in report::rows(measures, sides) {
            row["part"] = part.into();
            self.rows.push(row);
        }
    }

    fn plot(&mut self, name: &'static str, plot: Plot) {
        self.text.push(format!("![{}](plots/{name}.svg)", plot.title));
        self.plots.push((name, plot));
    }

    fn and(&mut self, other: Self) {
        self.text.extend(other.text);
        self.plots.extend(other.plots);
        self.rows.extend(other.rows);
        self.bars.extend(other.bars);
    }
}

/// Measures all parts and reports; true when every bar is met.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    Ok(measure(home, arguments, interrupt)?.end(arguments.json))
}

pub(crate) fn measure(
    home: &Home,
    arguments: &Arguments,
    interrupt: &Interrupt,
) -> Result<Outcome> {
    let home = home.beside(home.root().join("growth"));
    let wants = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    let mut told = Told::default();
    if wants(Part::Send) {
        told.and(sending::measure(&home, arguments, interrupt)?);
    }
    if wants(Part::Lists) {
        told.and(reading::measure(&home, arguments, interrupt)?);
    }
    if wants(Part::Gateway) {
        told.and(gateway::measure(&home, arguments, interrupt)?);
    }
    tell(arguments, told)
}

fn tell(arguments: &Arguments, told: Told) -> Result<Outcome> {
    let Told { text: mut parts, plots, rows, bars } = told;
    parts.insert(0, header(arguments));
    let bar = |bar: &Bar| format!("- {}: {}", if bar.met { "met" } else { "NOT MET" }, bar.says);
    parts.push(bars.iter().map(bar).collect::<Vec<_>>().join("\n"));
    let text = parts.join("\n\n");
    say::line(&text);
    if arguments.write {
        for (name, plot) in &plots {
            results::write_plot(name, &plot.svg())?;
        }
        results::write("growth", &text)?;
    }
    let met = bars.iter().all(|bar| bar.met);
    let bars = bars
        .iter()
        .map(|bar| json!({ "name": bar.key, "value": report::rounded(bar.value), "met": bar.met }));
    let bars: Vec<_> = bars.collect();
    Ok(Outcome {
        met,
        json: json!({ "scenario": "growth", "rows": rows, "bars": bars, "met": met }),
    })
}

fn header(arguments: &Arguments) -> String {
    let Arguments { messages, times, sends, seconds, rounds, .. } = arguments;
    format!(
        "`cargo parley bench growth --messages {messages} --times {times} --sends {sends} --seconds {seconds} --rounds {rounds}`\n\n{}.",
        results::provenance()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_bar_that_is_not_met_is_enough() {
        #[derive(clap::Parser)]
        struct Program {
            #[command(flatten)]
            arguments: Arguments,
        }
        let program = <Program as clap::Parser>::try_parse_from(["growth"]).unwrap();
        let bar = |met| Bar { key: "k", says: "s".to_owned(), value: 1.0, met };
        for (bars, met) in [(vec![bar(true)], true), (vec![bar(true), bar(false)], false)] {
            let told = Told { bars, ..Told::default() };
            let outcome = tell(&program.arguments, told).unwrap();
            assert_eq!(outcome.met, met);
            assert_eq!(outcome.json["met"], met);
        }
    }
}
