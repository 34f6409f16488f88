//! How Redis is reached.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use deadpool_redis::redis::io::tcp::TcpSettings;
use deadpool_redis::redis::{
    Client, ClientTlsConfig, ConnectionAddr, ConnectionInfo, IntoConnectionInfo,
    RedisConnectionInfo, TlsCertificates,
};
use secrecy::{ExposeSecret, SecretString};

use super::tls::TlsFiles;
use crate::RelayError;

/// Redis.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Redis")]
pub struct RedisSettings {
    /// The server, `redis://[user:password@]host:port[/database]`, or `rediss://…` for TLS
    #[arg(long, env = "PARLEY_REDIS_URL", hide_env_values = true, value_name = "URL")]
    pub redis_url: Option<SecretString>,

    /// Sentinels that know the server, `redis://host:port`, or `rediss://…` if they and the server speak TLS, separated
    /// by commas; instead of `PARLEY_REDIS_URL`
    #[arg(long, env = "PARLEY_REDIS_SENTINELS", value_delimiter = ',', value_name = "URLS")]
    pub redis_sentinels: Vec<String>,

    /// The name by which the sentinels know the server
    #[arg(long, env = "PARLEY_REDIS_MASTER", value_name = "NAME")]
    pub redis_master: Option<String>,

    /// The password of the sentinels, if they want one
    #[arg(
        long,
        env = "PARLEY_REDIS_SENTINEL_PASSWORD",
        hide_env_values = true,
        value_name = "PASSWORD"
    )]
    pub redis_sentinel_password: Option<SecretString>,

    /// The user, if it is not the default one and the URL does not name it
    #[arg(long, env = "PARLEY_REDIS_USER", value_name = "NAME")]
    pub redis_user: Option<String>,

    /// The password, if the URL does not hold it
    #[arg(long, env = "PARLEY_REDIS_PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    pub redis_password: Option<SecretString>,

    /// Certificates of the authorities that the server is trusted by, PEM. The system's by default
    #[arg(long, env = "PARLEY_REDIS_CA_FILE", value_name = "FILE")]
    pub redis_ca_file: Option<PathBuf>,

    /// This pod's certificate, PEM, for a server that wants one
    #[arg(long, env = "PARLEY_REDIS_CERT_FILE", value_name = "FILE")]
    pub redis_cert_file: Option<PathBuf>,

    /// The key of the certificate, PEM
    #[arg(long, env = "PARLEY_REDIS_KEY_FILE", value_name = "FILE")]
    pub redis_key_file: Option<PathBuf>,

    /// How long an answer of Redis is waited for before this pod decides by itself, in milliseconds
    #[arg(long, env = "PARLEY_REDIS_MS", default_value_t = 200, value_parser = clap::value_parser!(u64).range(10..=10_000), value_name = "MILLISECONDS")]
    pub redis_ms: u64,
}

/// Where the server is, or who knows it.
pub(crate) enum Place {
    At(Client),
    Known(Sentinels),
}

/// Who knows where the server is at the moment.
pub(crate) struct Sentinels {
    pub(crate) clients: Vec<Client>,
    pub(crate) master: String,
    tls: Option<TlsCertificates>,
    login: RedisConnectionInfo,
}

impl Sentinels {
    /// A client of the server at this address.
    pub(crate) fn server(&self, host: String, port: u16) -> Result<Client, RelayError> {
        let address = if self.tls.is_some() {
            ConnectionAddr::TcpTls { host, port, insecure: false, tls_params: None }
        } else {
            ConnectionAddr::Tcp(host, port)
        };
        let info = address.into_connection_info().map_err(RelayError::redis)?;
        client(info.set_redis_settings(self.login.clone()), self.tls.as_ref())
    }
}

impl RedisSettings {
    /// A server at this URL, an answer of which is waited for so long.
    pub fn at(url: &str, redis_ms: u64) -> Self {
        Self {
            redis_url: Some(url.into()),
            redis_sentinels: Vec::new(),
            redis_master: None,
            redis_sentinel_password: None,
            redis_user: None,
            redis_password: None,
            redis_ca_file: None,
            redis_cert_file: None,
            redis_key_file: None,
            redis_ms,
        }
    }

    /// Tests what can be tested without connecting.
    pub fn check(&self) -> Result<(), RelayError> {
        self.files().check()?;
        self.place().map(drop)
    }

    pub(crate) fn place(&self) -> Result<Place, RelayError> {
        let wrong = |text: &str| Err(RelayError::Setting(text.to_owned()));
        match (&self.redis_url, self.redis_sentinels.is_empty(), &self.redis_master) {
            (Some(url), true, None) if self.redis_sentinel_password.is_none() => self.server(url),
            (None, false, Some(master)) => self.sentinels(master),
            (None, false, None) => wrong("PARLEY_REDIS_SENTINELS needs PARLEY_REDIS_MASTER"),
            (None, true, None) if self.redis_sentinel_password.is_none() => {
                wrong("PARLEY_REDIS_URL is not set")
            }
            (Some(_), false, _) => {
                wrong("PARLEY_REDIS_URL and PARLEY_REDIS_SENTINELS exclude each other")
            }
            (_, true, Some(_)) => wrong("PARLEY_REDIS_MASTER needs PARLEY_REDIS_SENTINELS"),
            (_, true, None) => wrong("PARLEY_REDIS_SENTINEL_PASSWORD needs PARLEY_REDIS_SENTINELS"),
        }
    }

