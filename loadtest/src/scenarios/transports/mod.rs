//! `bench transports`: stock JavaScript clients behind a round-robin balancer without sticky sessions, over three gateways.
//!
//! They poll through the balancer; they poll at alternating gateways, by address; they begin with polling and end on a
//! WebSocket, in the middle of a stream. Nothing may be lost or doubled, nobody may be disconnected.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context, Result};
use parley_local::{Cluster, Durability, Home, Interrupt, Options, run_script, say, workspace};
use serde::Deserialize;
use serde_json::json;

use crate::measured;
use crate::results;

/// In this order: the last one costs a gateway.
const MODES: [(&str, &str); 4] = [
    ("polling", "polling only, through the balancer"),
    ("alternating", "polling only, each request at the next gateway by address"),
    ("default", "default transports, through the balancer"),
    ("death", "polling only, and one of the gateways dies"),
];

/// What `bench transports` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Stock clients of each turn
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u32).range(2..=5_000))]
    clients: u32,
    /// Clients of one room
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(2..=100))]
    members: u32,
    /// Messages a second, over all rooms
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    rate: u32,
    /// Clients that arrive each second
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=1_000))]
    arrivals: u32,
    /// Seconds of messages after the last has arrived
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=3_600))]
    seconds: u32,
    /// Write the table into loadtest/RESULTS.md
    #[arg(long)]
    write: bool,
}

/// What came of one turn, as the script says it.
#[derive(Debug, Deserialize)]
struct Turn {
    mode: String,
    clients: u64,
    said: u64,
    heard: u64,
    lost: i64,
    doubled: u64,
    disordered: u64,
    joined_again: u64,
    transports: BTreeMap<String, u64>,
    ends: BTreeMap<String, u64>,
    errors: BTreeMap<String, u64>,
    /// What gateways have counted meanwhile.
    gateways: BTreeMap<String, u64>,
}

impl Turn {
    /// What is against the promise.
    fn complaints(&self) -> Vec<String> {
        let mut complaints = Vec::new();
        let dies = self.mode == "death";
        let transport = if self.mode == "default" { "websocket" } else { "polling" };
        let there = self.transports.get(transport).copied().unwrap_or_default();
        let counts = [
            ("messages lost", self.lost.unsigned_abs()),
            ("messages doubled", self.doubled),
            ("clients heard out of order", self.disordered),
            ("clients did not join exactly once", if dies { 0 } else { self.joined_again }),
            ("clients are not on their transport", self.clients - there.min(self.clients)),
        ];
        let noticed = [
            ("disconnects", self.ends.values().sum()),
            ("errors", self.errors.values().sum()),
            ("requests of sessions that nobody knew", self.count("refused", "unknown_session")),
        ];
        let counts = counts.into_iter().chain(noticed.into_iter().filter(|_| !dies));
        for (what, count) in counts.filter(|(_, count)| *count > 0) {
            complaints.push(format!("{count} {what}"));
        }
        if dies && self.joined_again == 0 {
            complaints.push("nobody had to come back".to_owned());
        }
        let details = self.ends.iter().chain(&self.errors).filter(|_| !dies);
        complaints.extend(details.take(5).map(|(what, count)| format!("{count} times: {what}")));
        if self.count("forwards", "answered") == 0 {
            complaints.push("no poll came to another gateway".to_owned());
        }
        complaints
    }

    fn count(&self, family: &str, label: &str) -> u64 {
        let series = self.gateways.iter().filter(|(series, _)| {
            series.starts_with(family) && series.contains(&format!("\"{label}\""))
        });
        series.map(|(_, count)| count).sum()
    }
}

/// Runs all turns; true when nobody has to complain.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    let home = home.beside(home.root().join("transports"));
    let cluster = Cluster::start(&home, &options(), interrupt)?;
    let script = workspace().join("loadtest/src/scenarios/transports/clients.mjs");
    let mut turns = Vec::new();
    for (mode, what) in MODES {
        say::note(format_args!("{} clients: {what}", arguments.clients));
        let told = json!({
            "cluster": home.cluster_file(),
            "mode": mode,
            "clients": arguments.clients,
            "members": arguments.members,
            "rate": arguments.rate,
            "arrivals": arguments.arrivals,
            "seconds": arguments.seconds,
        });
        let said = run_script(&home, &script, &[&told.to_string()], interrupt)?;
        let last = said.lines().last().context("the clients said nothing")?;
        let turn: Turn = serde_json::from_str(last).with_context(|| format!("clients: {last}"))?;
        for complaint in turn.complaints() {
            say::note(format_args!("{what}: {complaint}"));
        }
        turns.push(turn);
    }
    drop(cluster);
    let Arguments { clients, members, rate, arrivals, seconds, .. } = arguments;
    let header = format!(
        "`cargo parley bench transports --clients {clients} --members {members} --rate {rate} --arrivals {arrivals} --seconds \
        {seconds}`\n\n{}. Unmodified socket.io-client in Node.js, three gateways, nginx with plain round robin.",
        results::provenance(),
    );
    let text = table(&turns);
    say::line(format_args!("{header}\n\n{text}"));
    if arguments.write {
        results::write("transports", &format!("{header}\n\n{text}"))?;
    }
    Ok(turns.iter().all(|turn| turn.complaints().is_empty()))
}

