//! Every alert by a real fault, with a real Prometheus and alertmanager, in windows that are shorter by one factor.

mod crowd;
mod faults;
mod watched;

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::sync::atomic::AtomicBool;
use std::thread;
use std::time::Duration;

use parley_local::{shipped_rules, workspace};
use serde_json::json;

use self::crowd::{Crowd, Guest, MANY, TOO_MANY};
use self::faults::{DescriptorLimit, Folder, Locked, Transfer};
use self::watched::{OUTBOX, Watched};
use crate::arena::GoOn;
use crate::webhooks::Receiver;

/// Alerts that no fault fires; their pages say why.
const WITHOUT_A_FAULT: [&str; 2] = ["ParleyPanics", "ParleyBeforeMessageFailing"];
/// A healthy cluster is watched for so long first.
const HEALTHY: Duration = Duration::from_secs(10);
/// More changes than a room is told one by one.
const TOO_FAR: usize = 5_200;
/// More than one, so that a message is many deliveries.
const WEBHOOKS: usize = 30;

#[test]
#[ignore = "takes minutes: cargo parley test --full"]
fn every_alert_fires_by_a_real_fault_and_a_cause_inhibits_its_symptoms() {
    let mut watched = Watched::start();
    let crowd = Crowd::new(watched.cluster());
    let go_on = AtomicBool::new(false);
    thread::scope(|scope| {
        let _running = GoOn::until_dropped(&go_on);
        crowd.begin(scope, &go_on);
        watched.stays_quiet_for(HEALTHY);
        somebody_locks_tables(&watched, &crowd);
        postgres_dies(&mut watched, &crowd);
        redis_dies(&mut watched);
        nats_dies(&mut watched, &crowd);
        storage_breaks(&watched, &crowd);
        transfers_fill_their_places(&watched, &crowd);
        connections_fill_a_gateway(&watched, &crowd);
        strangers_come(&watched, &crowd);
        gateways_hang(&watched);
        webhooks_fail(&watched, &crowd);
        pods_die(&mut watched);
    });
    let fired = watched.fired();
    let mut wanted = shipped();
    for name in WITHOUT_A_FAULT {
        assert!(wanted.remove(name), "{name} is no alert");
        let page = workspace().join("deploy/runbooks").join(format!("{name}.md"));
        let page = fs::read_to_string(page).unwrap();
        assert!(page.contains("## No fault shows it\n"), "{name}'s page does not say why");
    }
    let never: Vec<_> = wanted.difference(&fired).collect();
    assert!(never.is_empty(), "no fault has fired {never:?}");
    watched.close();
}

/// The names of all alerts that there are.
fn shipped() -> BTreeSet<String> {
    let files = shipped_rules().unwrap();
    let lines = files.iter().flat_map(|(_, rules)| rules.lines());
    let names = lines.filter_map(|line| line.trim().strip_prefix("- alert: "));
    names.map(str::to_owned).collect()
}

fn redis_dies(watched: &mut Watched) {
    watched.dies("redis", "ParleyRedisDown", &["ParleyPresenceUnknown"], || ());
    watched.comes_back("redis", "ParleyRedisDown");
}

fn nats_dies(watched: &mut Watched, crowd: &Crowd) {
    let symptoms = [
        "ParleyPublishDrops",
        "ParleyCompletenessBudgetBurn",
        "ParleyPodNotReady",
        "ParleyJoinsTimeOut",
    ];
    watched.dies("nats-1", "ParleyNatsDown", &symptoms, || crowd.flood(TOO_FAR));
    watched.comes_back("nats-1", "ParleyNatsDown");
    watched.has_fired("ParleyRoomsAbandoned");
    watched.flaps("nats-1", "ParleyEventsLost");
}

/// Gateways that get no time for a while tell late what they tell.
fn gateways_hang(watched: &Watched) {
    for pod in watched.gateways() {
        watched.cluster().pause(&pod.name).unwrap();
    }
    // Time is the subject.
    thread::sleep(Duration::from_secs(15));
    for pod in watched.gateways() {
        watched.cluster().resume(&pod.name).unwrap();
    }
    watched.has_fired("ParleyDeliveryLatencyBudgetBurn");
}

fn postgres_dies(watched: &mut Watched, crowd: &Crowd) {
    crowd.at_once(TOO_MANY, || {
        watched.dies("postgres", "ParleyPostgresDown", &["ParleySendErrorBudgetBurn"], || ());
    });
    watched.comes_back("postgres", "ParleyPostgresDown");
}

