//! What the launcher promises to someone at a terminal.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use parley_local::{Client, Cluster};
use rustix::process::Signal;

use crate::operator::{Operator, eventually};
use crate::people::{Person, contents, direct_chat, send};

#[test]
fn data_survive_and_an_ephemeral_cluster_leaves_them_alone() {
    let operator = Operator::new("data");
    let first = operator.up("");
    let (alice, bob) = (Person::new(&first, "alice"), Person::new(&first, "bob"));
    let chat = direct_chat(&alice.at(&first.url), &bob);
    assert_eq!(send(&alice.at(&first.url), &chat, "keep this").status, 201);
    assert_eq!(operator.says("down").trim(), "stopped");

    let ephemeral = operator.up("--ephemeral");
    let missing = alice.at(&ephemeral.url).get(&format!("/api/chat/{chat}/info")).unwrap();
    assert_eq!(missing.status, 404, "an ephemeral cluster starts empty");
    assert!(operator.home.root().join("ephemeral").exists());
    operator.says("down");
    assert!(!operator.home.root().join("ephemeral").exists());

    let again = operator.up("");
    assert_eq!(contents(&bob.at(&again.url), &chat), ["keep this"]);
}

#[test]
fn one_folder_holds_one_cluster() {
    let operator = Operator::new("twice");
    assert_eq!(operator.says("down").trim(), "no cluster is up");
    operator.up("--api 1 --gateways 1");
    let second = operator.does("up --detach --no-demo --port 0");
    let error = String::from_utf8_lossy(&second.stderr);
    assert_eq!(second.status.code(), Some(1));
    assert!(error.lines().count() == 1 && error.contains("up already"), "{error}");
    assert_eq!(operator.says("status").lines().count(), 7, "nobody was harmed");
    let cleaned = operator.does("clean");
    assert_eq!(cleaned.status.code(), Some(1), "data in use are not removed");
    operator.says("down");
    operator.says("clean");
    assert!(!operator.home.root().exists());
}

#[test]
fn a_description_is_for_its_owner_only_and_names_the_services_themselves() {
    let operator = Operator::new("description");
    let cluster = operator.up("--api 3 --gateways 1");
    let numbers = (cluster.api.len(), cluster.gateway.len(), cluster.courier.len());
    assert_eq!(numbers, (3, 1, 1));
    let mode = fs::metadata(operator.home.cluster_file()).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    for pod in cluster.pods() {
        let kind = pod.name.split('-').next().unwrap();
        assert!(
            program(pod.pid).contains(&format!("parley-{kind}")),
            "{}: {}",
            pod.name,
            program(pod.pid)
        );
        let ready = Client::new(&pod.admin, None).get("/readyz").unwrap();
        assert_eq!(ready.status, 200, "{}", pod.name);
    }
    assert!(program(cluster.postgres.pid).contains("postgres"));
    assert!(program(cluster.nats[0].pid).contains("nats-server"));
    assert!(program(cluster.balancer.pid).contains("nginx"));
}

