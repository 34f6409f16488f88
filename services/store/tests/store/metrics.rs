use prometheus::{Registry, TextEncoder};

use crate::fixture::{World, appender_settings, new_message, user};

fn told(registry: &Registry) -> String {
    TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
}

fn assert_told(registry: &Registry, sample: &str) {
    let told = told(registry);
    assert!(told.lines().any(|line| line == sample), "no `{sample}` in {told}");
}

async fn until_told(registry: &Registry, sample: &str) {
    let told = async {
        while !told(registry).lines().any(|line| line == sample) {
            tokio::task::yield_now().await;
        }
    };
    let told = tokio::time::timeout(std::time::Duration::from_secs(30), told).await;
    told.unwrap_or_else(|_| panic!("never `{sample}`"));
}

#[tokio::test]
async fn calls_are_timed_by_what_they_are_about_and_pools_tell_their_limits() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.direct("alice", "bob").await;
    let registry = Registry::new();
    world.store.register(&registry).unwrap();
    assert_told(&registry, "parley_store_call_seconds_count{call=\"access\"} 0");
    for _ in 0..3 {
        world.store.access(chat, &user("alice")).await.unwrap();
    }
    world.store.ping().await.unwrap();
    assert_told(&registry, "parley_store_call_seconds_count{call=\"access\"} 3");
    assert_told(&registry, "parley_store_call_seconds_count{call=\"ping\"} 1");
    let told = told(&registry);
    let limits = told.lines().filter_map(|line| {
        line.strip_prefix("parley_postgres_connections_limit")?.rsplit(' ').next()
    });
    let all: u32 = limits.map(|limit| limit.parse::<u32>().unwrap()).sum();
    assert_eq!(all, world.settings.database_connections);
}

#[tokio::test]
async fn what_waits_for_the_appender_is_told() {
    let world = World::with(&["alice", "bob"]).await;
    let chat = world.direct("alice", "bob").await;
    let registry = Registry::new();
    let settings = appender_settings(&["--append-queue", "3"]);
    let (appender, task) =
        parley_store::Appender::new(&world.store, &settings, &registry, |_| {}).unwrap();
    // Nobody serves it yet.
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let (appender, new) = (appender.clone(), new_message(chat, "alice", "12345", None));
            tokio::spawn(async move { appender.append(new).await })
        })
        .collect();
    until_told(&registry, "parley_append_queued_messages 2").await;
    assert_told(&registry, "parley_append_queued_messages_limit 3");
    assert_told(&registry, "parley_append_queued_bytes 10");
    tokio::spawn(task.run());
    for sent in waiting {
        sent.await.unwrap().unwrap();
    }
    assert_told(&registry, "parley_append_wait_seconds_count 2");
    until_told(&registry, "parley_append_queued_messages 0").await;
}
