//! The list of steps.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;

use super::bench::Bench;
use super::counting::{self, Tally};
use super::{Arguments, browser, chart, clients, dashboards};
use crate::cluster::{Bare, Cluster, Options};
use crate::commands::load;
use crate::commands::sqlx::is_fresh;
use crate::debian::{observers, unpack};
use crate::home::{Home, workspace};
use crate::services;
use crate::state::Description;
use crate::tools::{Group, install, venv_program};

/// Runs them all.
pub(super) fn run(bench: &mut Bench<'_>, arguments: &Arguments) {
    checks(bench);
    shipping(bench, arguments);
    crates(bench, arguments);
    let binaries = system(bench, arguments);
    if arguments.full {
        if let Some(binaries) = &binaries {
            secured(bench, binaries);
        }
        repetitions(bench);
        histories(bench);
    }
}

fn cargo(arguments: &str) -> Command {
    let mut command = services::cargo();
    command.args(arguments.split(' ')).current_dir(workspace());
    // The launcher's own folder is none of the tests' business.
    command.env_remove("PARLEY_HOME");
    command
}

fn checks(bench: &mut Bench<'_>) {
    bench.step("rustfmt", |bench| bench.check(&mut cargo("fmt --all --check")));
    bench.step("clippy", |bench| {
        bench.check(&mut cargo("clippy --workspace --all-targets -- -D warnings"))
    });
    bench.step("cargo-deny: bans, licences, sources", |bench| {
        install(bench.home, Group::Run, bench.interrupt)?;
        install(bench.home, Group::Test, bench.interrupt)?;
        let mut deny = Command::new(venv_program(bench.home, "cargo-deny"));
        deny.args(["check", "-A", "unused-wrapper", "bans", "licenses", "sources"]);
        bench.check(deny.current_dir(workspace()))
    });
    bench.step("migrations: squawk", |bench| {
        let mut squawk = Command::new(venv_program(bench.home, "squawk"));
        // Those that are released are left out by .squawk.toml.
        squawk.args(["--no-error-on-unmatched-pattern", "migrations/*.sql"]);
        bench.check(squawk.current_dir(workspace()))
    });
    bench.step("migrations: what is released is as it was", |bench| {
        let mut sums = Command::new("sha256sum");
        sums.args(["--check", "--quiet", "--strict", "released.sha256"]);
        bench.check(sums.current_dir(workspace().join("migrations")))
    });
    bench.step("alerts: rules, their tests, runbooks", |bench| {
        install(bench.home, Group::Test, bench.interrupt)?;
        let programs = observers(bench.home, bench.interrupt)?;
        let mut check = Command::new(venv_program(bench.home, "python"));
        check.args(["-B", "-u"]).arg(workspace().join("deploy/prometheus/check.py"));
        bench.tests(check.arg(programs.promtool).arg(programs.amtool), counting::python)
    });
    bench.step("dashboards, as Grafana reads them", |bench| dashboards::check(bench));
}

/// The chart and the image: what cannot be run here is at least rendered, checked and played.
fn shipping(bench: &mut Bench<'_>, arguments: &Arguments) {
    bench.step("the chart, the image, compose", |bench| chart::run(bench, "quick"));
    if arguments.full {
        bench.step("a release on a stand-in for Kubernetes", |bench| chart::run(bench, "life"));
        bench.step("checkov", chart::audit);
    }
}

/// Every crate by itself, with real components where it wants them.
fn crates(bench: &mut Bench<'_>, arguments: &Arguments) {
    let own = bench.home.beside(bench.folder.join("components"));
    let bare = bench.obtain("start Postgres, NATS, Redis, S3", |bench| {
        let mut bare = Bare::start(&own, bench.interrupt)?;
        let storage = bare.start_storage(&own, bench.interrupt)?;
        let pgbouncer = unpack(&own, "pgbouncer", &["pgbouncer"], bench.interrupt)?;
        Ok(((bare, storage, pgbouncer), Tally::PASSED))
    });
    if let Some((bare, storage, pgbouncer)) = &bare {
        bench.step("tests of the crates", |bench| {
            let mut tests = cargo("test --workspace --exclude parley-local --no-fail-fast");
            tests.env("PARLEY_TEST_DATABASE_URL", &bare.database_url);
            tests.env("PARLEY_TEST_NATS_URL", &bare.nats_url);
            tests.env("PARLEY_TEST_REDIS_URL", &bare.redis_url);
            tests.env("PARLEY_TEST_S3_URL", storage);
            tests.env("PARLEY_TEST_PSQL", &bare.psql);
            tests.env("PARLEY_TEST_NATS_SERVER", &bare.nats_server);
            tests.env("PARLEY_TEST_REDIS_SERVER", &bare.redis_server);
            tests.env("PARLEY_TEST_PGBOUNCER", pgbouncer.folder());
            bench.tests(&mut tests, counting::cargo)
        });
        bench.step("the queries' descriptions are fresh", |bench| {
            let fresh = is_fresh(&own, bare, bench.interrupt)?;
            Ok(if fresh { Tally::PASSED } else { Tally::FAILED })
        });
    }
    let scripts = if arguments.full { "5000" } else { "1000" };
    bench.step("random scripts, as npm socket.io has them", |bench| {
        clients::differential(bench, scripts)
    });
    bench.step("unit tests of the launcher", |bench| {
        bench.tests(&mut cargo("test -p parley-local --lib"), counting::cargo)
    });
}

