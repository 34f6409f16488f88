//! A whole cluster, from ports to pods.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;

use crate::balancer::Balancer;
use crate::demo::{self, Demo, Seeded};
use crate::frozen::Frozen;
use crate::home::{Home, make_folder, shown, write_json};
use crate::interrupt::Interrupt;
use crate::layout::Layout;
use crate::nats::Nats;
use crate::pods::{self, Settings};
use crate::ports::Ports;
pub use crate::postgres::Durability;
use crate::postgres::Postgres;
use crate::process::{Keeper, Kind, Process, files};
use crate::redis::Redis;
use crate::rest::Client;
use crate::say;
use crate::secrets::Secrets;
use crate::security::Security;
use crate::services;
use crate::state::{Address, Description, Jwt, Named, Run};
use crate::storage::Storage;
use crate::token::Token;
use crate::tools::{self, Group, Programs, venv_program};

/// Which ports a cluster takes.
#[derive(Clone, Copy, Debug)]
pub enum Place {
    /// The balancer's port; pods sit right above it.
    At(u16),
    /// Free ports for everything.
    Anywhere,
}

/// What to start.
#[derive(Clone, Debug)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch of `up`, and goes with any other"
)]
pub struct Options {
    /// How many api pods.
    pub api: u16,
    /// How many gateway pods.
    pub gateways: u16,
    /// How many courier pods.
    pub couriers: u16,
    /// How many NATS servers.
    pub nats: u16,
    /// Postgres, NATS and Redis with TLS, and a user of its own for each kind of pod.
    pub secure: bool,
    /// On which ports.
    pub place: Place,
    /// On an empty data folder that goes with the cluster.
    pub ephemeral: bool,
    /// What a crash may cost.
    pub durability: Durability,
    /// Settings for every pod, by their full names.
    pub settings: Vec<(String, String)>,
    /// A folder with other services than those that are built, or that `PARLEY_BIN_DIR` names.
    pub binaries: Option<PathBuf>,
    /// Takes the components on PATH.
    pub system: bool,
    /// With the demo page and its data.
    pub demo: bool,
}

impl Options {
    /// Two and two on free ports and empty, quick data, as tests want it; no courier, which most have no use for.
    pub fn for_tests() -> Self {
        Self {
            api: 2,
            gateways: 2,
            couriers: 0,
            nats: 1,
            secure: false,
            place: Place::Anywhere,
            ephemeral: true,
            durability: Durability::Forgetful,
            settings: Vec::new(),
            binaries: None,
            system: false,
            demo: false,
        }
    }
}

/// A running cluster. One that was started here is stopped when this is dropped.
pub struct Cluster {
    description: Description,
    processes: Vec<Process>,
    keeper: Option<Keeper>,
    seeded: Option<Seeded>,
}

impl Cluster {
    /// The cluster that `cargo parley test` has started for this test.
    ///
    /// # Panics
    /// When the test is not run by `cargo parley test`.
    #[expect(clippy::panic, reason = "a system test without its cluster must fail, never skip")]
    pub fn of_test() -> Self {
        let Some(path) = std::env::var_os("PARLEY_CLUSTER") else {
            panic!("PARLEY_CLUSTER is not set: run `cargo parley test`");
        };
        match Self::load(Path::new(&path)) {
            Ok(cluster) => cluster,
            Err(error) => panic!("{}", say::one_line(&error)),
        }
    }

    /// A cluster that somebody else has started, by its `cluster.json`.
    pub fn load(file: &Path) -> Result<Self> {
        let description = Description::read(file)?;
        let home = Home::from_env()?.beside(file.parent().context("no folder")?.to_owned());
        let run = Run::of(&home)?.with_context(|| format!("no run.json beside {}", shown(file)))?;
        Ok(Self { description, processes: run.processes, keeper: None, seeded: None })
    }

    /// Starts a cluster in a launcher folder.
    pub fn start(home: &Home, options: &Options, interrupt: &Interrupt) -> Result<Self> {
        make_folder(home.root())?;
        let _lock = lock(home)?;
        refuse_second(home)?;
        let mut start = Starting::prepare(home, options, interrupt)?;
        start.components()?;
        pods::migrate(&start.binaries, &start.settings.database_url)?;
        start.pods()?;
        start.balancer()?;
        start.finish()
    }

