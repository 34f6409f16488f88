//! NATS: one server, or a cluster of them; core only.

use std::collections::BTreeSet;
use std::fmt::Write;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};

use crate::home::{make_folder, write_private};
use crate::ports::Ports;
use crate::process::{Keeper, Kind, Start};
use crate::rest::{self, Client};
use crate::security::Security;
use crate::tools::Programs;

/// The servers, which know of each other.
pub(crate) struct Nats {
    servers: Vec<Server>,
    tls: bool,
}

struct Server {
    name: String,
    port: u16,
    monitoring: u16,
    /// Where it takes what the others pass on.
    routes: u16,
}

impl Server {
    fn url(&self, tls: bool) -> String {
        format!("{}://127.0.0.1:{}", if tls { "tls" } else { "nats" }, self.port)
    }
}

impl Nats {
    pub(crate) fn choose(ports: &mut Ports, count: u16, tls: bool) -> Result<Self> {
        let server = |number| {
            let name = format!("nats-{number}");
            let port = ports.free(&name)?;
            let monitoring = ports.free(&format!("{name}-monitoring"))?;
            let routes = ports.free(&format!("{name}-routes"))?;
            Ok(Server { name, port, monitoring, routes })
        };
        Ok(Self { servers: (1..=count).map(server).collect::<Result<_>>()?, tls })
    }

    /// The names of the servers.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.servers.iter().map(|server| server.name.as_str())
    }

    /// All of them, as a pod is told.
    pub(crate) fn urls(&self) -> String {
        let urls: Vec<_> = self.servers.iter().map(|server| server.url(self.tls)).collect();
        urls.join(",")
    }

    pub(crate) fn start(
        &self,
        programs: &Programs,
        security: Option<&Security>,
        keeper: &mut Keeper,
    ) -> Result<()> {
        let folder = keeper.home().file("nats");
        make_folder(&folder)?;
        for server in &self.servers {
            let file = folder.join(format!("{}.conf", server.name));
            write_private(&file, self.configuration(server, security)?.as_bytes())?;
            let mut command = Command::new(&programs.nats);
            command.arg("--config").arg(file);
            if let Some(security) = security {
                security.nats_environment(&mut command);
            }
            let (name, url) = (server.name.clone(), server.url(self.tls));
            keeper.start(Start { name, kind: Kind::Nats, url, admin: None, command })?;
        }
        Ok(())
    }

    fn configuration(&self, server: &Server, security: Option<&Security>) -> Result<String> {
        let Server { name, port, monitoring, routes } = server;
        let mut text = format!(
            "server_name: {name}\nlisten: \"127.0.0.1:{port}\"\nhttp: \"127.0.0.1:{monitoring}\"\n"
        );
        if let Some(security) = security {
            text += &security.nats_lines()?;
        }
        if self.servers.len() > 1 {
            // Pods are told of all servers. What they learn from one of them would lead past whatever is put between them.
            let login = security.map(Security::nats_routes_login).unwrap_or_default();
            let others = self.servers.iter().filter(|other| other.name != *name);
            let others: Vec<_> = others
                .map(|other| format!("\"nats-route://{login}127.0.0.1:{}\"", other.routes))
                .collect();
            writeln!(
                text,
                "cluster {{\nname: parley\nno_advertise: true\nlisten: \"127.0.0.1:{routes}\"\nroutes: [{}]\n{}\n}}",
                others.join(", "),
                security.map(Security::nats_routes_lines).unwrap_or_default()
            )?;
        }
        Ok(text)
    }

    /// Waits until each serves and has a way to every other one.
    pub(crate) fn wait(&self, keeper: &mut Keeper) -> Result<()> {
        for server in &self.servers {
            let monitoring = format!("http://127.0.0.1:{}", server.monitoring);
            keeper.wait_ready(&server.name, Duration::from_secs(15), || {
                rest::is_ok(&format!("{monitoring}/healthz"))
                    && others(&monitoring).is_ok_and(|known| known == self.servers.len() - 1)
            })?;
        }
        Ok(())
    }
}

/// With how many other servers this one is connected.
fn others(monitoring: &str) -> Result<usize> {
    let answer = Client::new(monitoring, None).get("/routez")?;
    let routes = answer.body["routes"].as_array().context("no routes")?;
    let names: BTreeSet<_> =
        routes.iter().filter_map(|route| route["remote_name"].as_str()).collect();
    Ok(names.len())
}
