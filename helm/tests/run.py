"""The tests of the chart, the image and compose: `run.py quick`, `life` and `audit` for what takes longer, `image` for what needs the
built programs, a cluster and root."""

import sys

import assertions
import audit
import generate
import images
import life
import network
import refusals
import schemas
from chart import CHART, helm, label, renderings, value_files
from report import Report

# Kinds that some switch brings; each is in at least one of the files of values, which anybody may look at.
OPTIONAL = {
    "ConfigMap", "ExternalSecret", "HTTPRoute", "HorizontalPodAutoscaler", "Ingress", "Job", "NetworkPolicy",
    "PodDisruptionBudget", "PrometheusRule", "Secret", "ServiceMonitor", "StatefulSet",
}


def lint(file):
    arguments = ["lint", "--strict", str(CHART), *(["--values", str(file)] if file else [])]
    outcome = helm(*arguments)
    if outcome.returncode:
        yield outcome.stdout + outcome.stderr


def optional_kinds(rendered):
    found = {item["kind"] for rendering in rendered for item in rendering.objects}
    for kind in sorted(OPTIONAL - found):
        yield f"no file of values has a {kind}"
    for file in CHART.rglob("templates/**/*"):
        if file.is_file() and ".Capabilities" in file.read_text():
            yield f"{file.name} asks for .Capabilities: what it renders depends on the cluster"


def quick(report):
    report.check("generated files are fresh", generate.problems())
    for file in value_files():
        report.check(f"helm lint --strict, {label(file)}", lint(file))
    found = renderings()
    report.check(f"{len(found)} sets of values render", (f"{it.name}: {it.error}" for it in found if it.error))
    found = [it for it in found if not it.error]
    report.check("each optional kind is on somewhere", optional_kinds(found[:len(value_files())]))
    for assertion in assertions.EVERYWHERE:
        problems = (f"{it.name}: {problem}" for it in found for problem in assertion(it))
        report.check(assertion.__doc__.split("\n")[0], problems)
    by_name = {it.name: it for it in found}
    networks = (by_name[it] for it in ("ci/trial.yaml", "values-small.yaml", "values-large.yaml"))
    report.check("NetworkPolicies let through what is needed, and nothing else", network.problems(*networks))
    objects = [item for rendering in found for item in rendering.objects]
    report.check("Kubernetes 1.28 to 1.37 take every object", schemas.problems_in_all_versions(objects))
    report.check("nonsense is refused", refusals.problems())
    images.quick(report)


PARTS = {"quick": quick, "audit": audit.run, "life": life.run, "image": images.binaries}

if __name__ == "__main__":
    if len(sys.argv) != 2 or sys.argv[1] not in PARTS:
        sys.exit(f"usage: run.py {'|'.join(PARTS)}")
    summary = Report()
    PARTS[sys.argv[1]](summary)
    sys.exit(summary.end())