/// The whole of it, as clients and operators see it. What was built for it serves later steps, too.
fn system(bench: &mut Bench<'_>, arguments: &Arguments) -> Option<PathBuf> {
    let home = bench.home.beside(bench.folder.join("cluster"));
    let cluster = bench.obtain("build and start a cluster", |bench| {
        let binaries = services::build(bench.interrupt)?;
        let options = Options { demo: true, couriers: 1, ..Options::for_tests() };
        let cluster = Cluster::start(&home, &options, bench.interrupt)?;
        Ok(((cluster, binaries), Tally::PASSED))
    });
    let (mut cluster, binaries) = cluster?;
    let file = home.cluster_file();
    system_tests(bench, arguments, &file, &binaries);
    image(bench, arguments, &file, &binaries);
    client_tests(bench, arguments, &file);
    package_tests(bench, &file, &mut cluster);
    // Last: it ends users, and revokes tokens.
    bench.step("Schemathesis", |bench| clients::schemathesis(bench, &file));
    drop(cluster);
    Some(binaries)
}

/// The tests that take a cluster as it is, on one whose every part wants TLS, certificates and passwords, and whose NATS is
/// three servers.
fn secured(bench: &mut Bench<'_>, binaries: &Path) {
    let home = bench.home.beside(bench.folder.join("secured"));
    let cluster = bench.obtain("start a cluster with TLS and credentials", |bench| {
        let binaries = Some(binaries.to_owned());
        let options =
            Options { nats: 3, couriers: 1, secure: true, binaries, ..Options::for_tests() };
        Ok((Cluster::start(&home, &options, bench.interrupt)?, Tally::PASSED))
    });
    let Some(cluster) = cluster else { return };
    let file = home.cluster_file();
    bench.step("system tests, with TLS and credentials", |bench| {
        let tests = "test --release -p parley-local --test system -- messages::";
        let mut tests = cargo(tests);
        tests.env("PARLEY_CLUSTER", &file).env("PARLEY_BIN_DIR", binaries);
        tests.env("PARLEY_TEST_FOLDER", &bench.folder).env("PARLEY_TOOLS", bench.home.tools());
        bench.tests(&mut tests, counting::cargo)
    });
    bench.step("JavaScript clients, with TLS and credentials", |bench| {
        let folder = clients::prepare(bench)?;
        clients::javascript(bench, &folder, &file)
    });
    bench.step("Python client, with TLS and credentials", |bench| clients::python(bench, &file));
    drop(cluster);
}

fn system_tests(bench: &mut Bench<'_>, arguments: &Arguments, file: &Path, binaries: &Path) {
    const OTHER_USER: &str = "unprivileged";
    const ALERTS: &str = "alerts::";
    let why = match (arguments.no_root, rustix::process::getuid().is_root()) {
        (true, _) => Some("--no-root"),
        (false, false) => Some("only root can become another user; this user is none already"),
        (false, true) => None,
    };
    if let Some(why) = why {
        bench.leave_out("a cluster of an unprivileged user", why);
    }
    let system_tests = |bench: &Bench<'_>, more: &[&str]| {
        let mut tests = cargo("test --release -p parley-local --test system --no-fail-fast --");
        tests.args(more);
        if why.is_some() {
            tests.args(["--skip", OTHER_USER]);
        }
        let home: &Home = bench.home;
        tests.env("PARLEY_CLUSTER", file).env("PARLEY_BIN_DIR", binaries);
        tests.env("PARLEY_TEST_FOLDER", &bench.folder).env("PARLEY_TOOLS", home.tools());
        bench.tests(&mut tests, counting::cargo)
    };
    bench.step("system tests", |bench| system_tests(bench, &[]));
    if arguments.full {
        // By themselves: they wait more than they work, and want their answers on time.
        bench.step("system tests that take minutes", |bench| {
            system_tests(bench, &["--ignored", "--skip", ALERTS])
        });
        bench.step("every alert by a real fault", |bench| {
            system_tests(bench, &["--ignored", "--nocapture", ALERTS])
        });
    }
}

