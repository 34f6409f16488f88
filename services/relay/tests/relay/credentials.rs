//! A NATS server with TLS and with the users that ship: who comes in, and who may say and hear what.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, ConnectOptions, Event};
use parking_lot::Mutex;
use parley_local::testing::Certificates;
use parley_relay::NatsSettings;
use secrecy::SecretString;
use tempfile::TempDir;

use crate::fixture::{Pod, event, heard, new_chat};
use crate::server::{
    API_PASSWORD, COURIER_PASSWORD, GATEWAY_PASSWORD, NatsServer, eventually, soon,
};

const USERS: &str = include_str!("../../../../deploy/nats/users.conf");
const API: (&str, &str) = ("parley-api", API_PASSWORD);
const GATEWAY: (&str, &str) = ("parley-gateway", GATEWAY_PASSWORD);
const COURIER: (&str, &str) = ("parley-courier", COURIER_PASSWORD);
/// As long as a pod waits for the bus when it starts.
const START: Duration = Duration::from_secs(2);

/// A server that takes nobody without a certificate and a password.
struct Closed {
    server: NatsServer,
    folder: TempDir,
}

impl Closed {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let authority = Certificates::make().unwrap();
        std::fs::write(folder.path().join("ca.pem"), &authority.ca).unwrap();
        for name in ["server", "pod"] {
            let (certificate, key) = authority.issue().unwrap();
            std::fs::write(folder.path().join(format!("{name}.pem")), certificate).unwrap();
            std::fs::write(folder.path().join(format!("{name}.key")), key).unwrap();
        }
        let at = |name: &str| folder.path().join(name).display().to_string();
        let tls = format!(
            "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", verify: true }}\n",
            at("server.pem"),
            at("server.key"),
            at("ca.pem")
        );
        let server = NatsServer::configured(tls + USERS).await;
        Self { server, folder }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn settings(&self, (user, password): (&str, &str)) -> NatsSettings {
        NatsSettings {
            nats_user: Some(user.to_owned()),
            nats_password: Some(password.into()),
            nats_ca_file: Some(self.file("ca.pem")),
            nats_cert_file: Some(self.file("pod.pem")),
            nats_key_file: Some(self.file("pod.key")),
            ..NatsSettings::at(&self.server.url())
        }
    }

    async fn user(&self, (user, password): (&str, &str)) -> User {
        let violations = Arc::new(Mutex::new(Vec::new()));
        let noted = violations.clone();
        let [ca, cert, key] =
            ["ca.pem", "pod.pem", "pod.key"].map(|name| self.folder.path().join(name));
        let client = ConnectOptions::with_user_and_password(user.into(), password.into())
            .add_root_certificates(ca)
            .add_client_certificate(cert, key)
            .event_callback(move |event| {
                if let Event::ServerError(error) = event {
                    noted.lock().push(error.to_string());
                }
                std::future::ready(())
            })
            .connect(self.server.url().replace("nats://", "tls://"))
            .await
            .unwrap();
        User { client, violations }
    }
}

/// Who tries what is not in the code of a pod.
struct User {
    client: Client,
    violations: Arc<Mutex<Vec<String>>>,
}

impl User {
    /// Which of these the server refuses. What nobody may do comes last: once that is refused, so is all before it.
    async fn refused(&self, how: How, subjects: &[&str]) -> Vec<String> {
        const NOBODYS: &str = "nobodys.business";
        let mut subscriptions = Vec::new();
        for subject in subjects.iter().chain(&[NOBODYS]) {
            let subject = (*subject).to_owned();
            match how {
                How::Say => self.client.publish(subject, "".into()).await.unwrap(),
                How::Hear => subscriptions.push(self.client.subscribe(subject).await.unwrap()),
            }
        }
        eventually("the last one is refused", async || {
            let mut violations = self.violations.lock();
            violations
                .iter()
                .any(|it| it.contains(NOBODYS))
                .then(|| std::mem::take(&mut *violations))
        })
        .await
        .into_iter()
        .filter(|violation| !violation.contains(NOBODYS))
        .collect()
    }

    async fn may(&self, how: How, subjects: &[&str]) {
        assert_eq!(self.refused(how, subjects).await, [""; 0], "{how:?}");
    }

