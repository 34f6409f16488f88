//! `bench webhooks`: a receiver that is away for a while beside one that is not, deliveries in steady state, and what a
//! webhook costs a send.

mod receiver;
mod sender;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use parley_local::{Client, Cluster, Home, Interrupt, Options, Role, Token, say};
use serde_json::json;

use crate::measured;
use crate::report::Range;
use crate::results;
use crate::servers::Servers;
use crate::window::{WARM_UP, percentile};
use receiver::Receiver;
use sender::People;

/// Limits that are asked and never refuse; and pauses that are as short as the outage is, beside one of the real world.
const SETTINGS: [(&str, &str); 5] = [
    ("PARLEY_MESSAGE_LIMITS", "user=none"),
    ("PARLEY_ATTEMPT_LIMIT", "100000/5"),
    ("PARLEY_WEBHOOK_RETRY_MS", "500"),
    ("PARLEY_WEBHOOK_RETRY_CAP_MS", "5000"),
    ("PARLEY_WEBHOOK_TIMEOUT_MS", "2000"),
];
/// After which every pod tells a webhook of everything, with a margin.
const NOTED: Duration = Duration::from_secs(6);
/// In which everything that has waited has to be told once the receiver is back.
const DRAINED: Duration = Duration::from_mins(1);
/// How much slower another receiver may be told meanwhile, the slowest hundredth.
const OTHERS: f64 = 1.2;
/// In which the slowest hundredth has to arrive in steady state: milliseconds.
const STEADY_MS: f64 = 500.0;
/// How much more a send may cost that a webhook is told of.
const COST: f64 = 1.25;

/// What `bench webhooks` can be told.
#[derive(Clone, Debug, clap::Args)]
pub struct Arguments {
    /// Seconds for which the receiver is away
    #[arg(long, default_value_t = 600, value_parser = clap::value_parser!(u64).range(10..=3600))]
    away: u64,
    /// Messages a second around that
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=5000))]
    rate: u32,
    /// Seconds of steady state, and of each round of costs
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(5..=600))]
    seconds: u64,
    /// Messages a second in them
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(1..=5000))]
    steady: u32,
    /// Rounds of costs
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=100))]
    rounds: u16,
    /// Direct chats
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u32).range(10..=10_000))]
    chats: u32,
    /// Write the findings into loadtest/RESULTS.md
    #[arg(long)]
    write: bool,
}

/// What was found, line by line, and whether every bar is met.
#[derive(Default)]
struct Findings {
    lines: Vec<String>,
    missed: bool,
}

impl Findings {
    fn add(&mut self, met: bool, what: &str) {
        let line = format!("- {}: {what}", if met { "met" } else { "NOT MET" });
        say::line(&line);
        self.lines.push(line);
        self.missed |= !met;
    }
}

/// Runs all parts; true when every bar is met.
pub fn run(home: &Home, arguments: &Arguments, interrupt: &Interrupt) -> Result<bool> {
    let home = home.beside(home.root().join("bench"));
    let Arguments { away, rate, seconds, steady, rounds, chats, .. } = *arguments;
    let settings: Vec<_> =
        SETTINGS.iter().map(|(name, value)| format!("`{name}={value}`")).collect();
    let header = format!(
        "`cargo parley bench webhooks --away {away} --rate {rate} --seconds {seconds} --steady {steady} --rounds {rounds} --chats {chats}`\n\n\
        {}. Two api pods, two couriers (none while costs are measured), receivers and load on the same cores; {}.\n",
        results::provenance(),
        settings.join(", "),
    );
    say::line(&header);
    let mut findings = Findings::default();
    Stage::start(&home, arguments, 2, interrupt)?.outage(&mut findings)?;
    Stage::start(&home, arguments, 2, interrupt)?.steady(&mut findings)?;
    Stage::start(&home, arguments, 0, interrupt)?.costs(&mut findings)?;
    if arguments.write {
        results::write("webhooks", &format!("{header}\n{}", findings.lines.join("\n")))?;
    }
    Ok(!findings.missed)
}

