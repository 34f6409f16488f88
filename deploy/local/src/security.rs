//! TLS and credentials for all three parts: an authority of the launcher's own, and what pods are told of it.

use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose,
};

use crate::debian;
use crate::home::{Home, make_folder, shown, write_private};
use crate::interrupt::Interrupt;
use crate::process::Kind;

/// Users, their rights on the bus, and where their passwords come from.
const NATS_USERS: &str = include_str!("../../nats/users.conf");
/// What Parley's user may do in Redis: its own keys, and nothing that could stop the server or read its settings.
const REDIS_RIGHTS: &str = "~parley:* +@read +@write +@scripting +@connection +time -@dangerous";

/// What makes a cluster a closed one.
#[derive(Clone)]
pub(crate) struct Security {
    pub(crate) programs: TlsPrograms,
    folder: PathBuf,
    passwords: Passwords,
}

/// Servers that can do TLS; those of the wheels cannot.
#[derive(Clone)]
pub(crate) struct TlsPrograms {
    /// The folder with `postgres`, `initdb`, `pg_isready` and `psql`.
    pub(crate) postgres: PathBuf,
    /// What holds `redis-server` and `redis-cli`.
    pub(crate) redis: debian::Unpacked,
}

#[derive(Clone)]
struct Passwords {
    nats_api: String,
    nats_gateway: String,
    nats_courier: String,
    nats_routes: String,
    redis: String,
}

impl TlsPrograms {
    pub(crate) fn find(home: &Home, interrupt: &Interrupt) -> Result<Self> {
        Ok(Self {
            postgres: debian::postgres()?,
            redis: debian::unpack(home, "redis", &["redis-server", "redis-tools"], interrupt)?,
        })
    }
}

