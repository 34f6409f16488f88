//! Settings that do not go together, and files that are none, are said before anything starts, without a secret.

use std::path::{Path, PathBuf};

use parley_local::testing::Certificates;
use parley_relay::{NatsSettings, RedisSettings, RelayError};
use secrecy::SecretString;

const SECRET: &str = "hush-hush";

fn secret() -> SecretString {
    SecretString::from(SECRET)
}

/// The one line; it never holds a secret.
fn said(checked: Result<(), RelayError>) -> String {
    let line = checked.unwrap_err().to_string();
    assert!(!line.contains(SECRET) && !line.contains('\n'), "{line}");
    line
}

#[test]
fn a_user_of_the_bus_is_named_once_and_whole() {
    let nats = || NatsSettings::at("nats://127.0.0.1:4222");
    let user = Some("parley-api".to_owned());
    let by_url = format!("nats://someone:{SECRET}@127.0.0.1:4222");
    for (settings, expected) in [
        (
            NatsSettings { nats_user: user.clone(), ..nats() },
            "PARLEY_NATS_USER needs PARLEY_NATS_PASSWORD",
        ),
        (
            NatsSettings { nats_password: Some(secret()), ..nats() },
            "PARLEY_NATS_PASSWORD needs PARLEY_NATS_USER",
        ),
        (
            NatsSettings {
                nats_user: user,
                nats_password: Some(secret()),
                ..NatsSettings::at(&by_url)
            },
            "PARLEY_NATS_URL with a user, PARLEY_NATS_USER and PARLEY_NATS_CREDENTIALS_FILE exclude each other",
        ),
        (
            NatsSettings::at(&format!("{by_url},nats://another:{SECRET}@127.0.0.1:4223")),
            "PARLEY_NATS_URL names several users: a pod is the same to all servers",
        ),
        (
            NatsSettings { nats_credentials_file: Some("/nowhere/x.creds".into()), ..nats() },
            "PARLEY_NATS_CREDENTIALS_FILE /nowhere/x.creds: No such file or directory (os error 2)",
        ),
    ] {
        assert_eq!(said(settings.check()), expected);
    }
    NatsSettings::at(&format!("{by_url},{by_url}")).check().unwrap();
    NatsSettings::at(&format!("tls://{SECRET}@127.0.0.1:4222")).check().unwrap();
}

#[test]
fn redis_is_at_one_place_and_its_user_has_a_password() {
    let redis = || RedisSettings::at("redis://127.0.0.1", 200);
    let sentinels = || RedisSettings {
        redis_url: None,
        redis_sentinels: vec!["redis://127.0.0.1:26379".to_owned()],
        redis_master: Some("parley".to_owned()),
        ..redis()
    };
    sentinels().check().unwrap();
    for (settings, expected) in [
        (RedisSettings { redis_url: None, ..redis() }, "PARLEY_REDIS_URL is not set"),
        (
            RedisSettings { redis_url: redis().redis_url, ..sentinels() },
            "PARLEY_REDIS_URL and PARLEY_REDIS_SENTINELS exclude each other",
        ),
        (
            RedisSettings { redis_master: None, ..sentinels() },
            "PARLEY_REDIS_SENTINELS needs PARLEY_REDIS_MASTER",
        ),
        (
            RedisSettings { redis_master: Some("parley".to_owned()), ..redis() },
            "PARLEY_REDIS_MASTER needs PARLEY_REDIS_SENTINELS",
        ),
        (
            RedisSettings { redis_sentinel_password: Some(secret()), ..redis() },
            "PARLEY_REDIS_SENTINEL_PASSWORD needs PARLEY_REDIS_SENTINELS",
        ),
        (
            RedisSettings { redis_user: Some("parley".to_owned()), ..redis() },
            "PARLEY_REDIS_USER needs PARLEY_REDIS_PASSWORD",
        ),
        (
            RedisSettings {
                redis_password: Some(secret()),
                ..RedisSettings::at(&format!("redis://:{SECRET}@127.0.0.1"), 200)
            },
            "PARLEY_REDIS_PASSWORD, and PARLEY_REDIS_URL holds a password already",
        ),
        (
            RedisSettings {
                redis_sentinels: vec![format!("redis://:{SECRET}@127.0.0.1:26379")],
                ..sentinels()
            },
            "PARLEY_REDIS_SENTINELS holds a login: PARLEY_REDIS_SENTINEL_PASSWORD is for that",
        ),
        (
            RedisSettings { redis_sentinels: vec!["127.0.0.1:1".to_owned()], ..sentinels() },
            "PARLEY_REDIS_SENTINELS is not a list of redis://host:port or rediss://host:port URLs",
        ),
    ] {
        assert_eq!(said(settings.check()), expected);
    }
    assert!(
        !format!("{:?}", RedisSettings { redis_password: Some(secret()), ..redis() })
            .contains(SECRET)
    );
}

#[test]
fn files_are_read_and_have_to_fit() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| -> PathBuf {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let authority = Certificates::make().unwrap();
    let ((one, one_key), (_, other_key)) = (authority.issue().unwrap(), authority.issue().unwrap());
    let ca = write("ca.pem", &authority.ca);
    let cert = write("pod.pem", &one);
    let (key, foreign) = (write("pod.key", &one_key), write("other.key", &other_key));
    let nonsense = write("nonsense.pem", "nonsense");
    let redis = |ca: &Path, pair: Option<(&Path, &Path)>| RedisSettings {
        redis_ca_file: Some(ca.to_owned()),
        redis_cert_file: pair.map(|(cert, _)| cert.to_owned()),
        redis_key_file: pair.map(|(_, key)| key.to_owned()),
        ..RedisSettings::at("rediss://127.0.0.1", 200)
    };
    redis(&ca, Some((&cert, &key))).check().unwrap();
    let wrong = said(redis(&ca, Some((&cert, &foreign))).check());
    assert!(wrong.starts_with("PARLEY_REDIS_CERT_FILE") && wrong.contains("pod.pem"), "{wrong}");
    let wrong = said(redis(&nonsense, None).check());
    assert!(wrong.ends_with("nonsense.pem: it holds no certificate in PEM"), "{wrong}");
    let wrong = said(redis(&ca, Some((&cert, &nonsense))).check());
    assert!(wrong.ends_with("nonsense.pem: it holds no private key"), "{wrong}");
    let lone = RedisSettings { redis_key_file: None, ..redis(&ca, Some((&cert, &key))) };
    assert_eq!(said(lone.check()), "PARLEY_REDIS_CERT_FILE needs PARLEY_REDIS_KEY_FILE");
    let plain = RedisSettings {
        redis_ca_file: Some(ca.clone()),
        ..RedisSettings::at("redis://127.0.0.1", 200)
    };
    assert_eq!(
        said(plain.check()),
        "PARLEY_REDIS_CA_FILE and PARLEY_REDIS_CERT_FILE need a rediss:// URL"
    );
    let nats = NatsSettings {
        nats_ca_file: Some(folder.path().join("none.pem")),
        ..NatsSettings::at("tls://127.0.0.1")
    };
    assert!(said(nats.check()).starts_with("PARLEY_NATS_CA_FILE"));
    let credentials = NatsSettings {
        nats_credentials_file: Some(nonsense),
        ..NatsSettings::at("tls://127.0.0.1")
    };
    assert_eq!(
        said(credentials.check()),
        "PARLEY_NATS_CREDENTIALS_FILE holds no JWT of a user with its nkey"
    );
}