fn somebody_locks_tables(watched: &Watched, crowd: &Crowd) {
    let _locked = Locked::tables(watched);
    crowd.at_once(MANY, || {
        watched.has_fired("ParleySendLatencyBudgetBurn");
        watched.has_fired("ParleyDatabasePoolExhausted");
        watched.has_fired("ParleyAppenderRefuses");
    });
    crowd.at_once(TOO_MANY, || watched.has_fired("ParleyRequestsShed"));
}

fn storage_breaks(watched: &Watched, crowd: &Crowd) {
    let mut sent: Vec<_> = (0..30).map(|_| crowd.send_file(b"to be deleted").unwrap()).collect();
    let broken = Folder::broken(&watched.files());
    let refused = (0..4).filter(|_| crowd.send_file(b"in vain").is_none()).count();
    assert_eq!(refused, 4);
    watched.has_fired("ParleyFileStorageFailing");
    watched.has_fired_while("ParleyObjectsNotRemoved", || {
        // Each is tried once now, and a minute later.
        crowd.delete(&sent.pop().unwrap());
        thread::sleep(Duration::from_secs(2));
    });
    drop(broken);
    assert!(crowd.send_file(b"as before").is_some());
}

fn transfers_fill_their_places(watched: &Watched, crowd: &Crowd) {
    let url = &watched.cluster().description().api[0].url;
    let upload = Transfer::of_half_a_file(url, crowd);
    let attachment = crowd.attachment(&vec![b'a'; 12 << 20]);
    let download = Transfer::of_what_nobody_reads(url, crowd, &attachment);
    crowd.is_refused_at(url, &attachment);
    watched.has_fired("ParleyUploadsRefused");
    watched.has_fired("ParleyDownloadsRefused");
    drop((upload, download));
}

fn connections_fill_a_gateway(watched: &Watched, crowd: &Crowd) {
    let gateway = watched.gateways()[0].clone();
    let descriptors = DescriptorLimit::near(watched, &gateway);
    let mut guests = crowd.fill(watched.gateways());
    watched.has_fired("ParleyConnectionsNearLimit");
    watched.has_fired_while("ParleyConnectionsRefused", || {
        guests.extend(Guest::open(&gateway.url, &crowd.token()));
    });
    watched.has_fired("ParleyDescriptorsNearLimit");
    drop(descriptors);
    // They enter rooms, and read nothing of what they hear.
    for guest in &guests {
        guest.join(&crowd.chats()[0]);
    }
    crowd.flood(2 * OUTBOX);
    watched.has_fired("ParleySlowConsumers");
}

fn strangers_come(watched: &Watched, crowd: &Crowd) {
    faults::publish_nonsense(watched, &crowd.chats()[0]);
    watched.has_fired("ParleyUnreadableEvents");
    crowd.pause(|| {
        watched.has_fired_while("ParleyTokensRefused", || crowd.knock_with_a_bad_token());
    });
}

/// Nobody is at one webhook's address, others are told less than there is, and then nothing new becomes a delivery.
fn webhooks_fail(watched: &Watched, crowd: &Crowd) {
    let receiver = Receiver::start();
    let host = watched.host();
    let webhook = |address: &str| {
        let new = json!({ "url": format!("http://{address}/"), "events": ["message.created"] });
        assert_eq!(host.post("/api/webhooks", &new).unwrap().status, 201);
    };
    // A port that was free a moment ago.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    webhook(&nobody.to_string());
    for _ in 0..WEBHOOKS {
        webhook(&receiver.address.to_string());
    }
    // Every pod knows of them then, and they cannot be told of so much while they are.
    thread::sleep(Duration::from_secs(6));
    crowd.flood(12_000 / WEBHOOKS);
    watched.has_fired("ParleyDeliveriesWaiting");
    let _stuck = Locked::outbox(watched);
    watched.has_fired("ParleyWebhooksFailing");
    watched.has_fired("ParleyDeliveriesGivenUp");
    watched.has_fired("ParleyOutboxStuck");
}

fn pods_die(watched: &mut Watched) {
    watched.set("api-2", "PARLEY_JWKS_URL", "http://127.0.0.1:1/jwks");
    watched.set("api-2", "PARLEY_JWKS_REFRESH_SECONDS", "1");
    for _ in 0..3 {
        watched.restart_seen("api-2");
    }
    watched.has_fired("ParleyPodRestarting");
    watched.has_fired("ParleyKeysNotFetched");
    let kinds = [
        ("api", "ParleyApiDown"),
        ("gateway", "ParleyGatewayDown"),
        ("courier", "ParleyCourierDown"),
    ];
    for (pods, alert) in kinds {
        watched.kill_all(pods);
        watched.has_fired(alert);
        watched.fires_and_is_suppressed("ParleyPodDown");
    }
}
