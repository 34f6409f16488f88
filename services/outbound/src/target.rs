//! A URL that may be called.

use std::net::IpAddr;

use http::uri::PathAndQuery;
use url::Url;

use crate::{OutboundError, Policy};

/// Longest URL, in bytes.
pub const MOST_URL: usize = 2048;
/// Longest name of a host.
const MOST_NAME: usize = 253;
/// Longest label of it.
const MOST_LABEL: usize = 63;
/// The lowest port that needs no privilege.
const UNPRIVILEGED: u16 = 1024;
/// Ports above that on which something listens that takes HTTP for its own language (the Fetch standard's list).
const NOT_HTTP: [u16; 18] = [
    1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669,
    6697, 10080,
];
/// Names that mean something inside only.
const INSIDE: [&str; 7] =
    ["localhost", "localdomain", "local", "internal", "intranet", "home.arpa", "lan"];

/// A URL that was parsed: `https`, or `http` to a host that the [`Policy`] names; without user, password and fragment;
/// in the one spelling that its host has.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Target {
    pub(crate) place: Place,
    pub(crate) path: PathAndQuery,
    text: String,
}

/// Where a connection goes.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Place {
    pub(crate) https: bool,
    pub(crate) host: Host,
    pub(crate) port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Host {
    Name(String),
    Address(IpAddr),
}

impl Target {
    /// Parses what somebody named.
    pub fn parse(text: &str, policy: &Policy) -> Result<Self, OutboundError> {
        use OutboundError::Invalid;
        if text.len() > MOST_URL {
            return Err(Invalid("is too long"));
        }
        if text.chars().any(|one| one.is_control() || one.is_whitespace() || one == '\\') {
            return Err(Invalid("has white space, control characters or backslashes"));
        }
        let url = Url::parse(text).map_err(|_| Invalid("cannot be read"))?;
        let https = match url.scheme() {
            "https" => true,
            "http" => false,
            _ => return Err(Invalid("is neither https nor http")),
        };
        if text.contains('#') {
            return Err(Invalid("has a fragment"));
        }
        let written = written_host(text)?;
        let host = host(&url, written, policy)?;
        if !https && !host.is_allowed(policy) {
            return Err(Invalid("is not https, and its host is not on the list of allowed ones"));
        }
        let port = port(&url, https)?;
        let path = &url[url::Position::BeforePath..url::Position::AfterQuery];
        let path = path.parse().map_err(|_| Invalid("has a path that cannot be read"))?;
        Ok(Self { place: Place { https, host, port }, path, text: url.into() })
    }

    /// The URL, as it is called.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Scheme, host and port: what a log line may hold, since a path may hold a secret.
    pub fn origin(&self) -> String {
        self.place.to_string()
    }
}

impl std::fmt::Debug for Target {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Target({}/…)", self.place)
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let scheme = if self.https { "https" } else { "http" };
        write!(f, "{scheme}://{}:{}", self.host, self.port)
    }
}

impl Place {
    /// What stands in the header `Host`.
    pub(crate) fn authority(&self) -> String {
        let default = if self.https { 443 } else { 80 };
        if self.port == default {
            self.host.to_string()
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl std::fmt::Display for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Name(name) => f.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(f, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(f, "[{address}]"),
        }
    }
}

impl Host {
    /// Whether the list names it, or holds its address.
    fn is_allowed(&self, policy: &Policy) -> bool {
        match self {
            Self::Name(name) => policy.names(name),
            Self::Address(address) => policy.covers(*address),
        }
    }
}

/// The host as it was written, without user and port.
fn written_host(text: &str) -> Result<&str, OutboundError> {
    use OutboundError::Invalid;
    let Some((_, after)) = text.split_once("://") else { return Err(Invalid("cannot be read")) };
    let authority = after.split(['/', '?']).next().unwrap_or_default();
    if authority.contains('@') {
        return Err(Invalid("holds a user or a password"));
    }
    let host = match authority.rfind(':') {
        Some(colon) if !authority[colon..].contains(']') => &authority[..colon],
        _ => authority,
    };
    Ok(host)
}

/// The host, if it is written as hosts are: an address in any other spelling than its own (decimal, octal, hexadecimal,
/// short, percent-encoded, in other digits) is somebody's attempt to get past a check.
fn host(url: &Url, written: &str, policy: &Policy) -> Result<Host, OutboundError> {
    use OutboundError::Invalid;
    let Some(host) = url.host() else { return Err(Invalid("has no host")) };
    let canonical = host.to_string();
    let international = !written.is_ascii() && canonical.split('.').any(is_punycode);
    if !international && !written.eq_ignore_ascii_case(&canonical) {
        return Err(Invalid("spells its host in an odd way"));
    }
    let host = match host {
        url::Host::Ipv4(address) => Host::Address(address.into()),
        url::Host::Ipv6(address) => Host::Address(address.into()),
        url::Host::Domain(name) => Host::Name(checked_name(name, policy)?),
    };
    // Addresses of names are checked when they are called.
    if let Host::Address(address) = host {
        policy.check(false, address)?;
    }
    Ok(host)
}

fn is_punycode(label: &str) -> bool {
    label.starts_with("xn--")
}

/// Whether it has the form that names of hosts have.
pub(crate) fn is_name(text: &str) -> bool {
    let is_label = |label: &str| {
        let mut bytes = label.bytes();
        (1..=MOST_LABEL).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_')
    };
    text.len() <= MOST_NAME && text.split('.').all(is_label)
}

fn checked_name(name: &str, policy: &Policy) -> Result<String, OutboundError> {
    if !is_name(name) {
        return Err(OutboundError::Invalid("has a host that is no name"));
    }
    let within =
        |inside: &str| name.strip_suffix(inside).is_some_and(|before| before.ends_with('.'));
    let inside = !name.contains('.') || INSIDE.into_iter().any(within);
    // No top-level domain begins with a digit; what other programs take for an address ends so.
    let digit = |label: &str| label.starts_with(|one: char| one.is_ascii_digit());
    let odd = name.rsplit('.').next().is_some_and(digit);
    if (inside || odd) && !policy.names(name) {
        return Err(OutboundError::ForbiddenName { name: name.to_owned() });
    }
    Ok(name.to_owned())
}

fn port(url: &Url, https: bool) -> Result<u16, OutboundError> {
    let default = if https { 443 } else { 80 };
    let port = url.port().unwrap_or(default);
    if port == default || (port >= UNPRIVILEGED && !NOT_HTTP.contains(&port)) {
        Ok(port)
    } else {
        Err(OutboundError::Invalid("has a port that is not one of HTTP"))
    }
}
