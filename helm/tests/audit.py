"""checkov, with all that it can check of Kubernetes objects and of a Dockerfile, and what is waived, with why."""

import json
import os
import subprocess
import tempfile
from pathlib import Path

import yaml

from chart import Rendering, label, value_files
from images import DOCKERFILE

# By check: the objects that it is waived for (a part of their name; all if empty), and the reason.
WAIVED = {
    "CKV_K8S_11": ("", "a CPU limit stops a pod in the middle of a commit or a delivery; threads are as many as CPUs are requested"),
    "CKV_K8S_15": ("", "tags are versions, so a node that has an image need not ask again, and starts when the registry is away"),
    "CKV_K8S_35": ("", "the programs read credentials from their environment, which nobody but themselves can read"),
    "CKV_K8S_43": ("", "the image is the operator's own build: `image.digest` takes its digest"),
    "CKV_K8S_8": (("-migrate", "-test"), "what ends by itself is not restarted"),
    "CKV_K8S_9": (("-migrate", "-test"), "what ends by itself serves nobody"),
    "CKV_DOCKER_2": ("", "Kubernetes has its own probes, and the image no program to ask with"),
}


def failed_checks(*arguments):
    """What checkov finds wrong: the check, the object, what it says."""
    command = [os.environ["CHECKOV"], *arguments, "--compact", "--quiet", "--skip-download", "--output", "json"]
    outcome = subprocess.run(command, capture_output=True, text=True)
    results = json.loads(outcome.stdout or "{}")
    if "results" not in results:
        raise SystemExit(f"checkov: {outcome.stdout} {outcome.stderr}")
    if not results["summary"]["passed"]:
        raise SystemExit("checkov has checked nothing")
    return [(it["check_id"], it["resource"], it["check_name"]) for it in results["results"]["failed_checks"]]


def waived(check, resource):
    """Whether a finding is one that we have decided to live with."""
    if check not in WAIVED:
        return False
    names, _ = WAIVED[check]
    return not names or any(name in resource for name in names)


def run(report):
    found = failed_checks("--file", str(DOCKERFILE), "--framework", "dockerfile")
    with tempfile.TemporaryDirectory() as folder:
        for file in value_files():
            rendering = Rendering("audit", file=file)
            (Path(folder) / label(file).replace("/", "-")).write_text(yaml.safe_dump_all(rendering.objects))
        found += failed_checks("--directory", folder, "--framework", "kubernetes")
    report.check("checkov", (f"{check} {resource}: {name}" for check, resource, name in found if not waived(check, resource)))
    unused = WAIVED.keys() - {check for check, resource, _ in found if waived(check, resource)}
    report.check("nothing is waived that nobody finds", sorted(unused))
