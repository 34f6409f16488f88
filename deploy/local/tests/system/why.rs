//! "Why did this user not get that message?", asked of the admin port of an api pod, in each case that there is.

use std::fs;
use std::thread;
use std::time::{Duration, Instant};

use parley_local::{Client, Cluster, Description, Interrupt, Options, testing};
use serde_json::{Value, json};

use crate::listener::Listener;
use crate::operator::eventually;
use crate::people::{Person, send};

/// A group, its creator, and a cluster.
struct Story {
    cluster: Description,
    author: Person,
    chat: String,
}

impl Story {
    fn of(cluster: &Description, members: &[&Person]) -> Self {
        let author = Person::new(cluster, "author");
        let ids: Vec<&str> = members.iter().map(|member| member.id.as_str()).collect();
        let body = json!({ "participantIds": ids, "type": "group", "title": "a group" });
        let answer = author.at(&cluster.url).post("/api/chat", &body).unwrap();
        let chat = answer.data().unwrap()["chat"]["_id"].as_str().unwrap().to_owned();
        Self { cluster: cluster.clone(), author, chat }
    }

    fn sends(&self) -> String {
        let answer = send(&self.author.at(&self.cluster.url), &self.chat, "hello");
        answer.data().unwrap()["message"]["_id"].as_str().unwrap().to_owned()
    }

    fn why(&self, person: &Person, message: &str) -> Value {
        let Story { cluster, chat, .. } = self;
        let question = format!("/why?user={}&message={message}&chat={chat}", person.id);
        let answer = Client::new(&cluster.api[0].admin, None).get(&question).unwrap();
        answer.data().unwrap().clone()
    }

    /// Asks until the answer is this one: gateways hear of endings a moment later.
    fn is_because(&self, person: &Person, message: &str, code: &str) -> Value {
        let deadline = Instant::now() + Duration::from_secs(20);
        let mut answer = self.why(person, message);
        while answer["code"] != code {
            assert!(Instant::now() < deadline, "not {code}: {answer:#}");
            thread::sleep(Duration::from_millis(50));
            answer = self.why(person, message);
        }
        assert!(!answer.to_string().contains("hello"), "no contents: {answer}");
        answer
    }
}

#[test]
fn why_somebody_did_not_get_a_message() {
    let home = testing::home("why").unwrap();
    let settings = [("PARLEY_OUTBOX_FRAMES", "16"), ("PARLEY_MESSAGE_LIMITS", "user=300/60")];
    let settings = settings.map(|(name, value)| (name.to_owned(), value.to_owned())).to_vec();
    let options = Options { settings, ..Options::for_tests() };
    let mut cluster = Cluster::start(&home, &options, &Interrupt::default()).unwrap();
    let description = cluster.description().clone();
    who_was_told(&description);
    who_was_no_participant(&description);
    who_was_not_there(&description);
    who_was_slow(&description);
    the_question_is_wrong(&description);
    whose_gateway_was_killed(&description, &mut cluster);
    drop(cluster);
    fs::remove_dir_all(home.root()).unwrap();
}

fn who_was_told(cluster: &Description) {
    let [one, two] = [0, 1].map(|number| cluster.gateway[number].url.clone());
    let (live, late) = (Person::new(cluster, "live"), Person::new(cluster, "late"));
    let story = Story::of(cluster, &[&live, &late]);
    let mut listener = Listener::join(&one, &live, &story.chat);
    let message = story.sends();
    listener.hears_message();
    let answer = story.is_because(&live, &message, "told");
    let conclusion = answer["conclusion"].as_str().unwrap();
    assert!(conclusion.contains("gateway-1") && conclusion.contains(", live, "), "{conclusion}");
    assert_eq!(answer["gateways"].as_array().unwrap().len(), 2, "{answer}");
    assert_eq!(answer["participant"]["then"], true);
    // Came later, and loads the history.
    let _listener = Listener::join(&two, &late, &story.chat);
    story.is_because(&late, &message, "loads_history");
    // What is over is remembered.
    listener.leave();
    eventually("the connection's end is remembered", || {
        let answer = story.why(&live, &message);
        !answer["gateways"][0]["memberships"][0]["ended"].is_null()
    });
    story.is_because(&live, &message, "told");
    let next = story.sends();
    story.is_because(&live, &next, "left_before");
}

