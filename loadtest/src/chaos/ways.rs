//! The network of a whole cluster: a wire before each server that pods reach, and before each pod that clients do.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use parley_local::{Client, Cluster, Description};

use super::kinds::Part;
use crate::wire::{Wire, Wires};

/// By when every pod is ready that was told of its wires.
const READY_WITHIN: Duration = Duration::from_mins(1);
const POLL: Duration = Duration::from_millis(20);

pub(crate) struct Ways {
    api: Vec<Wire>,
    gateways: Vec<Wire>,
    nats: Vec<Wire>,
    redis: Wire,
    postgres: Wire,
    _wires: Wires,
}

impl Ways {
    /// Puts them before everything of a cluster, whose pods start again to use them.
    pub(crate) fn before(cluster: &mut Cluster) -> Result<Self> {
        let wires = Wires::start()?;
        let servers = cluster.description().clone();
        let many = |urls: Vec<&String>| -> Result<Vec<Wire>> {
            urls.into_iter().map(|url| wires.before(authority(url))).collect()
        };
        let ways = Self {
            api: many(servers.api.iter().map(|pod| &pod.url).collect())?,
            gateways: many(servers.gateway.iter().map(|pod| &pod.url).collect())?,
            nats: many(servers.nats.iter().map(|server| &server.url).collect())?,
            redis: wires.before(authority(&servers.redis.url))?,
            postgres: wires.before(authority(&servers.postgres.url))?,
            _wires: wires,
        };
        let nats = servers.nats.iter().zip(&ways.nats);
        let nats: Vec<_> = nats.map(|(server, wire)| through(&server.url, wire.address)).collect();
        let redis = through(&servers.redis.url, ways.redis.address);
        let postgres = through(&servers.postgres.url, ways.postgres.address);
        for pod in servers.pods() {
            let is = |pods: &[parley_local::Pod]| pods.iter().any(|it| it.name == pod.name);
            cluster.set(&pod.name, "PARLEY_NATS_URL", &nats.join(","))?;
            if !is(&servers.courier) {
                cluster.set(&pod.name, "PARLEY_REDIS_URL", &redis)?;
            }
            if !is(&servers.gateway) {
                cluster.set(&pod.name, "PARLEY_DATABASE_URL", &postgres)?;
            }
        }
        Ok(ways)
    }

    /// Starts every pod again, with what it was told since its last start.
    pub(crate) fn start_pods(&self, cluster: &mut Cluster) -> Result<()> {
        let pods: Vec<_> = cluster.description().pods().cloned().collect();
        for pod in &pods {
            cluster.kill(&pod.name)?;
            cluster.restart(&pod.name)?;
        }
        let deadline = Instant::now() + READY_WITHIN;
        for pod in &pods {
            let ready =
                || Client::new(&pod.admin, None).get("/readyz").is_ok_and(|it| it.status == 200);
            while !ready() {
                ensure!(Instant::now() < deadline, "{} is not ready behind its wires", pod.name);
                std::thread::sleep(POLL);
            }
        }
        for part in [Part::Nats, Part::Redis, Part::Postgres] {
            let open: usize = self.to(part, 1)?.iter().map(|wire| wire.open()).sum();
            ensure!(open > 0, "no pod comes to {part} by its wire");
        }
        Ok(())
    }

    /// The doors through which clients come.
    pub(crate) fn doors(&self, cluster: &Cluster) -> Description {
        let mut doors = cluster.description().clone();
        let pods =
            doors.api.iter_mut().zip(&self.api).chain(doors.gateway.iter_mut().zip(&self.gateways));
        for (pod, wire) in pods {
            pod.url = through(&pod.url, wire.address);
        }
        doors
    }

    /// The wires to a part: to one pod, but to every server of NATS, among which pods choose.
    pub(crate) fn to(&self, part: Part, pod: u8) -> Result<Vec<&Wire>> {
        let one = |pods: &'_ [Wire]| -> Result<usize> {
            let place = usize::from(pod).checked_sub(1).filter(|place| *place < pods.len());
            place.with_context(|| format!("there is no {part}-{pod}"))
        };
        Ok(match part {
            Part::Api => vec![&self.api[one(&self.api)?]],
            Part::Gateway => vec![&self.gateways[one(&self.gateways)?]],
            Part::Nats => self.nats.iter().collect(),
            Part::Redis => vec![&self.redis],
            Part::Postgres => vec![&self.postgres],
            Part::Courier => bail!("nobody goes to a courier"),
        })
    }
}

/// `host:port` of a URL.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.split('/').next().unwrap_or(rest);
    rest.rsplit_once('@').map_or(rest, |(_, host)| host)
}

/// The same URL at another address.
fn through(url: &str, address: SocketAddr) -> String {
    url.replacen(authority(url), &address.to_string(), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_keeps_everything_but_its_address() {
        let address = "127.0.0.1:9".parse().unwrap();
        for (url, wanted) in [
            ("nats://127.0.0.1:4222", "nats://127.0.0.1:9"),
            ("postgres://u:p@127.0.0.1:54/db", "postgres://u:p@127.0.0.1:9/db"),
            ("http://127.0.0.1:80/", "http://127.0.0.1:9/"),
        ] {
            assert_eq!(through(url, address), wanted);
        }
        assert_eq!(authority("redis://u:p@h:1/0"), "h:1");
    }
}