    /// What runs where.
    pub fn description(&self) -> &Description {
        &self.description
    }

    /// The processes, in the order of their start.
    pub fn processes(&self) -> &[Process] {
        &self.processes
    }

    /// One process by its name.
    pub fn process(&self, name: &str) -> Result<&Process> {
        let found = self.processes.iter().find(|process| process.name == name);
        found.with_context(|| format!("there is no {name}"))
    }

    /// A user's token for an hour.
    pub fn token(&self, user: &str) -> Result<String> {
        Token::user(user).sign(&self.description.jwt.secret)
    }

    /// A REST client at this address (a pod's or the balancer's) as this user.
    pub fn client(&self, url: &str, user: &str) -> Result<Client> {
        Ok(Client::new(url, Some(self.token(user)?)))
    }

    /// Kills a process as the kernel would when memory runs out.
    pub fn kill(&self, name: &str) -> Result<()> {
        self.process(name)?.signal(Signal::KILL)
    }

    /// Makes a process hang until [`Self::resume`].
    pub fn pause(&self, name: &str) -> Result<()> {
        self.process(name)?.signal(Signal::STOP)
    }

    /// Lets a paused process go on.
    pub fn resume(&self, name: &str) -> Result<()> {
        self.process(name)?.signal(Signal::CONT)
    }

    /// Makes a process hang with every process that it has started, until the result is dropped.
    pub fn freeze(&self, name: &str) -> Result<Frozen> {
        Frozen::freeze(self.process(name)?)
    }

    /// Starts a process that was killed, on its old port and with its old settings. Returns at once.
    /// Only who has started the cluster can do it.
    pub fn restart(&mut self, name: &str) -> Result<()> {
        let keeper = self.keeper.as_mut().context("somebody else has started this cluster")?;
        let new = keeper.restart(name)?;
        let known = self.processes.iter_mut().find(|process| process.name == name);
        let known = known.with_context(|| format!("there is no {name}"))?;
        self.description.replace(known.pid, new.pid);
        *known = new;
        write_json(&keeper.home().cluster_file(), &self.description)
    }

    /// Gives a process another setting, from its next start on. Only who has started the cluster can do it.
    pub fn set(&mut self, name: &str, setting: &str, value: &str) -> Result<()> {
        let keeper = self.keeper.as_mut().context("somebody else has started this cluster")?;
        keeper.set(name, setting, value)
    }

    /// Asks a process to stop, as an orchestrator does: with SIGTERM, Postgres with SIGINT, which does not wait for its
    /// clients.
    pub fn terminate(&self, name: &str) -> Result<()> {
        let process = self.process(name)?;
        process.signal(process.polite())
    }

    pub(crate) fn seeded(&self) -> Option<&Seeded> {
        self.seeded.as_ref()
    }

    /// The processes that have ended by themselves since the start, and how.
    pub(crate) fn ended(&mut self) -> Vec<(Process, String)> {
        self.keeper.as_mut().map(Keeper::ended).unwrap_or_default()
    }

    /// Lets the cluster run on after this process.
    pub fn let_go(mut self) {
        if let Some(keeper) = self.keeper.take() {
            keeper.let_go();
        }
    }
}

/// Two launchers must not start in one folder at once. The lock ends with the returned file.
fn lock(home: &Home) -> Result<std::fs::File> {
    let path = home.file("lock");
    let file = std::fs::File::create(&path);
    let file = file.with_context(|| format!("cannot write {}", shown(&path)))?;
    if file.try_lock().is_err() {
        bail!("another launcher is starting a cluster in {}", shown(home.root()));
    }
    Ok(file)
}

fn refuse_second(home: &Home) -> Result<()> {
    let Some(run) = Run::of(home)? else { return Ok(()) };
    if run.something_lives() {
        bail!(
            "a cluster is up already: see `cargo parley status`, stop it with `cargo parley down`"
        );
    }
    // Left by a machine that went down: nothing to stop, perhaps a folder to remove.
    crate::process::stop_noted(home).map(|_| ())
}