fn options() -> Options {
    Options { api: 2, gateways: 3, durability: Durability::Forgetful, ..measured::cluster(&[]) }
}

fn table(turns: &[Turn]) -> String {
    let mut text = String::from(
        "| clients | on | messages | heard | lost | doubled | disconnects | joined again | unknown sessions | requests passed on | sessions moved |\n\
        | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n",
    );
    for turn in turns {
        let mode = MODES.iter().find(|(mode, _)| *mode == turn.mode).map_or("?", |(_, what)| what);
        let on: Vec<_> =
            turn.transports.iter().map(|(on, count)| format!("{count} {on}")).collect();
        let _ = writeln!(
            text,
            "| {}, {mode} | {} | {} | {} | {} | {} | {} | {} | {} | {} | {} |",
            turn.clients,
            on.join(", "),
            turn.said,
            turn.heard,
            turn.lost,
            turn.doubled,
            turn.ends.values().sum::<u64>(),
            turn.joined_again,
            turn.count("refused", "unknown_session"),
            turn.count("forwards", "answered"),
            turn.count("moves", "arrived"),
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn turn(change: impl FnOnce(&mut Turn)) -> Vec<String> {
        let gateways = [("forwards_total{outcome=\"answered\"}".to_owned(), 7)].into();
        let mut turn = Turn {
            mode: "default".to_owned(),
            clients: 2,
            said: 3,
            heard: 6,
            lost: 0,
            doubled: 0,
            disordered: 0,
            joined_again: 0,
            transports: [("websocket".to_owned(), 2)].into(),
            ends: BTreeMap::new(),
            errors: BTreeMap::new(),
            gateways,
        };
        change(&mut turn);
        turn.complaints()
    }

    #[test]
    fn whoever_was_on_a_gateway_that_died_comes_back_and_misses_nothing() {
        let died = |it: &mut Turn| {
            it.mode = "death".to_owned();
            it.transports = [("polling".to_owned(), 2)].into();
            it.ends = [("transport error: ".to_owned(), 1)].into();
            it.joined_again = 1;
        };
        assert_eq!(turn(died), Vec::<String>::new());
        let nobody = turn(|it| {
            died(it);
            it.joined_again = 0;
        });
        assert_eq!(nobody, ["nobody had to come back"]);
        let lost = turn(|it| {
            died(it);
            it.lost = 1;
        });
        assert_eq!(lost, ["1 messages lost"]);
    }

    #[test]
    fn whatever_a_client_notices_is_complained_of() {
        assert_eq!(turn(|_| {}), Vec::<String>::new());
        assert_eq!(turn(|it| it.lost = 1), ["1 messages lost"]);
        assert_eq!(turn(|it| it.doubled = 2), ["2 messages doubled"]);
        assert_eq!(turn(|it| it.disordered = 1), ["1 clients heard out of order"]);
        assert_eq!(turn(|it| it.joined_again = 1), ["1 clients did not join exactly once"]);
        let stays = |it: &mut Turn| it.transports = [("websocket".to_owned(), 1)].into();
        assert_eq!(turn(stays), ["1 clients are not on their transport"]);
        let ends = turn(|it| it.ends = [("transport close: ".to_owned(), 3)].into());
        assert_eq!(ends, ["3 disconnects", "3 times: transport close: "]);
        let unknown = "refused_total{reason=\"unknown_session\"}".to_owned();
        let unknown = turn(|it| it.gateways.extend([(unknown, 1)]));
        assert_eq!(unknown, ["1 requests of sessions that nobody knew"]);
        assert_eq!(turn(|it| it.gateways.clear()), ["no poll came to another gateway"]);
    }
}
