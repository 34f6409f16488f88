//! The load balancer: nginx, plain round robin over pods, and the demo's files.

use std::fmt::Write;
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::demo::Demo;
use crate::home::{make_folder, write_private};
use crate::process::{Keeper, Kind, Start};

pub(crate) struct Balancer<'a> {
    pub(crate) program: &'a Path,
    pub(crate) port: u16,
    pub(crate) api: Vec<u16>,
    pub(crate) gateway: Vec<u16>,
    pub(crate) demo: Option<&'a Demo>,
}

impl Balancer<'_> {
    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) fn start(&self, keeper: &mut Keeper) -> Result<()> {
        let prefix = keeper.home().root().join("balancer");
        make_folder(&prefix.join("tmp"))?;
        let config = prefix.join("nginx.conf");
        write_private(&config, self.config()?.as_bytes())?;
        let mut command = Command::new(self.program);
        command.arg("-p").arg(&prefix).arg("-c").arg(&config).args(["-e", "stderr"]);
        let (name, url) = ("balancer".to_owned(), self.url());
        keeper.start(Start { name, kind: Kind::Balancer, url, admin: None, command })?;
        keeper.wait_ready("balancer", Duration::from_secs(15), || {
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        })
    }

    fn config(&self) -> Result<String> {
        let root = rustix::process::getuid().is_root();
        // As root nginx would hand its worker to a user who may not be able to read the demo.
        let user = if root { "user root;" } else { "" };
        Ok(include_str!("balancer.conf")
            .replace("@USER@", user)
            .replace("@API@", &servers(&self.api))
            .replace("@GATEWAY@", &servers(&self.gateway))
            .replace("@PORT@", &self.port.to_string())
            .replace("@DEMO@", &self.locations()?))
    }

    fn locations(&self) -> Result<String> {
        let Some(demo) = self.demo else {
            return Ok("        location / { return 404; }".to_owned());
        };
        let (pages, vendor) = (quoted(&demo.pages)?, quoted(&demo.vendor.join(""))?);
        let (client, file) = (quoted(&demo.client.join(""))?, quoted(&demo.file)?);
        Ok(format!(
            "        location / {{ root {pages}; index index.html; add_header Cache-Control no-cache; }}
        location /vendor/ {{ alias {vendor}; }}
        location /client/ {{ alias {client}; add_header Cache-Control no-cache; }}
        location = /demo.json {{ alias {file}; add_header Cache-Control no-store; }}"
        ))
    }
}

fn servers(ports: &[u16]) -> String {
    ports.iter().fold(String::new(), |mut lines, port| {
        let _ = writeln!(lines, "        server 127.0.0.1:{port} max_fails=0;");
        lines
    })
}

/// A path for nginx' configuration, where `$` begins a variable that nothing can escape.
fn quoted(path: &Path) -> Result<String> {
    let text = path.to_str().context("a folder's name is not UTF-8")?;
    if text.contains(['"', '$', '\\', '\n']) {
        bail!("the load balancer cannot serve from {text}: move the clone to a plainer folder");
    }
    Ok(format!("\"{text}\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_placeholder_is_filled() {
        let program = Path::new("nginx");
        let demo = Demo {
            pages: "/clone/deploy/demo".into(),
            vendor: "/tools/dist".into(),
            client: "/home/client/dist/esm".into(),
            file: "/home/demo.json".into(),
        };
        for demo in [None, Some(&demo)] {
            let (api, gateway) = (vec![8081, 8082], vec![8091]);
            let config = Balancer { program, port: 8080, api, gateway, demo }.config().unwrap();
            assert!(!config.contains("@USER@") && !config.contains("@DEMO@"), "{config}");
            assert!(config.contains("server 127.0.0.1:8082 max_fails=0;"));
            assert!(config.contains("listen 127.0.0.1:8080;"));
        }
    }

    #[test]
    fn a_path_that_nginx_would_misread_is_refused() {
        assert_eq!(quoted(Path::new("/a b")).unwrap(), "\"/a b\"");
        for wrong in ["/a$b", "/a\"b"] {
            assert!(quoted(Path::new(wrong)).is_err(), "{wrong}");
        }
    }
}
