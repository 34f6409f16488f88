//! Clusters that are shot at, and what their tests have in common.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use parley_local::{Client, Cluster, Home, Interrupt, Options, Pod, testing};
use serde_json::Value;

use crate::people::{Person, direct_chat};

/// A cluster of one test.
pub(crate) struct Arena {
    pub(crate) cluster: Cluster,
    pub(crate) home: Home,
    _alone: Option<MutexGuard<'static, ()>>,
}

impl Arena {
    /// With the machine for itself as far as the other arenas are concerned: who measures times
    /// under load has to.
    pub(crate) fn alone(name: &str, api: u16, settings: &[(&str, &str)]) -> Self {
        static ALONE: Mutex<()> = Mutex::new(());
        // A test that failed before has dropped its cluster.
        let alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
        Self { _alone: Some(alone), ..Self::open(name, api, settings) }
    }

    /// Beside others.
    pub(crate) fn open(name: &str, api: u16, settings: &[(&str, &str)]) -> Self {
        Self::with_gateways(name, (api, 1), settings)
    }

    /// With several gateways.
    pub(crate) fn with_gateways(
        name: &str,
        (api, gateways): (u16, u16),
        settings: &[(&str, &str)],
    ) -> Self {
        Self::with_couriers(name, (api, gateways, 0), settings)
    }

    /// With couriers too.
    pub(crate) fn with_couriers(
        name: &str,
        (api, gateways, couriers): (u16, u16, u16),
        settings: &[(&str, &str)],
    ) -> Self {
        let settings = settings.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        let settings = settings.collect();
        let options = Options { api, gateways, couriers, settings, ..Options::for_tests() };
        let home = testing::home(name).unwrap();
        let cluster = Cluster::start(&home, &options, &Interrupt::default()).unwrap();
        Self { cluster, home, _alone: None }
    }

    pub(crate) fn api(&self) -> &[Pod] {
        &self.cluster.description().api
    }

    /// One author with as many chats.
    pub(crate) fn author(&self, chats: usize) -> (Person, Vec<String>) {
        let cluster = self.cluster.description();
        let author = Person::new(cluster, "author");
        let chat = |_| direct_chat(&author.at(&cluster.url), &Person::new(cluster, "reader"));
        let chats = (0..chats).map(chat).collect();
        (author, chats)
    }

    /// The end of a test that has passed; what one that failed leaves is for a look.
    pub(crate) fn close(self) {
        let Self { cluster, home, _alone } = self;
        drop(cluster);
        std::fs::remove_dir_all(home.root()).unwrap();
    }
}

/// Whether threads are to go on. They stop when this is dropped, so that a check that fails leaves
/// none behind.
pub(crate) struct GoOn<'a>(&'a AtomicBool);

impl<'a> GoOn<'a> {
    pub(crate) fn until_dropped(flag: &'a AtomicBool) -> Self {
        flag.store(true, Ordering::Relaxed);
        Self(flag)
    }
}

impl Drop for GoOn<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Relaxed);
    }
}

/// Where one sends to a chat.
pub(crate) fn messages_of(chat: &str) -> String {
    format!("/api/chat/{chat}/messages")
}

/// How many versions a chat has.
pub(crate) fn version(reader: &Client, chat: &str) -> u64 {
    let answer = reader.get(&format!("{}?limit=1", messages_of(chat))).unwrap();
    answer.data().unwrap()["version"].as_u64().unwrap()
}

/// Everything in these chats by client message id. Shows on the way that no id is there twice and
/// that `seq` and `version` are dense: nothing but messages has happened here.
pub(crate) fn histories(reader: &Client, chats: &[String]) -> BTreeMap<String, Value> {
    let mut all = BTreeMap::new();
    for chat in chats {
        let mut count = 0;
        loop {
            let page = format!("{}?order=asc&limit=100&after={count}", messages_of(chat));
            let answer = reader.get(&page).unwrap();
            let data = answer.data().unwrap();
            let messages = data["messages"].as_array().unwrap();
            for message in messages {
                count += 1;
                assert_eq!(message["seq"].as_u64(), Some(count), "{message}");
                assert_eq!(message["version"].as_u64(), Some(count), "{message}");
                let id = message["clientMessageId"].as_str().unwrap().to_owned();
                let before = all.insert(id, message.clone());
                assert_eq!(before, None, "one id, two messages: {message}");
            }
            if messages.is_empty() {
                assert_eq!(data["version"].as_u64(), Some(count), "{chat}");
                break;
            }
        }
    }
    all
}
