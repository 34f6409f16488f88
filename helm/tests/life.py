"""The life of a release on a stand-in for Kubernetes: installed, upgraded, refused, rolled back, tested, removed."""

import itertools
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from chart import CHART, NAMESPACE, RELEASE, Rendering, helm, label, renderings, value_files
from objects import is_hook, name
from schemas import VERSIONS
from stand_in.server import StandIn

# Kubernetes has a limit for a Secret, and Helm keeps the whole release in one.
MOST_OF_A_SECRET = 1_048_576


class Release:
    """The release of one file of values on a stand-in."""

    def __init__(self, server, file, folder):
        self.server = server
        self.config = server.kubeconfig(folder / "kubeconfig")
        self.values = ["--values", str(file)] if file else []
        self.rendering = Rendering("life", file=file)

    def helm(self, *arguments):
        return helm("--kubeconfig", str(self.config), "--namespace", NAMESPACE, *arguments)

    def deploy(self, verb, *more):
        return self.helm(verb, RELEASE, str(CHART), *self.values, "--wait", "--timeout", "60s", *more)

    def kept(self, kind=None):
        """What the stand-in keeps of the release, without Helm's own notes."""
        items = [it for key, it in self.server.store.objects.items() if key[1] != "namespaces"]
        items = [it for it in items if it.get("type") != "helm.sh/release.v1"]
        return [it for it in items if kind in (None, it["kind"])]

    def images(self):
        return {it["spec"]["template"]["spec"]["containers"][0]["image"].rpartition(":")[2]
                for it in self.kept("Deployment")}


def install(release):
    outcome = release.deploy("install")
    if outcome.returncode:
        yield outcome.stderr
        return
    wanted = {name(it) for it in release.rendering.objects if not is_hook(it)}
    there = {name(it) for it in release.kept()}
    for missing in wanted - there:
        yield f"{missing} is not there"
    for surplus in there - wanted:
        yield f"{surplus} is there"
    yield from migrated_first(release)
    notes = [it for it in release.server.store.objects.values() if it.get("type") == "helm.sh/release.v1"]
    for note in notes:
        if len(note["data"]["release"]) > MOST_OF_A_SECRET:
            yield f"the release takes {len(note['data']['release'])} bytes of a Secret"


def migrated_first(release):
    """The hook's Job comes before any Deployment."""
    changed = [path.split("/")[6] for command, path in release.server.requests if command in ("POST", "PATCH")
               and path.startswith(("/apis/apps/", "/apis/batch/"))]
    release.server.requests.clear()
    if release.rendering.of_kind("Job") and changed[:1] != ["jobs"]:
        yield f"the migration was not first: {changed}"


def upgrade(release):
    # An image by its digest has no tag to be another.
    change = ["--set", "image.tag=9.9.9,image.digest="]
    outcome = release.deploy("upgrade", *change)
    if outcome.returncode:
        yield outcome.stderr
    if release.images() != {"9.9.9"}:
        yield f"the pods have {release.images()}"
    yield from migrated_first(release)


def refused(release):
    """A field that Kubernetes does not have fails the upgrade."""
    outcome = release.deploy("upgrade", "--set", "api.pods.extraVolumes[0].name=a,api.pods.extraVolumes[0].bogus=b")
    if outcome.returncode == 0 or "bogus" not in outcome.stderr:
        yield f"not refused, or not for its reason: {outcome.stderr}"


def rollback(release):
    outcome = release.helm("rollback", RELEASE, "1", "--wait", "--timeout", "60s")
    if outcome.returncode:
        yield outcome.stderr
    if "9.9.9" in release.images() or len(release.kept("Deployment")) != len(release.rendering.of_kind("Deployment")):
        yield f"the pods have {release.images()}"


def test(release):
    outcome = release.helm("test", RELEASE, "--timeout", "60s")
    if outcome.returncode or "Succeeded" not in outcome.stdout:
        yield outcome.stderr or outcome.stdout


def uninstall(release):
    outcome = release.helm("uninstall", RELEASE, "--wait", "--timeout", "60s")
    if outcome.returncode:
        yield outcome.stderr
    # The pod of `helm test` stays for its log.
    for left in release.kept():
        if left["kind"] != "Pod":
            yield f"{name(left)} is left"


STEPS = (install, upgrade, refused, rollback, test, uninstall)


def live(file, kubernetes):
    """All steps with one file of values; what each has found."""
    with StandIn(kubernetes) as server, tempfile.TemporaryDirectory() as folder:
        release = Release(server, file, Path(folder))
        return [(step.__name__, list(step(release))) for step in STEPS]


def other_helm():
    """Helm 3 renders the same objects as Helm 4."""
    for newer, older in zip(renderings(), renderings("helm3")):
        different = sorted(map(repr, newer.objects)) != sorted(map(repr, older.objects))
        if newer.error or older.error or different:
            yield f"{newer.name}: {newer.error or older.error or 'other objects'}"


def run(report):
    """Every file of values, on the oldest and the newest Kubernetes in turn; Helm waits more than it works, so some at once."""
    report.check(other_helm.__doc__, other_helm())
    with ThreadPoolExecutor(4) as pool:
        lives = [(file, version, pool.submit(live, file, version))
                 for file, version in zip(value_files(), itertools.cycle((VERSIONS[0], VERSIONS[-1])))]
    for file, version, steps in lives:
        for step, problems in steps.result():
            report.check(f"{step}, {label(file)}, Kubernetes {version}", problems)
