//! A dump of a cluster that runs, and its restore: what came after the dump is gone, and everybody is told to load anew.

use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use parley_local::{Interrupt, postgres_programs};
use serde_json::json;

use crate::arena::{Arena, GoOn, version};
use crate::operator::eventually;
use crate::people::{Person, contents, direct_chat, send};
use crate::socket::Socket;

/// The database of a cluster, as an operator reaches it.
struct Database {
    programs: std::path::PathBuf,
    url: String,
}

impl Database {
    fn run(&self, program: &str, arguments: &[&str]) {
        let output = Command::new(self.programs.join(program)).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{program}: {said}");
    }

    fn dump(&self, file: &Path) {
        self.run("pg_dump", &["--format=custom", "--file", file.to_str().unwrap(), &self.url]);
    }

    /// As deploy/BACKUP.md says: into a new database of the same name.
    fn restore(&self, file: &Path) {
        let (server, name) = self.url.rsplit_once('/').unwrap();
        let admin = format!("{server}/postgres");
        let drop = format!("DROP DATABASE {name} WITH (FORCE)");
        self.run("psql", &["-Xq", "-c", &drop, "-c", &format!("CREATE DATABASE {name}"), &admin]);
        let file = file.to_str().unwrap();
        self.run("pg_restore", &["--exit-on-error", "--no-owner", "--dbname", &self.url, file]);
    }
}

#[test]
fn after_a_restore_everybody_is_told_to_load_anew_and_nobody_else() {
    let arena = Arena::open("restored", 2, &[("PARLEY_MESSAGE_LIMITS", "user=none")]);
    let cluster = arena.cluster.description();
    let (alice, bob) = (Person::new(cluster, "alice"), Person::new(cluster, "bob"));
    let author = alice.at(&cluster.url);
    let chat = direct_chat(&author, &bob);
    let gateway = cluster.gateway[0].url.clone();
    let database = Database {
        programs: postgres_programs(&arena.home, &Interrupt::default()).unwrap(),
        url: cluster.postgres.url.clone(),
    };
    let file = arena.home.root().join("parley.dump");

    for number in 1..=5 {
        assert_eq!(send(&author, &chat, &format!("kept {number}")).status, 201);
    }
    let mut witness = Socket::connect(&gateway, bob.token());
    let joined = witness.join(&json!(chat));
    assert_eq!((joined["version"].as_u64(), joined["resync"].as_bool()), (Some(5), Some(false)));
    while_others_send(&arena, || database.dump(&file));
    for number in 6..=10 {
        assert_eq!(send(&author, &chat, &format!("lost {number}")).status, 201);
    }
    assert_eq!(version(&author, &chat), 10);
    let old = joined["epoch"].clone();

    let mut arena = arena;
    restore(&mut arena, &database, &file);
    let author = alice.at(&arena.cluster.description().url);
    assert_eq!(version(&author, &chat), 5, "what came after the dump is gone");
    let new = Socket::connect(&gateway, bob.token()).join(&json!(chat))["epoch"].clone();
    assert!(old.is_string() && new.is_string() && new != old, "another history: {old}, {new}");

    // Who was there the whole time, by a gateway that never saw Postgres, has to come back.
    assert_eq!(send(&author, &chat, "the first of the new history").status, 201);
    witness.ends();
    // Who comes back, from before the dump, from after it, and from today.
    for (since, epoch, resync) in
        [(3, &old, true), (10, &old, true), (3, &new, false), (10, &new, true)]
    {
        let mut socket = Socket::connect(&gateway, bob.token());
        let ack = socket.join(&json!({ "chatId": chat, "since": since, "epoch": epoch }));
        assert_eq!(ack["resync"], resync, "since {since} of {epoch}: {ack}");
        assert_eq!(ack["version"], 6);
    }
    let all = contents(&bob.at(&arena.cluster.description().url), &chat);
    assert_eq!(all[0], "the first of the new history");
    assert_eq!(all[1..], [5, 4, 3, 2, 1].map(|number| format!("kept {number}")));
    arena.close();
}

/// A dump is of one moment, whatever is written meanwhile.
fn while_others_send(arena: &Arena, dump: impl FnOnce()) {
    let (author, chats) = arena.author(1);
    let go_on = AtomicBool::new(false);
    thread::scope(|scope| {
        let _running = GoOn::until_dropped(&go_on);
        let client = author.at(&arena.api()[0].url);
        let (go_on, chat) = (&go_on, &chats[0]);
        scope.spawn(move || {
            while go_on.load(Ordering::Relaxed) {
                assert_eq!(send(&client, chat, "meanwhile").status, 201);
            }
        });
        eventually("others send", || version(&author.at(&arena.api()[1].url), chat) > 10);
        dump();
    });
}

/// No api pod writes while the database is another one.
fn restore(arena: &mut Arena, database: &Database, file: &Path) {
    let pods: Vec<String> = arena.api().iter().map(|pod| pod.name.clone()).collect();
    for name in &pods {
        arena.cluster.terminate(name).unwrap();
    }
    for name in &pods {
        let process = arena.cluster.process(name).unwrap().clone();
        eventually("an api pod's end", || !process.is_alive());
    }
    database.restore(file);
    for name in &pods {
        arena.cluster.restart(name).unwrap();
    }
    for pod in arena.api() {
        let admin = parley_local::Client::new(&pod.admin, None);
        eventually("an api pod", || admin.get("/readyz").is_ok_and(|answer| answer.status == 200));
    }
}
