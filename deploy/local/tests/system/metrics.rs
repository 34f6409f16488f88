//! The list of all metrics, and that each is of use.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use parley_local::{Cluster, Interrupt, Pod, observers, testing, workspace};

/// Metrics that no dashboard and no alert uses, and why.
const UNUSED: [(&str, &str); 3] = [
    ("parley_gateway_endings_forgotten_total", "each answer to /why says how far back it reaches"),
    ("parley_trace_spans_total", "for whoever collects traces, and misses some"),
    ("process_virtual_memory_bytes", "comes with the process's others; what is occupied counts"),
];

const INTRODUCTION: &str = "\
# Metrics

What the pods tell at `/metrics` of their admin ports. Written by a test from what pods of a cluster tell, compared by it
since, and written anew with `PARLEY_WRITE_METRICS=1 cargo parley test` or as
[one test by itself](local/README.md#tests). No label holds a chat or a user. Histograms have the usual `_bucket`, `_sum`
and `_count`. Where one is used: [dashboards](grafana), and in italics [rule files](prometheus).
";

/// What pods say of one metric.
struct Family {
    kind: String,
    help: String,
    labels: BTreeSet<String>,
    services: BTreeSet<&'static str>,
}

type Families = BTreeMap<String, Family>;

#[test]
fn the_list_of_metrics_is_true() {
    let cluster = Cluster::of_test();
    let mut uses = uses();
    let families = families(&cluster);
    let list = list(&families, &mut uses);
    let file = workspace().join("deploy/METRICS.md");
    if std::env::var_os("PARLEY_WRITE_METRICS").is_some() {
        std::fs::write(&file, &list).unwrap();
    }
    let unknown: Vec<_> = uses.keys().collect();
    assert!(unknown.is_empty(), "used, and told by no pod: {unknown:?}");
    let written = std::fs::read_to_string(&file).unwrap_or_default();
    let differing: Vec<_> = list
        .lines()
        .filter(|line| !written.lines().any(|it| it == *line))
        .chain(written.lines().filter(|line| !list.lines().any(|it| it == *line)))
        .collect();
    assert!(
        written == list,
        "deploy/METRICS.md is not fresh, PARLEY_WRITE_METRICS=1 writes it: {differing:#?}"
    );
}

#[test]
fn every_metric_is_used_or_says_why_not() {
    let cluster = Cluster::of_test();
    let (uses, families) = (uses(), families(&cluster));
    let unused: Vec<_> =
        families.iter().filter(|(name, family)| used(&uses, name, family).is_empty()).collect();
    let unused: Vec<_> = unused.iter().map(|(name, _)| name.as_str()).collect();
    assert_eq!(unused, UNUSED.map(|(name, _)| name), "neither in a dashboard nor in an alert");
}

#[test]
fn promtool_finds_nothing_to_say() {
    let cluster = Cluster::of_test();
    let home = testing::home("promtool").unwrap();
    let promtool = observers(&home, &Interrupt::default()).unwrap().promtool;
    for pod in cluster.description().pods() {
        let mut check = Command::new(&promtool);
        check.args(["check", "metrics"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut check = check.stderr(Stdio::piped()).spawn().unwrap();
        check.stdin.take().unwrap().write_all(told(pod).as_bytes()).unwrap();
        let said = check.wait_with_output().unwrap();
        let words = String::from_utf8_lossy(&said.stderr);
        assert!(said.status.success() && words.is_empty(), "{}: {words}", pod.name);
    }
}

/// What a pod tells now.
fn told(pod: &Pod) -> String {
    let agent = ureq::Agent::config_builder().proxy(None).build().new_agent();
    let mut answer = agent.get(format!("{}/metrics", pod.admin)).call().unwrap();
    answer.body_mut().read_to_string().unwrap()
}

fn families(cluster: &Cluster) -> Families {
    let description = cluster.description();
    let mut families = Families::new();
    for (service, pods) in [
        ("api", &description.api),
        ("gateway", &description.gateway),
        ("courier", &description.courier),
    ] {
        for pod in pods {
            read(&mut families, service, &told(pod));
        }
    }
    families
}

/// Reads Prometheus's text: `# HELP`, `# TYPE`, and samples with their labels.
fn read(families: &mut Families, service: &'static str, text: &str) {
    let mut helps = BTreeMap::new();
    let mut current = String::new();
    for line in text.lines() {
        if let Some((name, help)) = line.strip_prefix("# HELP ").and_then(|it| it.split_once(' ')) {
            helps.insert(name.to_owned(), help.to_owned());
        } else if let Some((name, kind)) =
            line.strip_prefix("# TYPE ").and_then(|it| it.split_once(' '))
        {
            name.clone_into(&mut current);
            let family = families.entry(current.clone()).or_insert_with(|| Family {
                kind: kind.to_owned(),
                help: helps.remove(name).unwrap(),
                labels: BTreeSet::new(),
                services: BTreeSet::new(),
            });
            family.services.insert(service);
        } else if let Some(family) = families.get_mut(&current) {
            family.labels.extend(labels(line).filter(|label| label != "le"));
        }
    }
}

/// The names of a sample's labels. Values hold no quotes here.
fn labels(line: &str) -> impl Iterator<Item = String> + '_ {
    let inside = line.split_once('{').and_then(|(_, rest)| rest.rsplit_once('}'));
    let inside = inside.map_or("", |(labels, _)| labels);
    let names = inside.split("=\"").map(|part| part.rsplit(['"', ',']).next().unwrap_or(part));
    let mut names: Vec<_> = names.map(str::to_owned).collect();
    // What follows the last `="` is a value.
    names.pop();
    names.into_iter()
}

/// The names in dashboards and rule files, each with where it is.
fn uses() -> BTreeMap<String, BTreeSet<String>> {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (folder, ending) in [("deploy/grafana", "json"), ("deploy/prometheus", "yaml")] {
        for file in files(&workspace().join(folder), ending) {
            let text = std::fs::read_to_string(&file).unwrap();
            let place = file.file_stem().unwrap().to_string_lossy().into_owned();
            let place = if ending == "json" { place } else { format!("*{place}*") };
            for name in names(&text) {
                uses.entry(name).or_default().insert(place.clone());
            }
        }
    }
    assert!(uses.len() > 20, "{uses:?}");
    uses
}

fn files(folder: &Path, ending: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|it| it == ending));
    assert!(!files.is_empty(), "nothing in {}", folder.display());
    files
}

