//! The other gateways: a balancer may send any request of a session to any of them.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, ensure};
use clap::Args;
use parley_relay::{Bus, GatewayPlace, Gateways};
use parley_runtime::lifecycle::Lifecycle;
use parley_runtime::settings::listen;
use parley_socketio::engine::Engine;
use parley_socketio::{Directory, Found, Peers, Router};
use rand::Rng;
use rand::distr::Alphanumeric;
use secrecy::{ExposeSecret, SecretString};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// Fewer bytes could be guessed.
const MIN_SECRET: usize = 32;
/// Letters and digits of the name of one start: about 71 random bits.
const NAME_LENGTH: usize = 12;

/// The other gateways.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Other gateways")]
pub struct PeerSettings {
    /// What gateways know each other by, at least 32 bytes, the same for all of them; without it, a session's requests
    /// have to come to its own gateway
    #[arg(long, env = "PARLEY_PEER_SECRET", hide_env_values = true, value_name = "SECRET")]
    pub peer_secret: Option<SecretString>,

    /// Where requests are taken that other gateways pass on; no client may reach it
    #[arg(
        long,
        env = "PARLEY_PEER_LISTEN",
        default_value = "0.0.0.0:8092",
        value_name = "ADDRESS"
    )]
    pub peer_listen: SocketAddr,

    /// Where the others reach that, if `PARLEY_PEER_LISTEN` does not say it
    #[arg(long, env = "PARLEY_PEER_ADDRESS", value_name = "ADDRESS")]
    pub peer_address: Option<SocketAddr>,

    /// Requests that may be passed on at a time: one for each client that polls; the sessions of more end
    #[arg(long, env = "PARLEY_MAX_FORWARDS", default_value_t = 15_000, value_parser = clap::value_parser!(u32).range(1..), value_name = "NUMBER")]
    pub max_forwards: u32,
}

impl PeerSettings {
    pub(crate) fn check(&self) -> anyhow::Result<()> {
        let Some(secret) = &self.peer_secret else { return Ok(()) };
        let secret = secret.expose_secret();
        ensure!(
            secret.len() >= MIN_SECRET && secret.bytes().all(|byte| byte.is_ascii_graphic()),
            "PARLEY_PEER_SECRET is shorter than {MIN_SECRET} bytes, or not visible ASCII"
        );
        let address = self.peer_address.unwrap_or(self.peer_listen);
        ensure!(
            !address.ip().is_unspecified(),
            "PARLEY_PEER_ADDRESS has to say where other gateways reach this one: PARLEY_PEER_LISTEN is every address"
        );
        Ok(())
    }
}

/// This gateway, as one of several.
pub(crate) struct Membership {
    listener: TcpListener,
    name: String,
    address: SocketAddr,
    peers: Peers,
}

impl Membership {
    /// Listens, and is on the list of gateways from now on; nothing, if there are to be no others.
    pub(crate) async fn begin(
        settings: &PeerSettings,
        bus: &Bus,
        lifecycle: &Lifecycle,
    ) -> anyhow::Result<Option<Self>> {
        let Some(secret) = &settings.peer_secret else {
            tracing::info!("no PARLEY_PEER_SECRET: a session's requests have to come to this pod");
            return Ok(None);
        };
        let listener = listen("PARLEY_PEER_LISTEN", settings.peer_listen).await?;
        let address = settings.peer_address.map_or_else(|| listener.local_addr(), Ok)?;
        let name: String =
            rand::rng().sample_iter(Alphanumeric).take(NAME_LENGTH).map(char::from).collect();
        let (gateways, task) = bus.gateways(GatewayPlace { incarnation: name.clone(), address });
        // The others have to find it until its last session is closed.
        lifecycle
            .background("gateways", async move { Ok(task.run(std::future::pending()).await?) });
        let peers = Peers {
            directory: Arc::new(Listed(gateways)),
            secret: secret.expose_secret().to_owned(),
            max_forwards: usize::try_from(settings.max_forwards).unwrap_or(usize::MAX),
        };
        Ok(Some(Self { listener, name, address, peers }))
    }

    /// What the ids of this gateway's sessions begin with.
    pub(crate) fn id_prefix(&self) -> String {
        format!("{}.", self.name)
    }

    pub(crate) fn peers(&self) -> Peers {
        self.peers.clone()
    }

    /// Takes what the others pass on, to the very end.
    pub(crate) fn serve(self, engine: Engine, lifecycle: &Lifecycle) {
        tracing::info!(incarnation = self.name, address = %self.address, "serving other gateways");
        let router = Router::new().mount_peers(engine);
        lifecycle.background("peers", async move {
            let served = router.serve(self.listener, CancellationToken::new()).await;
            served.context("accept connections of other gateways")
        });
    }
}

struct Listed(Gateways);

impl Directory for Listed {
    fn find<'a>(&'a self, name: &'a str) -> Found<'a> {
        Box::pin(self.0.find(name))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        peers: PeerSettings,
    }

    fn check(arguments: &[&str]) -> bool {
        let arguments = ["test"].iter().chain(arguments);
        Only::parse_from(arguments).peers.check().is_ok()
    }

    #[test]
    fn a_gateway_says_where_it_is_if_there_are_others() {
        let secret = "--peer-secret=0123456789abcdef0123456789abcdef";
        assert!(check(&[]));
        assert!(!check(&[secret]), "every address is none");
        assert!(check(&[secret, "--peer-listen=127.0.0.1:0"]));
        assert!(check(&[secret, "--peer-address=10.0.0.1:8092"]));
        assert!(!check(&["--peer-secret=short", "--peer-address=10.0.0.1:8092"]));
        let odd = "--peer-secret=0123456789abcdef0123456789 bcdef";
        assert!(!check(&[odd, "--peer-address=10.0.0.1:8092"]));
    }
}