    pub(crate) fn patience(&self) -> Duration {
        Duration::from_millis(self.redis_ms)
    }

    fn server(&self, url: &SecretString) -> Result<Place, RelayError> {
        let info = address(url.expose_secret()).ok_or(RelayError::RedisUrl)?;
        let named = info.redis_settings();
        if self.redis_password.is_some() && named.password().is_some() {
            let why = "PARLEY_REDIS_PASSWORD, and PARLEY_REDIS_URL holds a password already";
            return Err(RelayError::Setting(why.to_owned()));
        }
        let login = self.login(named.clone())?;
        let tls = self.tls(&info)?;
        client(info.set_redis_settings(login), tls.as_ref()).map(Place::At)
    }

    fn sentinels(&self, master: &str) -> Result<Place, RelayError> {
        let infos: Option<Vec<_>> = self.redis_sentinels.iter().map(|url| address(url)).collect();
        let infos = infos.ok_or(RelayError::RedisSentinels)?;
        let first = infos.first().ok_or(RelayError::RedisSentinels)?;
        let has_login = |info: &ConnectionInfo| {
            let login = info.redis_settings();
            login.username().is_some() || login.password().is_some()
        };
        if infos.iter().any(has_login) {
            let why =
                "PARLEY_REDIS_SENTINELS holds a login: PARLEY_REDIS_SENTINEL_PASSWORD is for that";
            return Err(RelayError::Setting(why.to_owned()));
        }
        let tls = self.tls(first)?;
        if infos.iter().any(|info| is_tls(info) != tls.is_some()) {
            return Err(RelayError::RedisSentinels);
        }
        let mut login = RedisConnectionInfo::default();
        if let Some(password) = &self.redis_sentinel_password {
            login = login.set_password(password.expose_secret());
        }
        let clients = infos
            .into_iter()
            .map(|info| client(info.set_redis_settings(login.clone()), tls.as_ref()))
            .collect::<Result<_, _>>()?;
        let login = self.login(RedisConnectionInfo::default())?;
        Ok(Place::Known(Sentinels { clients, master: master.to_owned(), tls, login }))
    }

    fn login(&self, mut login: RedisConnectionInfo) -> Result<RedisConnectionInfo, RelayError> {
        if let Some(user) = &self.redis_user {
            login = login.set_username(user);
        }
        if let Some(password) = &self.redis_password {
            login = login.set_password(password.expose_secret());
        }
        if login.username().is_some() && login.password().is_none() {
            let why = "PARLEY_REDIS_USER needs PARLEY_REDIS_PASSWORD";
            return Err(RelayError::Setting(why.to_owned()));
        }
        Ok(login)
    }

    /// What TLS needs, if the address asks for it.
    fn tls(&self, info: &ConnectionInfo) -> Result<Option<TlsCertificates>, RelayError> {
        let files = self.files();
        if !is_tls(info) {
            if files.given() {
                let why = "PARLEY_REDIS_CA_FILE and PARLEY_REDIS_CERT_FILE need a rediss:// URL";
                return Err(RelayError::Setting(why.to_owned()));
            }
            return Ok(None);
        }
        let client_tls = files
            .identity_texts()?
            .map(|(client_cert, client_key)| ClientTlsConfig { client_cert, client_key });
        Ok(Some(TlsCertificates { client_tls, root_cert: files.ca_text()? }))
    }

    fn files(&self) -> TlsFiles<'_> {
        TlsFiles {
            prefix: "PARLEY_REDIS",
            ca: self.redis_ca_file.as_deref(),
            cert: self.redis_cert_file.as_deref(),
            key: self.redis_key_file.as_deref(),
        }
    }
}

/// Reads `redis://…` and `rediss://…`; not the form that would trust every certificate.
fn address(url: &str) -> Option<ConnectionInfo> {
    let (scheme, rest) = url.split_once("://")?;
    if !["redis", "rediss"].contains(&scheme) || rest.contains('#') {
        return None;
    }
    url.into_connection_info().ok()
}

fn is_tls(info: &ConnectionInfo) -> bool {
    matches!(info.addr(), ConnectionAddr::TcpTls { .. })
}

fn client(info: ConnectionInfo, tls: Option<&TlsCertificates>) -> Result<Client, RelayError> {
    // Many small commands share the connection: none waits for the acknowledgement of another.
    let info = info.set_tcp_settings(TcpSettings::default().set_nodelay(true));
    let client = match tls {
        Some(certificates) => Client::build_with_tls(info, certificates.clone()),
        None => Client::open(info),
    };
    client.map_err(|_| RelayError::RedisUrl)
}