/// A cluster that is being started; what runs already is stopped when a step fails.
struct Starting<'a> {
    options: &'a Options,
    programs: Programs,
    binaries: PathBuf,
    layout: Layout,
    secrets: Secrets,
    security: Option<Security>,
    settings: Settings,
    keeper: Keeper,
}

impl<'a> Starting<'a> {
    /// Everything that can go wrong before the first process.
    fn prepare(home: &Home, options: &'a Options, interrupt: &Interrupt) -> Result<Self> {
        let (layout, ports) = Layout::choose(home, options)?;
        let programs = tools::programs(home, options.system, interrupt)?;
        let binaries = match &options.binaries {
            Some(folder) => services::given(folder)?,
            None => services::binaries(interrupt)?,
        };
        let mut secrets = Secrets::of(home)?;
        if let Some((_, secret)) =
            options.settings.iter().rfind(|(name, _)| name == "PARLEY_JWT_SECRET")
        {
            secrets.jwt.clone_from(secret);
        }
        let security = options.secure.then(|| Security::make(home, interrupt)).transpose()?;
        let keeper = Keeper::new(home, ports, interrupt)?;
        let mut start = Self {
            options,
            programs,
            binaries,
            settings: Settings {
                database_url: String::new(),
                nats_url: layout.nats.urls(),
                redis_url: layout.redis.url(),
                jwt_secret: secrets.jwt.clone(),
                link_secret: secrets.link.clone(),
                peer_secret: secrets.peer.clone(),
                files: files(home, options.ephemeral),
                workers: pods::workers(options.api + options.gateways),
                security: security.clone(),
                extra: options.settings.clone(),
            },
            layout,
            secrets,
            security,
            keeper,
        };
        start.settings.database_url = start.postgres().url();
        pods::check_names(&start.binaries, &start.settings)?;
        for kind in [Kind::Api, Kind::Gateway, Kind::Courier] {
            if let Some(plan) = start.layout.pods.iter().find(|plan| plan.kind == kind) {
                plan.check(&start.binaries, &start.settings)?;
            }
        }
        Ok(start)
    }

    fn postgres(&self) -> Postgres {
        let programs = match &self.security {
            Some(security) => &security.programs.postgres,
            None => &self.programs.postgres,
        };
        Postgres {
            programs: programs.clone(),
            port: self.layout.postgres,
            password: self.secrets.postgres.clone(),
            durability: self.options.durability,
            ephemeral: self.options.ephemeral,
            security: self.security.clone(),
        }
    }

    fn components(&mut self) -> Result<()> {
        let (postgres, Layout { nats, redis, .. }) = (self.postgres(), &self.layout);
        let parts = Components { postgres: &postgres, nats, redis };
        parts.start(&self.programs, self.security.as_ref(), &mut self.keeper)
    }

    fn pods(&mut self) -> Result<()> {
        for plan in &self.layout.pods {
            plan.start(&self.binaries, &self.settings, &mut self.keeper)?;
        }
        for plan in &self.layout.pods {
            plan.wait(&mut self.keeper)?;
        }
        Ok(())
    }

    fn ports_of(&self, kind: Kind) -> Vec<u16> {
        self.layout.pods.iter().filter(|plan| plan.kind == kind).map(|plan| plan.port).collect()
    }

    fn balancer(&mut self) -> Result<()> {
        let demo = self.demo()?;
        let balancer = Balancer {
            program: &self.programs.nginx,
            port: self.layout.balancer,
            api: self.ports_of(Kind::Api),
            gateway: self.ports_of(Kind::Gateway),
            demo: demo.as_ref(),
        };
        balancer.start(&mut self.keeper)
    }

    /// The chat works without its demo, so a missing Node.js is said and no more.
    fn demo(&self) -> Result<Option<Demo>> {
        if !self.options.demo {
            return Ok(None);
        }
        let interrupt = self.keeper.interrupt();
        match Demo::prepare(self.keeper.home(), &self.secrets.jwt, interrupt) {
            Ok(demo) => Ok(Some(demo)),
            Err(error) => {
                interrupt.check()?;
                say::note(format_args!("the demo page is left out: {}", say::one_line(&error)));
                Ok(None)
            }
        }
    }