fn program(pid: u32) -> String {
    let output = Command::new("ps").args(["-o", "args=", "-p", &pid.to_string()]).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn a_port_in_use_is_named() {
    let operator = Operator::new("port");
    let holder = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = holder.local_addr().unwrap().port();
    let error = operator.fails(&mut operator.command(&format!("up --detach --port {port}")));
    assert!(error.contains(&format!("port {port} for the balancer is in use")), "{error}");
}

#[test]
fn a_wrong_setting_is_named() {
    let operator = Operator::new("setting");
    let line = "up --detach --port 0 --set LOG_FORMAT=purple";
    let error = operator.fails(&mut operator.command(line));
    assert!(error.contains("PARLEY_LOG_FORMAT") && error.contains("purple"), "{error}");
    let misspelt = "up --detach --port 0 --set PING_INTREVAL_MS=100";
    let error = operator.fails(&mut operator.command(misspelt));
    assert!(error.contains("no setting PARLEY_PING_INTREVAL_MS"), "{error}");
}

#[test]
fn a_postgres_that_does_not_start_is_named_with_its_log() {
    let operator = Operator::new("postgres");
    let data = operator.home.root().join("data/postgres/data");
    fs::create_dir_all(&data).unwrap();
    fs::write(data.join("PG_VERSION"), "18\n").unwrap();
    let error = operator.fails(&mut operator.command("up --detach --port 0"));
    assert!(error.contains("postgres exited"), "{error}");
    assert!(error.contains("logs/postgres.log"), "{error}");
}

#[test]
fn a_pod_that_dies_at_the_start_is_named_with_its_log() {
    let operator = Operator::new("stillborn");
    let binaries = operator.home.root().join("binaries");
    fs::create_dir_all(&binaries).unwrap();
    let given = std::env::var_os("PARLEY_BIN_DIR").expect("run `cargo parley test`");
    for name in ["parley-api", "parley-courier"] {
        fs::copy(Path::new(&given).join(name), binaries.join(name)).unwrap();
    }
    let script = "#!/bin/sh\n[ \"$1\" = --check ] && exit 0\necho out of luck\nexit 7\n";
    let gateway = binaries.join("parley-gateway");
    fs::write(&gateway, script).unwrap();
    fs::set_permissions(&gateway, fs::Permissions::from_mode(0o755)).unwrap();
    let mut command = operator.command("up --detach --no-demo --port 0 --ephemeral");
    let error = operator.fails(command.env("PARLEY_BIN_DIR", binaries));
    assert!(error.contains("exited with status 7"), "{error}");
    assert!(error.contains("out of luck") && error.contains("logs/gateway-"), "{error}");
    assert!(!operator.home.root().join("ephemeral").exists());
}

#[test]
fn a_missing_python_is_named() {
    let operator = Operator::new("python");
    let mut command = operator.command("up --detach --no-demo --port 0");
    command.env("PATH", "/nowhere").env("PARLEY_TOOLS", operator.home.root().join("tools"));
    let error = operator.fails(&mut command);
    assert!(error.contains("python3 is missing"), "{error}");
}

#[test]
fn a_token_is_all_that_token_prints() {
    let operator = Operator::new("token");
    let before = operator.does("token --user alice --name Alice --role user --ttl 10m");
    assert!(before.status.success() && before.stderr.is_empty());
    let token = String::from_utf8(before.stdout).unwrap();
    assert_eq!(token.lines().count(), 1, "{token}");
    assert_eq!(token.trim().split('.').count(), 3, "{token}");

    // Made before the cluster, and good in it; an old one is not.
    let cluster = operator.up("--ephemeral --api 1 --gateways 1");
    let status = |token: &str| {
        Client::new(&cluster.url, Some(token.trim().to_owned())).get("/api/chat").unwrap().status
    };
    assert_eq!(status(&token), 200);
    let empty = operator.does("token --user=");
    assert!(!empty.status.success() && empty.stdout.is_empty());
}

#[test]
fn a_crash_is_reported_and_ctrl_c_stops_what_was_started_and_nothing_else() {
    let bystanders = Cluster::of_test();
    let operator = Operator::new("crash");
    let mut watching = operator.watches("--ephemeral");
    let own = Cluster::load(&operator.home.cluster_file()).unwrap();
    assert_eq!(operator.says("status").lines().count(), own.processes().len());

    own.kill("api-1").unwrap();
    watching.until_said("api-1 was killed by signal 9; the others stay up: see ");
    let status = operator.does("status");
    let said = String::from_utf8(status.stdout).unwrap();
    assert_eq!(status.status.code(), Some(1));
    assert!(said.contains("down") && said.contains("api-1.log"), "{said}");
    assert_eq!(own.processes().iter().filter(|process| !process.is_alive()).count(), 1);

    watching.signal(Signal::INT);
    assert!(watching.ends().success());
    for process in own.processes() {
        assert!(!process.is_alive(), "{} was left", process.name);
    }
    for process in bystanders.processes() {
        assert!(process.is_alive(), "{} belongs to somebody else", process.name);
    }
    assert!(!operator.home.root().join("ephemeral").exists());
}

#[test]
fn down_stops_what_a_killed_launcher_left() {
    let operator = Operator::new("killed");
    let mut watching = operator.watches("--ephemeral --api 1 --gateways 1");
    let own = Cluster::load(&operator.home.cluster_file()).unwrap();
    watching.signal(Signal::KILL);
    watching.ends();
    assert!(own.processes().iter().all(parley_local::Process::is_alive));
    assert_eq!(operator.says("down").trim(), "stopped");
    assert!(!own.processes().iter().any(parley_local::Process::is_alive));
}

#[test]
fn down_tells_the_watching_launcher() {
    let operator = Operator::new("told");
    let mut watching = operator.watches("--ephemeral --api 1 --gateways 1");
    assert_eq!(operator.says("down").trim(), "stopped");
    assert!(watching.ends().success());
    watching.until_said("stopped by `cargo parley down`");
}

#[test]
fn logs_are_shown_and_followed_until_ctrl_c() {
    let operator = Operator::new("logs");
    operator.up("--ephemeral --api 1 --gateways 1");
    assert!(operator.says("logs nats-1").contains("Server is ready"));
    let unknown = operator.does("logs api-9");
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("there are api-1, "));
    let mut follow = operator.command("logs --follow api-1");
    let mut child = follow.stdout(std::process::Stdio::null()).spawn().unwrap();
    let pid = rustix::process::Pid::from_child(&child);
    eventually("a following launcher", || program(child.id()).contains("--follow"));
    // Once its handler is in place, which no sign tells, Ctrl-C is a success.
    std::thread::sleep(std::time::Duration::from_millis(300));
    rustix::process::kill_process(pid, Signal::INT).unwrap();
    assert!(child.wait().unwrap().success());
}
