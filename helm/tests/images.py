"""The image and compose: what can be said of them where there is no Docker."""

import json
import os
import re
import subprocess
import sys
from importlib.metadata import files
from pathlib import Path

import jsonschema_rs
import yaml

import generate
import programs
import root
import settings
from chart import CHART, ROOT

COMPOSE = ROOT / "deploy/compose/compose.yaml"
DOCKERFILE = ROOT / "deploy/docker/Dockerfile"
# `${NAME:?why}`: whoever starts it says it.
GIVEN = re.compile(r"\$\{(\w+):\?[^}]*\}")


def dockerfile():
    """hadolint has nothing to say."""
    program = Path(sys.executable).parent / "hadolint"
    outcome = subprocess.run([program, "--no-color", DOCKERFILE], capture_output=True, text=True)
    if outcome.returncode:
        yield outcome.stdout + outcome.stderr
    toolchain = re.search(r'channel = "(.*)"', (ROOT / "rust-toolchain.toml").read_text())[1]
    text = DOCKERFILE.read_text()
    if f"FROM rust:{toolchain}-" not in text:
        yield f"the image is not built with the toolchain {toolchain}"
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), re.MULTILINE)[1]
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    for what, found in (("the image's label", re.search(r"ARG VERSION=(.*)", text)[1]), ("the chart's appVersion", chart["appVersion"])):
        if found != version:
            yield f"{what} says version {found}; the crates say {version}"


def compose():
    """The compose file is one, its images have versions, its settings exist, what it mounts is there."""
    content = yaml.safe_load(COMPOSE.read_text())
    schema = next(it for it in files("docker-compose") if it.name == "compose_spec.json")
    check = jsonschema_rs.validator_for(json.loads(schema.locate().read_text()))
    for error in check.iter_errors(content):
        yield f"{'.'.join(map(str, error.instance_path))}: {error.message}"
    for name, service in content["services"].items():
        if not re.search(r":v?\d+(\.\d+)+$", service["image"]):
            yield f"{name}: {service['image']} has no version"
        program = service.get("command", [""])[0]
        if program.startswith("parley-"):
            for unknown in service["environment"].keys() - settings.tables()[program].keys():
                yield f"{name}: {program} has no setting {unknown}"
            yield from secrets_in_the_open(name, service, program)
        for volume in service.get("volumes", []):
            source = volume.split(":")[0]
            exists = (COMPOSE.parent / source).exists() if source.startswith(".") else source in content["volumes"]
            if not exists:
                yield f"{name}: {source} is not there"
        for other in service.get("depends_on", []):
            if other not in content["services"]:
                yield f"{name} waits for {other}, which is not there"


def secrets_in_the_open(name, service, program):
    """No password stands in the file: who starts it gives it, or there is none."""
    for variable, secret in settings.tables()[program].items():
        value = service["environment"].get(variable)
        with_password = value and (secret and "://" not in value or re.search(r"://[^@]*:[^@]*@", value))
        if with_password and not GIVEN.search(value):
            yield f"{name}: {variable} stands in the file"


def scrapes():
    """Prometheus measures every pod of the compose file, at the admin port, and has every rule."""
    content = yaml.safe_load((COMPOSE.parent / "prometheus.yaml").read_text())
    targets = {target for job in content["scrape_configs"] for it in job["static_configs"] for target in it["targets"]}
    services = yaml.safe_load(COMPOSE.read_text())["services"]
    pods = {f"{name}:9080" for name, it in services.items() if it.get("command") in (["parley-api"], ["parley-gateway"], ["parley-courier"])}
    for target in sorted(targets ^ pods):
        yield f"{target} is in one of both only"
    rules = {f"/etc/prometheus/rules/{it.name}" for it in generate.copies() if it.parent.name == "prometheus"}
    for file in sorted(rules ^ set(content["rule_files"])):
        yield f"{file} is no rule file, or not read"


def quick(report):
    for check in (dockerfile, compose):
        report.check(check.__doc__.split("\n")[0], check())
    report.check(scrapes.__doc__, scrapes())


def binaries(report):
    """The release's programs with the chart's settings, and in nothing but the image's root."""
    folder = Path(os.environ["PARLEY_BIN_DIR"])
    report.check("the programs take what the chart gives them", programs.checked(folder))
    root.run(report, folder, json.loads(Path(os.environ["PARLEY_CLUSTER"]).read_text()))