/// A cluster with people.
struct Stage<'a> {
    arguments: &'a Arguments,
    interrupt: &'a Interrupt,
    people: People,
    host: Client,
    cluster: Cluster,
}

impl<'a> Stage<'a> {
    fn start(
        home: &Home,
        arguments: &'a Arguments,
        couriers: u16,
        interrupt: &'a Interrupt,
    ) -> Result<Self> {
        let options = Options { api: 2, couriers, ..measured::cluster(&SETTINGS) };
        let cluster = Cluster::start(home, &options, interrupt)?;
        let running = cluster.description();
        let token = Token {
            role: Role::Service,
            ttl: Duration::from_hours(24),
            ..Token::user("bench-host")
        };
        let host = Client::new(&running.url, Some(token.sign(&running.jwt.secret)?));
        let people = People::make(running, arguments.chats)?;
        Ok(Self { arguments, interrupt, people, host, cluster })
    }

    /// A receiver, and a webhook that leads to it; returns its id.
    fn receiver(&self) -> Result<(Receiver, String)> {
        let receiver = Receiver::start()?;
        let new = json!({ "url": format!("http://{}/", receiver.address), "events": ["message.created"] });
        let made = self.host.post("/api/webhooks", &new)?;
        let id = made.data()?["webhook"]["_id"].as_str().context("no webhook")?.to_owned();
        Ok((receiver, id))
    }