/// Words that are names of metrics of ours or of the process. Names of recorded rules have colons, and those of alerts and
/// jobs are spelt otherwise.
fn names(text: &str) -> impl Iterator<Item = String> + '_ {
    let words = text.split(|it: char| !(it.is_ascii_alphanumeric() || it == '_' || it == ':'));
    let ours = |word: &&str| word.starts_with("parley_") || word.starts_with("process_");
    words.filter(ours).filter(|word| !word.contains(':')).map(str::to_owned)
}

/// Where a family is used, by its name or by one of its series'.
fn used(
    uses: &BTreeMap<String, BTreeSet<String>>,
    name: &str,
    family: &Family,
) -> BTreeSet<String> {
    series(name, family).iter().filter_map(|name| uses.get(name)).flatten().cloned().collect()
}

fn series(name: &str, family: &Family) -> Vec<String> {
    match family.kind.as_str() {
        "histogram" => ["_bucket", "_sum", "_count"].map(|end| format!("{name}{end}")).into(),
        _ => vec![name.to_owned()],
    }
}

/// The list as it is to be written; what it has found a metric for is taken out of `uses`.
fn list(families: &Families, uses: &mut BTreeMap<String, BTreeSet<String>>) -> String {
    let mut list = INTRODUCTION.to_owned();
    list += "\n| metric | type | unit | labels | of | meaning | used |\n";
    list += "| --- | --- | --- | --- | --- | --- | --- |\n";
    for (name, family) in families {
        let join = |words: Vec<&str>| words.join(", ");
        let places = used(uses, name, family);
        let places = match UNUSED.iter().find(|(unused, _)| unused == name) {
            Some((_, why)) if places.is_empty() => format!("no: {why}"),
            _ => join(places.iter().map(String::as_str).collect()),
        };
        writeln!(
            list,
            "| `{name}` | {} | {} | {} | {} | {} | {places} |",
            family.kind,
            unit(name, family),
            join(family.labels.iter().map(String::as_str).collect()),
            join(family.services.iter().copied().collect()),
            family.help.replace('|', "\\|"),
        )
        .unwrap();
        for name in series(name, family) {
            uses.remove(&name);
        }
    }
    list
}

/// What is counted, by the name: Prometheus has units at its end.
fn unit(name: &str, family: &Family) -> &'static str {
    let name = name.strip_suffix("_total").unwrap_or(name);
    if name.ends_with("_seconds") {
        "seconds"
    } else if name.ends_with("_bytes") {
        "bytes"
    } else if family.help.starts_with("1 while") {
        "0 or 1"
    } else {
        "number"
    }
}