    async fn may_not(&self, how: How, subjects: &[&str]) {
        let refused = self.refused(how, subjects).await;
        for subject in subjects {
            assert!(
                refused.iter().any(|it| it.to_lowercase().contains(&subject.to_lowercase())),
                "{how:?} {subject}: {refused:?}"
            );
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum How {
    Say,
    Hear,
}

#[tokio::test]
async fn pods_meet_over_tls_as_users_of_their_own() {
    let closed = Closed::start().await;
    let api = Pod::with(&closed.settings(API)).await;
    let gateway = Pod::with(&closed.settings(GATEWAY)).await;
    for pod in [&api, &gateway] {
        pod.reaches(|state| state.connected).await;
    }
    let chat = new_chat();
    let mut room = soon(gateway.bus.subscribe(chat)).await.unwrap();
    let (publisher, task) = api.bus.publisher();
    tokio::spawn(task.run());
    publisher.publish(&event(chat, 1));
    assert_eq!(heard(&mut room).await, 1);
}

#[tokio::test]
async fn without_its_certificate_its_password_or_an_authority_in_common_no_pod_comes_in() {
    let closed = Closed::start().await;
    let other = Closed::start().await;
    let good = closed.settings(GATEWAY);
    let wrong = [
        (
            "another password",
            NatsSettings { nats_password: Some(SecretString::from(API_PASSWORD)), ..good.clone() },
        ),
        (
            "no certificate",
            NatsSettings { nats_cert_file: None, nats_key_file: None, ..good.clone() },
        ),
        (
            "another authority's server",
            NatsSettings { nats_ca_file: Some(other.file("ca.pem")), ..good.clone() },
        ),
        (
            "another authority's pod",
            NatsSettings {
                nats_cert_file: Some(other.file("pod.pem")),
                nats_key_file: Some(other.file("pod.key")),
                ..good.clone()
            },
        ),
        ("nothing", NatsSettings::at(&closed.server.url())),
    ];
    for (what, settings) in wrong {
        settings.check().unwrap();
        let pod = Pod::with(&settings).await;
        assert!(!pod.bus.connected(START).await, "{what}");
    }
    let pod = Pod::with(&good).await;
    pod.reaches(|state| state.connected).await;
}

/// A pod that was told of certificates speaks to no server without TLS: somebody in between could have taken it away.
#[tokio::test]
async fn a_server_without_tls_is_none_that_was_asked_for() {
    let closed = Closed::start().await;
    let open = NatsServer::start().await;
    let settings =
        NatsSettings { nats_ca_file: Some(closed.file("ca.pem")), ..NatsSettings::at(&open.url()) };
    assert!(!Pod::with(&settings).await.bus.connected(START).await);
    let by_scheme = NatsSettings::at(&open.url().replace("nats://", "tls://"));
    assert!(!Pod::with(&by_scheme).await.bus.connected(START).await);
}

#[tokio::test]
async fn api_pods_say_and_hear_what_is_theirs() {
    let closed = Closed::start().await;
    let api = closed.user(API).await;
    api.may(How::Say, &["chat.x", "users.chats", "users.revoked", "heads", "pods.api", "barrier"])
        .await;
    api.may(How::Say, &["ask.deliveries"]).await;
    api.may_not(How::Say, &["typing.x", "ask.join", "_INBOX.x.y", "chat.x.y"]).await;
    api.may(How::Hear, &["ask.join", "ask.*", "pods.api", "users.revoked", "_INBOX.x.*"]).await;
    api.may_not(How::Hear, &["chat.x", "typing.x", "users.chats", "heads", ">"]).await;
}

#[tokio::test]
async fn gateways_say_and_hear_what_is_theirs() {
    let closed = Closed::start().await;
    let gateway = closed.user(GATEWAY).await;
    gateway.may(How::Say, &["typing.x", "ask.join", "ask.gateways", "turns", "barrier"]).await;
    gateway
        .may_not(
            How::Say,
            &["chat.x", "users.chats", "users.revoked", "heads", "pods.api", "_INBOX.x.y"],
        )
        .await;
    gateway
        .may(How::Hear, &["chat.x", "typing.x", "heads", "users.*", "ask.gateways", "_INBOX.x.*"])
        .await;
    gateway.may(How::Hear, &["ask.deliveries", "ask.here"]).await;
    gateway.may_not(How::Hear, &["ask.join", "ask.*", "pods.api", "turns", ">"]).await;
}

#[tokio::test]
async fn couriers_ask_who_is_here_and_hear_answers_and_turns_only() {
    let closed = Closed::start().await;
    let courier = closed.user(COURIER).await;
    courier.may(How::Say, &["ask.here"]).await;
    courier
        .may_not(How::Say, &["chat.x", "typing.x", "users.revoked", "ask.join", "ask.deliveries"])
        .await;
    courier.may_not(How::Say, &["turns"]).await;
    courier.may(How::Hear, &["turns", "_INBOX.x.*"]).await;
    courier.may_not(How::Hear, &["chat.x", "users.*", "heads", "ask.here", "ask.*", ">"]).await;
}

/// Who was asked may answer, on the subject on which the answer is awaited, and nobody else may.
#[tokio::test]
async fn an_answer_goes_to_who_has_asked() {
    let closed = Closed::start().await;
    let (api, gateway) = (closed.user(API).await, closed.user(GATEWAY).await);
    let mut asks = api.client.queue_subscribe("ask.*", "api".into()).await.unwrap();
    api.client.flush().await.unwrap();
    let answering = api.client.clone();
    tokio::spawn(async move {
        use futures_util::StreamExt;
        let ask = asks.next().await.unwrap();
        answering.publish(ask.reply.unwrap(), "answer".into()).await.unwrap();
    });
    let answer = eventually("the api pod hears asks", async || {
        gateway.client.request("ask.join", "".into()).await.ok()
    });
    assert_eq!(soon(answer).await.payload, "answer");
    assert_eq!(*api.violations.lock(), [""; 0]);
}