/// What the image holds is enough for the services.
fn image(bench: &mut Bench<'_>, arguments: &Arguments, file: &Path, binaries: &Path) {
    const STEP: &str = "the services in the image's root";
    if arguments.no_root || !rustix::process::getuid().is_root() {
        bench.leave_out(STEP, "only root can mount");
    } else if cfg!(not(target_os = "linux")) {
        bench.leave_out(STEP, "the image is for Linux");
    } else {
        bench.step(STEP, |bench| chart::image(bench, file, binaries));
    }
}

fn client_tests(bench: &mut Bench<'_>, arguments: &Arguments, file: &Path) {
    let folder = bench.obtain("prepare the JavaScript tests", |bench| {
        Ok((clients::prepare(bench)?, Tally::PASSED))
    });
    if let Some(folder) = &folder {
        bench.step("JavaScript clients", |bench| clients::javascript(bench, folder, file));
    }
    bench.step("Python client", |bench| clients::python(bench, file));
    if arguments.no_root && browser::installed().is_none() {
        bench.leave_out("the demo in a browser", "--no-root, and there is no chromium");
    } else if let Some(folder) = &folder {
        bench.step("the demo in a browser", |bench| {
            let chromium = browser::find_or_install(bench)?;
            clients::browser(bench, folder, file, &chromium)
        });
    }
    bench.step("k6: everything works at all, and shows in every panel", |bench| {
        let running = Description::read(file)?;
        let outcomes = load::smoke(bench.home, &bench.folder, &running, bench.interrupt)?;
        let mut tally = Tally::default();
        for good in outcomes {
            tally.add(if good { Tally::PASSED } else { Tally::FAILED });
        }
        Ok(tally)
    });
}

/// The TypeScript package: by itself, on the cluster, and while pods of it die.
fn package_tests(bench: &mut Bench<'_>, file: &Path, cluster: &mut Cluster) {
    let folder = bench.obtain("build the TypeScript client", |bench| {
        Ok((clients::build_package(bench)?, Tally::PASSED))
    });
    let Some(folder) = &folder else { return };
    bench.step("TypeScript client", |bench| clients::package(bench, folder));
    bench.step("TypeScript client on the cluster", |bench| {
        clients::package_on_cluster(bench, folder, file)
    });
    bench.step("TypeScript client while pods die", |bench| {
        clients::package_over_restarts(bench, folder, file, cluster)
    });
}

/// Timing has many faces: what depends on it runs many times.
fn repetitions(bench: &mut Bench<'_>) {
    bench.step("protocol conformance, 20 times", |bench| -> Result<Tally> {
        let mut total = Tally::default();
        for _ in 0..20 {
            let mut tests = cargo("test --quiet --release -p parley-socketio --test conformance");
            total.add(bench.tests(&mut tests, counting::cargo)?);
            if total.failed > 0 {
                break;
            }
        }
        Ok(total)
    });
}

/// Histories of clients, and whether they may be so.
fn histories(bench: &mut Bench<'_>) {
    let mut judged = |name: &str, arguments: &str| {
        bench.step(name, |bench| {
            let mut program = Command::new(services::build_loadtest(bench.interrupt)?);
            program.args(arguments.split(' '));
            program.env("PARLEY_HOME", &bench.folder).env("PARLEY_TOOLS", bench.home.tools());
            bench.check(&mut program)
        });
    };
    judged("planted faults are found", "bench planted --rounds 1");
    judged("three minutes of chaos", "chaos --minutes 3");
    judged("the removed, the revoked, the expired", "bench removal --trials 20");
    judged("both gateways restarted", "bench rolling --chats 10");
    judged("three NATS servers, of which each and then all die", "bench nats-cluster --chats 10");
    judged("an upgrade and the way back", "bench upgrade --chats 10");
}