impl Security {
    /// Draws passwords and makes certificates anew: nothing outlives the cluster that would need them.
    pub(crate) fn make(home: &Home, interrupt: &Interrupt) -> Result<Self> {
        let folder = home.file("tls");
        make_folder(&folder)?;
        let certificates = Certificates::make()?;
        write_private(&folder.join("ca.pem"), certificates.ca.as_bytes())?;
        for name in ["server", "pod"] {
            let (certificate, key) = certificates.issue()?;
            write_private(&folder.join(format!("{name}.pem")), certificate.as_bytes())?;
            write_private(&folder.join(format!("{name}.key")), key.as_bytes())?;
        }
        let passwords = Passwords {
            nats_api: password(),
            nats_gateway: password(),
            nats_courier: password(),
            nats_routes: password(),
            redis: password(),
        };
        let security = Self { programs: TlsPrograms::find(home, interrupt)?, folder, passwords };
        let rights = format!(
            "user default off\nuser parley on >{} {REDIS_RIGHTS}\n",
            security.passwords.redis
        );
        write_private(&security.redis_users(), rights.as_bytes())?;
        Ok(security)
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The content of a file, for a server whose user may not read it there.
    pub(crate) fn text(&self, name: &str) -> Result<Vec<u8>> {
        let file = self.file(name);
        fs::read(&file).with_context(|| format!("cannot read {}", shown(&file)))
    }

    /// What a libpq or an sqlx is told behind a URL.
    pub(crate) fn postgres_parameters(&self) -> String {
        format!("?sslmode=verify-full&sslrootcert={}", self.file("ca.pem").display())
    }

    /// The lines of a NATS server's configuration that are about this.
    pub(crate) fn nats_lines(&self) -> Result<String> {
        write_private(&self.file("users.conf"), NATS_USERS.as_bytes())?;
        // From the folder of the configuration: NATS takes no other path here.
        Ok(format!("{}\ninclude \"../tls/users.conf\"\n", self.nats_tls()))
    }

    /// The same, of its connections to other servers.
    pub(crate) fn nats_routes_lines(&self) -> String {
        let password = &self.passwords.nats_routes;
        format!("authorization {{ user: routes, password: {password} }}\n{}", self.nats_tls())
    }

    /// User and password of the connections between NATS servers, as in a URL.
    pub(crate) fn nats_routes_login(&self) -> String {
        format!("routes:{}@", self.passwords.nats_routes)
    }

    fn nats_tls(&self) -> String {
        let [cert, key, ca] = ["server.pem", "server.key", "ca.pem"]
            .map(|name| self.file(name).display().to_string());
        format!(
            "tls {{ cert_file: \"{cert}\", key_file: \"{key}\", ca_file: \"{ca}\", verify: true }}"
        )
    }

    /// The passwords that the users' file takes from the server's environment.
    pub(crate) fn nats_environment(&self, server: &mut Command) {
        server.env("PARLEY_NATS_API_PASSWORD", &self.passwords.nats_api);
        server.env("PARLEY_NATS_GATEWAY_PASSWORD", &self.passwords.nats_gateway);
        server.env("PARLEY_NATS_COURIER_PASSWORD", &self.passwords.nats_courier);
    }

    pub(crate) fn redis_users(&self) -> PathBuf {
        self.file("redis-users.acl")
    }

    /// What a pod of this kind needs besides the addresses.
    pub(crate) fn pod_settings(&self, kind: Kind) -> Vec<(&'static str, OsString)> {
        let (user, password) = match kind {
            Kind::Gateway => ("parley-gateway", &self.passwords.nats_gateway),
            Kind::Courier => ("parley-courier", &self.passwords.nats_courier),
            _ => ("parley-api", &self.passwords.nats_api),
        };
        let [ca, cert, key] =
            ["ca.pem", "pod.pem", "pod.key"].map(|name| self.file(name).into_os_string());
        let mut settings = vec![
            ("PARLEY_NATS_USER", user.into()),
            ("PARLEY_NATS_PASSWORD", password.into()),
            ("PARLEY_NATS_CA_FILE", ca.clone()),
            ("PARLEY_NATS_CERT_FILE", cert.clone()),
            ("PARLEY_NATS_KEY_FILE", key.clone()),
        ];
        let redis = [
            ("PARLEY_REDIS_USER", "parley".into()),
            ("PARLEY_REDIS_PASSWORD", (&self.passwords.redis).into()),
            ("PARLEY_REDIS_CA_FILE", ca),
            ("PARLEY_REDIS_CERT_FILE", cert),
            ("PARLEY_REDIS_KEY_FILE", key),
        ];
        // Couriers have nothing to ask it.
        settings.extend(redis.into_iter().filter(|_| kind != Kind::Courier));
        settings
    }

    /// Whether a Redis at this port answers Parley's user.
    pub(crate) fn redis_answers(&self, port: u16) -> bool {
        let mut ping = self.programs.redis.command("redis-cli");
        ping.args(["--tls", "-p", &port.to_string(), "--user", "parley", "--cacert"]);
        ping.arg(self.file("ca.pem")).arg("--cert").arg(self.file("pod.pem"));
        ping.arg("--key").arg(self.file("pod.key")).arg("ping");
        ping.env("REDISCLI_AUTH", &self.passwords.redis);
        ping.output().is_ok_and(|output| output.stdout.starts_with(b"PONG"))
    }
}

/// 256 random bits behind a letter: NATS takes what begins with a digit for a number.
fn password() -> String {
    let (high, low) = (rand::random::<u128>(), rand::random::<u128>());
    format!("p{high:032x}{low:032x}")
}

/// An authority, and what it has signed.
pub struct Certificates {
    /// The authority's own certificate, PEM.
    pub ca: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Certificates {
    /// A new authority.
    pub fn make() -> Result<Self> {
        let key = KeyPair::generate()?;
        let mut authority = CertificateParams::default();
        authority.distinguished_name.push(DnType::CommonName, "Parley's launcher");
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let ca = authority.self_signed(&key)?.pem();
        Ok(Self { ca, issuer: Issuer::new(authority, key) })
    }

    /// A certificate of this machine, and its key, PEM both.
    pub fn issue(&self) -> Result<(String, String)> {
        let key = KeyPair::generate()?;
        let names = ["127.0.0.1", "localhost"].map(String::from).to_vec();
        let mut certificate = CertificateParams::new(names)?;
        certificate.distinguished_name.push(DnType::CommonName, "parley");
        certificate.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let signed = certificate.signed_by(&key, &self.issuer)?;
        Ok((signed.pem(), key.serialize_pem()))
    }
}