fn who_was_no_participant(cluster: &Description) {
    let (stranger, removed) = (Person::new(cluster, "stranger"), Person::new(cluster, "removed"));
    let (second, added) = (Person::new(cluster, "second"), Person::new(cluster, "added"));
    let story = Story::of(cluster, &[&removed, &second]);
    let author = story.author.at(&cluster.url);
    let chat = format!("/api/chat/{}/participants", story.chat);
    let before = story.sends();
    author.delete(&format!("{chat}/{}", removed.id)).unwrap().data().unwrap();
    author.post(&chat, &json!({ "userId": added.id })).unwrap().data().unwrap();
    let after = story.sends();
    story.is_because(&stranger, &after, "not_participant");
    let answer = story.is_because(&removed, &after, "removed_before");
    assert_eq!(answer["participant"]["then"], false);
    story.is_because(&added, &before, "joined_after");
}

fn who_was_not_there(cluster: &Description) {
    let (absent, idle) = (Person::new(cluster, "absent"), Person::new(cluster, "idle"));
    let story = Story::of(cluster, &[&absent, &idle]);
    let _idle = Listener::connect(&cluster.gateway[0].url, &idle);
    let message = story.sends();
    story.is_because(&idle, &message, "not_joined");
    let answer = story.is_because(&absent, &message, "not_connected");
    assert_eq!(answer["silentGateways"], json!([]));
}

fn who_was_slow(cluster: &Description) {
    let (slow, other) = (Person::new(cluster, "slow"), Person::new(cluster, "other"));
    let story = Story::of(cluster, &[&slow, &other]);
    let _slow = Listener::join(&cluster.gateway[1].url, &slow, &story.chat);
    // It never polls again.
    let first = story.sends();
    story.is_because(&slow, &first, "unread");
    let sent: Vec<String> = (0..20).map(|_| story.sends()).collect();
    let last = &sent[19];
    let answer = story.is_because(&slow, &first, "unwritten");
    assert!(answer["conclusion"].as_str().unwrap().contains("slow_consumer"), "{answer}");
    story.is_because(&slow, last, "left_before");
}

fn the_question_is_wrong(cluster: &Description) {
    let person = Person::new(cluster, "person");
    let admin = Client::new(&cluster.api[1].admin, None);
    let message = "01890a5d-ac96-774b-bcce-b302099a8057";
    for (question, status, code) in [
        ("/why".to_owned(), 400, "invalid_request"),
        (format!("/why?user={}&message=nonsense", person.id), 400, "invalid_request"),
        (format!("/why?user={}&message={message}", person.id), 404, "message_not_found"),
        (format!("/why?user={}&message={message}&chat=x", person.id), 400, "invalid_request"),
    ] {
        let answer = admin.get(&question).unwrap();
        assert_eq!((answer.status, &answer.body["error"]["code"]), (status, &code.into()));
    }
}

/// What it told goes with it, and nobody says more than is known.
fn whose_gateway_was_killed(description: &Description, cluster: &mut Cluster) {
    let (lost, other) = (Person::new(description, "lost"), Person::new(description, "other"));
    let story = Story::of(description, &[&lost, &other]);
    let mut listener = Listener::join(&description.gateway[1].url, &lost, &story.chat);
    let message = story.sends();
    listener.hears_message();
    story.is_because(&lost, &message, "told");
    cluster.kill("gateway-2").unwrap();
    let answer = story.is_because(&lost, &message, "not_known");
    let conclusion = answer["conclusion"].as_str().unwrap();
    assert!(
        conclusion.contains("gateway-2-") && conclusion.contains("does not answer"),
        "{answer}"
    );
    cluster.restart("gateway-2").unwrap();
    eventually("gateway-2 answers again", || {
        story.why(&lost, &message)["gateways"].as_array().unwrap().len() == 2
    });
    let answer = story.is_because(&lost, &message, "not_known");
    let conclusion = answer["conclusion"].as_str().unwrap();
    assert!(conclusion.contains("gateway-2 started after the message"), "{conclusion}");
}
