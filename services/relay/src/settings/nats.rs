//! How the bus is reached.

use std::borrow::Cow;
use std::path::PathBuf;
use std::str::FromStr;

use async_nats::{ConnectOptions, ServerAddr};
use clap::Args;
use percent_encoding::percent_decode_str;
use secrecy::{ExposeSecret, SecretString};

use super::tls::TlsFiles;
use crate::RelayError;

/// NATS.
#[derive(Debug, Clone, Default, Args)]
#[command(next_help_heading = "NATS")]
pub struct NatsSettings {
    /// The servers of one cluster, `nats://host:port`, or `tls://host:port` for TLS, separated by commas; user and
    /// password may stand in it, too
    #[arg(
        long,
        env = "PARLEY_NATS_URL",
        hide_env_values = true,
        value_delimiter = ',',
        required = true,
        value_name = "URLS"
    )]
    pub nats_url: Vec<SecretString>,

    /// The user
    #[arg(long, env = "PARLEY_NATS_USER", value_name = "NAME")]
    pub nats_user: Option<String>,

    /// The user's password
    #[arg(long, env = "PARLEY_NATS_PASSWORD", hide_env_values = true, value_name = "PASSWORD")]
    pub nats_password: Option<SecretString>,

    /// A file of credentials, the JWT of a user and its nkey, instead of user and password
    #[arg(long, env = "PARLEY_NATS_CREDENTIALS_FILE", value_name = "FILE")]
    pub nats_credentials_file: Option<PathBuf>,

    /// Certificates of the authorities that the servers are trusted by, PEM; asks for TLS. The system's by default
    #[arg(long, env = "PARLEY_NATS_CA_FILE", value_name = "FILE")]
    pub nats_ca_file: Option<PathBuf>,

    /// This pod's certificate, PEM, for servers that want one; asks for TLS
    #[arg(long, env = "PARLEY_NATS_CERT_FILE", value_name = "FILE")]
    pub nats_cert_file: Option<PathBuf>,

    /// The key of the certificate, PEM
    #[arg(long, env = "PARLEY_NATS_KEY_FILE", value_name = "FILE")]
    pub nats_key_file: Option<PathBuf>,
}

/// Who a pod says that it is.
#[derive(PartialEq, Eq)]
enum Login {
    Nobody,
    Token(String),
    User(String, String),
    Credentials(String),
}

impl NatsSettings {
    /// Servers at these URLs, separated by commas, and nothing else.
    pub fn at(urls: &str) -> Self {
        Self { nats_url: urls.split(',').map(SecretString::from).collect(), ..Self::default() }
    }

    /// Tests what can be tested without connecting.
    pub fn check(&self) -> Result<(), RelayError> {
        self.servers()?;
        self.files().check()?;
        if let Login::Credentials(text) = self.login()? {
            ConnectOptions::with_credentials(&text).map_err(|_| {
                RelayError::Setting(
                    "PARLEY_NATS_CREDENTIALS_FILE holds no JWT of a user with its nkey".to_owned(),
                )
            })?;
        }
        Ok(())
    }

    /// The servers' addresses. User and password are left out: the client would not use them, and might log them.
    pub(crate) fn servers(&self) -> Result<Vec<ServerAddr>, RelayError> {
        let bare = |url: &SecretString| {
            let url = url.expose_secret();
            let (scheme, rest) = url.split_once("://").unwrap_or(("nats", url));
            let host = rest.rsplit_once('@').map_or(rest, |(_, host)| host);
            match (scheme, ServerAddr::from_str(&format!("{scheme}://{host}"))) {
                ("nats" | "tls", Ok(server)) if !server.host().is_empty() => Ok(server),
                _ => Err(RelayError::Url),
            }
        };
        self.nats_url.iter().map(bare).collect()
    }

    /// What a connection is opened with.
    pub(crate) fn connect_options(&self) -> Result<ConnectOptions, RelayError> {
        let options = match self.login()? {
            Login::Nobody => ConnectOptions::new(),
            Login::Token(token) => ConnectOptions::with_token(token),
            Login::User(user, password) => ConnectOptions::with_user_and_password(user, password),
            Login::Credentials(text) => ConnectOptions::with_credentials(&text)
                .map_err(|error| RelayError::Setting(error.to_string()))?,
        };
        let files = self.files();
        let asked = self.servers()?.iter().any(ServerAddr::tls_required);
        // For all servers, those too that the cluster tells of: nobody on the way may talk a pod out of it.
        let mut options = options.require_tls(asked || files.given());
        if let Some(ca) = files.ca {
            options = options.add_root_certificates(ca.to_owned());
        }
        if let Some((cert, key)) = files.identity()? {
            options = options.add_client_certificate(cert.to_owned(), key.to_owned());
        }
        Ok(options)
    }

    fn files(&self) -> TlsFiles<'_> {
        TlsFiles {
            prefix: "PARLEY_NATS",
            ca: self.nats_ca_file.as_deref(),
            cert: self.nats_cert_file.as_deref(),
            key: self.nats_key_file.as_deref(),
        }
    }

    fn login(&self) -> Result<Login, RelayError> {
        let wrong = |text: &str| Err(RelayError::Setting(text.to_owned()));
        let by_url = self.login_of_urls()?;
        let by_setting = match (&self.nats_user, &self.nats_password) {
            (None, None) => Login::Nobody,
            (Some(user), Some(password)) => {
                Login::User(user.clone(), password.expose_secret().to_owned())
            }
            (Some(_), None) => return wrong("PARLEY_NATS_USER needs PARLEY_NATS_PASSWORD"),
            (None, Some(_)) => return wrong("PARLEY_NATS_PASSWORD needs PARLEY_NATS_USER"),
        };
        let by_file = match &self.nats_credentials_file {
            None => Login::Nobody,
            Some(path) => {
                let text = std::fs::read_to_string(path).map_err(|error| {
                    let path = path.display();
                    RelayError::Setting(format!("PARLEY_NATS_CREDENTIALS_FILE {path}: {error}"))
                })?;
                Login::Credentials(text)
            }
        };
        let mut logins =
            [by_url, by_setting, by_file].into_iter().filter(|login| *login != Login::Nobody);
        let login = logins.next().unwrap_or(Login::Nobody);
        if logins.next().is_some() {
            return wrong(
                "PARLEY_NATS_URL with a user, PARLEY_NATS_USER and PARLEY_NATS_CREDENTIALS_FILE exclude each other",
            );
        }
        Ok(login)
    }

    fn login_of_urls(&self) -> Result<Login, RelayError> {
        let mut found = Login::Nobody;
        for url in &self.nats_url {
            let rest = url.expose_secret().split_once("://").map_or("", |(_, rest)| rest);
            let Some((login, _)) = rest.rsplit_once('@') else { continue };
            let text = |part| {
                let text = percent_decode_str(part).decode_utf8().map(Cow::into_owned);
                text.map_err(|_| RelayError::Url)
            };
            let login = match login.split_once(':') {
                Some((user, password)) => Login::User(text(user)?, text(password)?),
                None => Login::Token(text(login)?),
            };
            if found != Login::Nobody && found != login {
                let why = "PARLEY_NATS_URL names several users: a pod is the same to all servers";
                return Err(RelayError::Setting(why.to_owned()));
            }
            found = login;
        }
        Ok(found)
    }
}