    fn wait(&self, time: Duration) -> Result<()> {
        let end = Instant::now() + time;
        while Instant::now() < end {
            if self.interrupt.asked() {
                bail!("interrupted");
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits until a receiver has heard so many; says how long that took.
    fn until(&self, receiver: &Receiver, events: u64, most: Duration) -> Result<Duration> {
        let began = Instant::now();
        while receiver.look(|heard| heard.events) < events && began.elapsed() < most {
            self.wait(Duration::from_millis(20))?;
        }
        Ok(began.elapsed())
    }

    /// One receiver is away, with couriers that are killed; another one is not.
    fn outage(mut self, findings: &mut Findings) -> Result<()> {
        let Arguments { away, rate, .. } = *self.arguments;
        let ((one, _), (other, _)) = (self.receiver()?, self.receiver()?);
        self.wait(NOTED)?;
        let sending = self.people.send(rate);
        // As long, so that both have their share of what Postgres does every few minutes.
        let before = self.phase(Duration::from_secs(away))?;
        one.goes_away();
        let began = now()?;
        let mut killed = 0;
        for turn in 0..away / 10 {
            self.wait(Duration::from_secs(10))?;
            // Every half minute, one after the other; the couriers of the first and the last part live.
            if turn % 3 == 1 && turn + 3 < away / 10 {
                let name = format!("courier-{}", killed % 2 + 1);
                self.cluster.kill(&name)?;
                self.cluster.restart(&name)?;
                killed += 1;
            }
        }
        let during = (began, now()?);
        one.comes_back();
        let waited = sending.sent();
        let drained = self.until(&one, waited, DRAINED * 5)?;
        let sent = sending.stop()?;
        self.until(&one, sent, DRAINED)?;
        self.until(&other, sent, DRAINED)?;
        let lost = sent - one.look(|heard| heard.events) + sent - other.look(|heard| heard.events);
        findings.add(lost == 0, &format!("{sent} messages, a receiver away for {away} s, {killed} couriers killed: {lost} lost"));
        let wrong = one.look(|heard| heard.disordered) + other.look(|heard| heard.disordered);
        let again = one.look(|heard| heard.again) + other.look(|heard| heard.again);
        findings.add(
            wrong == 0,
            &format!("{wrong} out of a chat's order; {again} came again, under their ids"),
        );
        let took = drained.as_secs_f64();
        findings.add(
            drained <= DRAINED,
            &format!(
                "what had waited was told {took:.1} s after the receiver's return (bar {} s)",
                DRAINED.as_secs()
            ),
        );
        let p99 = |span| f64::from(percentile(&other.look(|heard| heard.between(span)), 99)) / 1e3;
        let (quiet, meanwhile) = (p99(before), p99(during));
        let ratio = meanwhile / quiet;
        let tenths = |span| {
            let shown: Vec<_> = tenths(span).map(|tenth| format!("{:.0}", p99(tenth))).collect();
            shown.join(", ")
        };
        findings.add(
            ratio <= OTHERS,
            &format!(
                "the other receiver's p99 {meanwhile:.0} ms meanwhile (in each tenth of it {}), {quiet:.0} ms in as long a time before \
                ({}): {ratio:.2} (bar {OTHERS})",
                tenths(during),
                tenths(before),
            ),
        );
        Ok(())
    }

    /// Nothing goes wrong.
    fn steady(self, findings: &mut Findings) -> Result<()> {
        let Arguments { seconds, steady, .. } = *self.arguments;
        let (receiver, _) = self.receiver()?;
        self.wait(NOTED)?;
        let sending = self.people.send(steady);
        self.wait(Duration::from_secs(5))?;
        let span = self.phase(Duration::from_secs(seconds))?;
        let sent = sending.stop()?;
        self.until(&receiver, sent, DRAINED)?;
        let latencies = receiver.look(|heard| heard.between(span));
        let millis = |percent| f64::from(percentile(&latencies, percent)) / 1e3;
        let rate = latencies.len() as u64 / seconds;
        findings.add(
            millis(99) < STEADY_MS && rate * 10 >= u64::from(steady) * 9,
            &format!("{rate} events/s: from the message's time to its receipt p50 {:.0} ms, p99 {:.0} ms (bar {STEADY_MS} ms)", millis(50), millis(99)),
        );
        Ok(())
    }

    /// What a send costs all servers, with and without a webhook that wants it; no courier runs.
    fn costs(self, findings: &mut Findings) -> Result<()> {
        let Arguments { seconds, steady, rounds, .. } = *self.arguments;
        let (_, webhook) = self.receiver()?;
        let (servers, load) = (Servers::of(self.cluster.description()), std::process::id());
        let mut ratios = Vec::new();
        for round in 1..=rounds {
            let mut costs = [0.0; 2];
            for (wanted, cost) in [false, true].into_iter().zip(&mut costs) {
                self.switch(&webhook, wanted)?;
                self.wait(NOTED)?;
                let sending = self.people.send(steady);
                self.wait(WARM_UP)?;
                let (from, before) = (servers.usage(load)?, sending.sent());
                self.wait(Duration::from_secs(seconds))?;
                let (to, after) = (servers.usage(load)?, sending.sent());
                sending.stop()?;
                #[expect(clippy::cast_precision_loss, reason = "a few thousand sends")]
                let sent = after.saturating_sub(before).max(1) as f64;
                let each = to.since(&from).by_all().as_secs_f64() * 1e6 / sent;
                *cost = each;
            }
            let [without, with] = costs;
            say::note(format_args!(
                "round {round}: {without:.0} µs a send without, {with:.0} µs with"
            ));
            ratios.push(with / without);
        }
        let ratio = Range::of(ratios).context("no rounds")?;
        findings.add(ratio.median <= COST, &format!("a send that a webhook wants costs all servers {} of one that none wants (bar {COST}), at {steady} a second", ratio.shown(2)));
        Ok(())
    }

    fn switch(&self, webhook: &str, enabled: bool) -> Result<()> {
        let path = format!("/api/webhooks/{webhook}");
        self.host.patch(&path, &json!({ "enabled": enabled }))?.data().map(drop)
    }

    /// A stretch of time, as the moments at which it begins and ends.
    fn phase(&self, time: Duration) -> Result<(u64, u64)> {
        let from = now()?;
        self.wait(time)?;
        Ok((from, now()?))
    }
}

/// A stretch of time in ten.
fn tenths((from, to): (u64, u64)) -> impl Iterator<Item = (u64, u64)> {
    let place = move |tenth| from + (to - from) * tenth / 10;
    (0..10).map(move |tenth| (place(tenth), place(tenth + 1)))
}

fn now() -> Result<u64> {
    Ok(u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH)?.as_micros())?)
}
