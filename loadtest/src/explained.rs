//! What the database does for a request, and by which plans.
//!
//! Postgres explains every statement of the api pod into its own log (`auto_explain`), so the plans and times are those of
//! the service's statements as it sends them, and none of them stands here.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use parley_local::{Cluster, Home};
use serde_json::Value;

use crate::database::Database;
use crate::http::{Connection, address, request};
use crate::load::on_this_thread;

/// Requests of each kind before those that count.
const WARM_UP: usize = 20;

/// Something that is asked for, again and again.
pub(crate) struct Case {
    pub(crate) name: String,
    path: String,
    request: Vec<u8>,
}

impl Case {
    /// What is read at this path with this token.
    pub(crate) fn new(name: String, path: &str, token: &str) -> Self {
        Self { name, path: path.to_owned(), request: request("GET", path, token, "") }
    }
}

/// What the database did for one request.
#[derive(Clone, Debug, Default)]
pub(crate) struct Work {
    pub(crate) ms: f64,
    pub(crate) statements: usize,
    /// Rows of `messages` that were read.
    pub(crate) messages: u64,
    /// The nodes of the plans that touch `messages`, without costs.
    pub(crate) shape: Vec<String>,
}

/// What was explained of a case.
#[derive(Clone, Debug)]
pub(crate) struct Explained {
    /// Of the request in the middle.
    pub(crate) work: Work,
    /// How `messages` were read, and how often so.
    pub(crate) shapes: BTreeMap<String, usize>,
}

impl Explained {
    fn of(mut all: Vec<Work>) -> Self {
        let mut shapes = BTreeMap::new();
        for work in &all {
            *shapes.entry(work.shape.join("; ")).or_default() += 1;
        }
        all.sort_by(|one, other| one.ms.total_cmp(&other.ms));
        let middle = all.len() / 2;
        Self { work: all.swap_remove(middle), shapes }
    }
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

/// Somebody who asks an api pod, and reads in the log what that took.
pub(crate) struct Asking {
    address: String,
    log: PathBuf,
}

impl Asking {
    /// Asks this cluster, whose statements are explained from now on.
    pub(crate) fn begin(cluster: &Cluster, home: &Home, database: &Database) -> Result<Self> {
        explain_everything(database)?;
        let pod = cluster.description().api.first().context("there is no api pod")?;
        Ok(Self { address: address(&pod.url).to_owned(), log: home.log("postgres") })
    }

    /// Asks for each of these so many times, in turns: whatever else the machine does meanwhile slows all of them alike.
    pub(crate) fn all(&self, cases: &[Case], times: u16) -> Result<Vec<Explained>> {
        let works = on_this_thread(self.ask(cases, usize::from(times)))?;
        Ok(works.into_iter().map(Explained::of).collect())
    }

    async fn ask(&self, cases: &[Case], times: usize) -> Result<Vec<Vec<Work>>> {
        let first = cases.first().context("there is nothing to ask for")?;
        let mut connection = Connection::open(&self.address).await?;
        // The pod notices one by one that its connections have ended.
        let mut patience = 100;
        while connection.exchange(&first.request).await?.status != 200 {
            patience -= 1;
            if patience == 0 {
                bail!("the api pod does not recover its connections");
            }
        }
        let mut works = vec![Vec::with_capacity(times); cases.len()];
        for number in 0..times + WARM_UP {
            for (case, works) in cases.iter().zip(&mut works) {
                let work = self.once(&mut connection, case).await?;
                if number >= WARM_UP {
                    works.push(work);
                }
            }
        }
        Ok(works)
    }

    async fn once(&self, connection: &mut Connection, case: &Case) -> Result<Work> {
        let mut log = File::open(&self.log).context("cannot read Postgres' log")?;
        log.seek(SeekFrom::End(0))?;
        if connection.exchange(&case.request).await?.status != 200 {
            bail!("{} was refused", case.path);
        }
        let mut said = Vec::new();
        log.read_to_end(&mut said)?;
        Work::read(&String::from_utf8_lossy(&said))
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
    fn the_request_in_the_middle_stands_for_all() {
        let work =
            |ms: f64, plan: &str| Work { ms, shape: vec![plan.to_owned()], ..Work::default() };
        let explained = Explained::of(vec![work(9.0, "a"), work(1.0, "b"), work(2.0, "a")]);
        assert!((explained.work.ms - 2.0).abs() < 1e-9);
        assert_eq!(explained.shapes, [("a".to_owned(), 2), ("b".to_owned(), 1)].into());
    }
}