    fn finish(self) -> Result<Cluster> {
        let description = self.describe()?;
        write_json(&self.keeper.home().cluster_file(), &description)?;
        let seeded = if self.options.demo {
            Some(demo::seed(&description.url, &self.secrets.jwt)?)
        } else {
            None
        };
        let processes = self.keeper.processes().to_vec();
        Ok(Cluster { description, processes, keeper: Some(self.keeper), seeded })
    }

    fn describe(&self) -> Result<Description> {
        let find = |name: &str| {
            let found = self.keeper.processes().iter().find(|process| process.name == name);
            found.with_context(|| format!("{name} was not started"))
        };
        let address = |name| find(name).map(|it| Address { url: it.url.clone(), pid: it.pid });
        let named = |name| {
            find(name).map(|it| Named { name: it.name.clone(), url: it.url.clone(), pid: it.pid })
        };
        let pods = |kind| -> Result<Vec<_>> {
            let plans = self.layout.pods.iter().filter(|plan| plan.kind == kind);
            plans.map(|plan| Ok(plan.described(find(&plan.name)?.pid))).collect()
        };
        let balancer = named("balancer")?;
        Ok(Description {
            url: balancer.url.clone(),
            api: pods(Kind::Api)?,
            gateway: pods(Kind::Gateway)?,
            courier: pods(Kind::Courier)?,
            balancer,
            postgres: address("postgres")?,
            nats: self.layout.nats.names().map(named).collect::<Result<_>>()?,
            redis: address("redis")?,
            jwt: Jwt { algorithm: "HS256".to_owned(), secret: self.secrets.jwt.clone() },
        })
    }
}

/// What pods need.
struct Components<'a> {
    postgres: &'a Postgres,
    nats: &'a Nats,
    redis: &'a Redis,
}

impl Components<'_> {
    fn start(
        &self,
        programs: &Programs,
        security: Option<&Security>,
        keeper: &mut Keeper,
    ) -> Result<()> {
        self.nats.start(programs, security, keeper)?;
        self.redis.start(&programs.redis, security, keeper)?;
        self.postgres.start(keeper)?;
        self.nats.wait(keeper)?;
        self.redis.wait(security, keeper)
    }
}

/// Postgres, NATS and Redis without any pod, for the tests of single crates.
pub(crate) struct Bare {
    pub(crate) database_url: String,
    pub(crate) nats_url: String,
    pub(crate) redis_url: String,
    pub(crate) psql: PathBuf,
    pub(crate) nats_server: PathBuf,
    pub(crate) redis_server: PathBuf,
    keeper: Keeper,
}

impl Bare {
    pub(crate) fn start(home: &Home, interrupt: &Interrupt) -> Result<Self> {
        make_folder(home.root())?;
        let mut ports = Ports::of(home)?;
        let nats = Nats::choose(&mut ports, 1, false)?;
        let redis = Redis { port: ports.free("redis")?, tls: false };
        let port = ports.free("postgres")?;
        let programs = tools::programs(home, false, interrupt)?;
        let secrets = Secrets::of(home)?;
        let postgres = Postgres {
            programs: programs.postgres.clone(),
            port,
            password: secrets.postgres,
            durability: Durability::Forgetful,
            ephemeral: true,
            security: None,
        };
        let mut keeper = Keeper::new(home, ports, interrupt)?;
        let parts = Components { postgres: &postgres, nats: &nats, redis: &redis };
        parts.start(&programs, None, &mut keeper)?;
        Ok(Self {
            database_url: postgres.url(),
            nats_url: nats.urls(),
            redis_url: redis.url(),
            psql: programs.postgres.join("psql"),
            nats_server: programs.nats.clone(),
            redis_server: programs.redis.clone(),
            keeper,
        })
    }

    /// A store of files beside them, and where it is.
    pub(crate) fn start_storage(&mut self, home: &Home, interrupt: &Interrupt) -> Result<String> {
        tools::install(home, Group::Run, interrupt)?;
        tools::install(home, Group::Test, interrupt)?;
        let mut ports = Ports::of(home)?;
        let storage = Storage { port: ports.free("storage")?, secret_key: Secrets::of(home)?.jwt };
        storage.start(&venv_program(home, "rclone"), &mut self.keeper)?;
        storage.wait(&mut self.keeper)?;
        Ok(storage.url())
    }
}
