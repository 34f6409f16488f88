//! A message's way, as a real OTLP receiver is told of it; and what log lines hold and never hold.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use parley_local::{Client, Cluster, Home, Interrupt, Options, testing};
use serde_json::{Value, json};
use ureq::Agent;

use crate::listener::Listener;
use crate::operator::eventually;
use crate::people::{Person, direct_chat, send};

/// What the test's own request says of itself.
const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";
const REQUEST_ID: &str = "request-of-the-test";
/// What must not be found in any log.
const WORDS: &str = "marker-of-what-people-say";

/// oteltap, with what it has received in a file.
struct Receiver {
    child: Child,
    port: u16,
    said: PathBuf,
}

impl Receiver {
    fn start(home: &Home) -> Self {
        let free = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = free.local_addr().unwrap().port();
        drop(free);
        fs::create_dir_all(home.root()).unwrap();
        let said = home.root().join("spans.ndjson");
        let mut command = Command::new(testing::tool(home, "oteltap"));
        command.args(["--port", &port.to_string()]).env("PYTHONUNBUFFERED", "1");
        let file = File::create(&said).unwrap();
        let child = command.stdin(Stdio::null()).stdout(file).spawn().unwrap();
        let receiver = Self { child, port, said };
        eventually("the receiver", || receiver.said().contains("Listening"));
        receiver
    }

    fn said(&self) -> String {
        fs::read_to_string(&self.said).unwrap()
    }

    fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// The spans of one trace. The receiver writes each as a line, with ids in hexadecimal.
    fn spans(&self, trace_id: &str) -> Vec<Span> {
        let said = self.said();
        let spans = said.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
        spans.filter(|span| span["traceId"] == trace_id).map(|span| Span::read(&span)).collect()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[derive(Debug, Clone)]
struct Span {
    name: String,
    pod: String,
    id: String,
    parent: String,
    begin: u64,
    end: u64,
    attributes: BTreeMap<String, String>,
}

impl Span {
    fn read(span: &Value) -> Self {
        let text = |name: &str| span[name].as_str().unwrap().to_owned();
        let nanos = |name: &str| text(name).parse().unwrap();
        let attributes = attributes(&span["attributes"]);
        Self {
            name: text("name"),
            pod: attributes.get("pod").cloned().unwrap_or_default(),
            id: text("spanId"),
            parent: text("parentSpanId"),
            begin: nanos("startTimeUnixNano"),
            end: nanos("endTimeUnixNano"),
            attributes,
        }
    }
}

fn attributes(list: &Value) -> BTreeMap<String, String> {
    let pairs = list.as_array().cloned().unwrap_or_default().into_iter().map(|pair| {
        let value = pair["value"].as_object().and_then(|value| value.values().next()).cloned();
        let value = value.unwrap_or_default();
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (pair["key"].as_str().unwrap().to_owned(), text)
    });
    pairs.collect()
}

/// The trace as a tree, each span with its begin since the first one's, and how long it took.
fn tree(spans: &[Span], parent: &str, depth: usize, first: u64) -> String {
    let mut tree = String::new();
    let mut children: Vec<&Span> = spans.iter().filter(|it| it.parent == parent).collect();
    children.sort_by_key(|it| it.begin);
    for it in children {
        let ms = |nanos: u64| f64::from(u32::try_from(nanos / 1_000).unwrap()) / 1_000.0;
        let name = format!("{}{}", "  ".repeat(depth), it.name);
        let (begin, took) = (ms(it.begin.saturating_sub(first)), ms(it.end - it.begin));
        let of: Vec<String> =
            it.attributes.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let line = format!("{name:<36} {:<10} +{begin:>8.3} ms {took:>8.3} ms  ", it.pod);
        tree.extend(["\n", &line, &of.join(" ")]);
        tree += &self::tree(spans, &it.id, depth + 1, first);
    }
    tree
}

/// Sends as a caller who is traced does.
fn send_traced(url: &str, person: &Person, chat: &str) -> String {
    let agent: Agent = Agent::config_builder().proxy(None).build().new_agent();
    let mut answer = agent
        .post(format!("{url}/api/chat/{chat}/messages"))
        .header("authorization", format!("Bearer {}", person.token()))
        .header("traceparent", format!("00-{TRACE_ID}-{CALLER}-01"))
        .header("x-request-id", REQUEST_ID)
        .content_type("application/json")
        .send(json!({ "content": WORDS }).to_string())
        .unwrap();
    let id = answer.headers().get("x-request-id").unwrap().to_str().unwrap();
    assert_eq!(id, REQUEST_ID, "what is well-formed is given back");
    let body: Value = serde_json::from_str(&answer.body_mut().read_to_string().unwrap()).unwrap();
    body["data"]["message"]["_id"].as_str().unwrap().to_owned()
}

#[test]
fn a_trace_goes_from_the_request_to_the_deliveries_on_two_gateways_and_logs_hold_no_words() {
    let home = testing::home("traces").unwrap();
    let receiver = Receiver::start(&home);
    let settings = [
        ("PARLEY_OTLP_ENDPOINT", receiver.url()),
        ("PARLEY_TRACE_SAMPLE", "1".to_owned()),
        ("PARLEY_LOG", "trace".to_owned()),
        ("PARLEY_LOG_FORMAT", "json".to_owned()),
    ];
    let settings = settings.map(|(name, value)| (name.to_owned(), value)).to_vec();
    let options = Options { settings, ..Options::for_tests() };
    let cluster = Cluster::start(&home, &options, &Interrupt::default()).unwrap();
    let description = cluster.description().clone();
    let (alice, bob) = (Person::new(&description, "alice"), Person::new(&description, "bob"));
    let chat = direct_chat(&alice.at(&description.url), &bob);
    let (one, two) = (&description.gateway[0], &description.gateway[1]);
    let mut listeners = [
        Listener::join(&one.url, &alice, &chat),
        Listener::join(&one.url, &bob, &chat),
        Listener::join(&two.url, &bob, &chat),
    ];
    send_traced(&description.url, &alice, &chat);
    for listener in &mut listeners {
        assert_eq!(listener.hears_message()["content"], WORDS);
    }
    // Words in every kind of request that may fail.
    send(&alice.at(&description.url), &chat, &format!("{WORDS}\0"));
    alice.at(&description.url).post_text(&format!("/api/chat/{chat}/messages"), WORDS).unwrap();

    let deliveries = |spans: &[Span]| spans.iter().filter(|it| it.name == "deliver").count();
    eventually("the whole trace", || {
        let spans = receiver.spans(TRACE_ID);
        deliveries(&spans) == 2 && spans.iter().any(|it| it.parent == CALLER)
    });
    let spans = receiver.spans(TRACE_ID);
    let first = spans.iter().map(|it| it.begin).min().unwrap();
    eprintln!("trace {TRACE_ID}{}", tree(&spans, CALLER, 0, first));
    is_whole(&spans, [&one.name, &two.name]);

    logs_hold_ids_and_no_words(&home, &[&alice, &bob], &description.jwt.secret);
    what_is_logged_changes(&description.api[0].admin);
    drop(cluster);
    fs::remove_dir_all(home.root()).unwrap();
}

/// Each step under the one before, and a delivery on each gateway under the publishing.
fn is_whole(spans: &[Span], gateways: [&String; 2]) {
    let one = |name: &str| {
        let mut found = spans.iter().filter(|it| it.name == name);
        let span = found.next().unwrap_or_else(|| panic!("no {name} in {spans:#?}"));
        assert_eq!(found.count(), 0, "more than one {name}");
        span
    };
    let request = one("POST /api/chat/{id}/messages");
    assert_eq!(request.parent, CALLER);
    assert_eq!(request.attributes["http.response.status_code"], "201");
    assert_eq!(request.attributes["request.id"], REQUEST_ID);
    let (limit, append) = (one("limit"), one("append"));
    assert_eq!((&limit.parent, &append.parent), (&request.id, &request.id));
    let (commit, publish) = (one("commit"), one("publish"));
    assert_eq!((&commit.parent, &publish.parent), (&append.id, &append.id));
    assert!(commit.end <= publish.begin, "what is not committed is not told");
    let deliveries: Vec<&Span> = spans.iter().filter(|it| it.name == "deliver").collect();
    let pods: BTreeSet<&String> = deliveries.iter().map(|it| &it.pod).collect();
    assert_eq!(pods, gateways.into());
    let mut told: Vec<&str> = deliveries.iter().map(|it| &*it.attributes["members.told"]).collect();
    told.sort_unstable();
    assert_eq!(told, ["1", "2"]);
    for it in deliveries {
        assert_eq!((&it.parent, &*it.attributes["chat.version"]), (&publish.id, "1"));
    }
    let words = spans.iter().flat_map(|it| it.attributes.values());
    assert!(words.clone().all(|value| !value.contains(WORDS)));
}

/// Everything that pods have logged, at the most talkative level.
fn logs_hold_ids_and_no_words(home: &Home, people: &[&Person], secret: &str) {
    let folder = home.root().join("logs");
    let pods: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            name.starts_with("api-") || name.starts_with("gateway-")
        })
        .map(|path| fs::read_to_string(path).unwrap())
        .collect();
    assert_eq!(pods.len(), 4, "{}", folder.display());
    let logged = pods.concat();
    let line = logged.lines().find(|line| line.contains(REQUEST_ID)).expect("the request's line");
    let line: Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["request.id"], &line["trace.id"]), (&REQUEST_ID.into(), &TRACE_ID.into()));
    let secrets = people.iter().map(|person| person.token()).chain([WORDS, secret]);
    for hidden in secrets {
        // The last part of a token is its signature.
        let hidden = hidden.rsplit('.').next().unwrap();
        let found = logged.lines().find(|line| line.contains(hidden));
        assert_eq!(found, None, "logged: {hidden}");
    }
}

/// Without a restart, and back by itself.
fn what_is_logged_changes(admin: &str) {
    let agent: Agent =
        Agent::config_builder().proxy(None).http_status_as_error(false).build().new_agent();
    let now = || agent.get(format!("{admin}/log")).call().unwrap().body_mut().read_to_string();
    assert_eq!(now().unwrap(), "trace\n");
    let put = |query: &str, filter: &str| {
        agent.put(format!("{admin}/log{query}")).send(filter).unwrap().status().as_u16()
    };
    assert_eq!(put("", "parley=nonsense"), 400);
    assert_eq!(put("?seconds=soon", "warn"), 400);
    assert_eq!(now().unwrap(), "trace\n");
    assert_eq!(put("?seconds=1", "warn"), 200);
    assert_eq!(now().unwrap(), "warn\n");
    eventually("the setting is back", || now().unwrap() == "trace\n");
    assert!(Client::new(admin, None).get("/log").is_ok());
}
