//! Which ports a cluster takes.

use anyhow::{Context, Result};

use crate::cluster::{Options, Place};
use crate::home::Home;
use crate::nats::Nats;
use crate::pods::Plan;
use crate::ports::Ports;
use crate::process::Kind;
use crate::redis::Redis;

/// The ports of one cluster.
pub(crate) struct Layout {
    pub(crate) postgres: u16,
    pub(crate) nats: Nats,
    pub(crate) redis: Redis,
    pub(crate) balancer: u16,
    pub(crate) pods: Vec<Plan>,
}

impl Layout {
    /// With what reserves them.
    pub(crate) fn choose(home: &Home, options: &Options) -> Result<(Self, Ports)> {
        let mut ports = Ports::of(home)?;
        let balancer = match options.place {
            Place::At(port) => ports.fixed("the balancer", port)?,
            Place::Anywhere => ports.free("balancer")?,
        };
        let mut plans = Vec::new();
        // Gateways sit ten above the api pods, couriers ten above those, further when there are more of them.
        let gateways = options.api.max(10);
        let couriers = gateways.saturating_add(options.gateways.max(10));
        let rows = [
            (Kind::Api, "api", options.api, 0),
            (Kind::Gateway, "gateway", options.gateways, gateways),
            (Kind::Courier, "courier", options.couriers, couriers),
        ];
        for (kind, word, count, offset) in rows {
            for number in 1..=count {
                let name = format!("{word}-{number}");
                let (port, admin) = match options.place {
                    Place::At(base) => {
                        let port =
                            base.checked_add(offset + number).context("the port is too high")?;
                        let admin = port.checked_add(1000).context("the port is too high")?;
                        (
                            ports.fixed(&name, port)?,
                            ports.fixed(&format!("{name}'s admin port"), admin)?,
                        )
                    }
                    Place::Anywhere => (ports.free(&name)?, ports.free(&format!("{name}-admin"))?),
                };
                let peers = match kind {
                    Kind::Gateway => Some(ports.free(&format!("{name}-peers"))?),
                    _ => None,
                };
                // A courier is called by nobody: its admin port is all there is of it.
                let port = if kind == Kind::Courier { admin } else { port };
                plans.push(Plan { kind, name, port, admin, peers });
            }
        }
        let layout = Self {
            postgres: ports.free("postgres")?,
            nats: Nats::choose(&mut ports, options.nats, options.secure)?,
            redis: Redis { port: ports.free("redis")?, tls: options.secure },
            balancer,
            pods: plans,
        };
        ports.save(home)?;
        Ok((layout, ports))
    }
}
