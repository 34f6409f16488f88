"""The settings that the programs know, as deploy/CONFIGURATION.md lists them; a test of each program compares that list with
the program's own."""

import re
from functools import cache

from chart import ROOT

# What the chart sets by itself: addresses, names, times of a stop, where files are, and credentials.
OF_THE_CHART = {
    "POD", "LISTEN", "ADMIN_LISTEN", "LINGER_SECONDS", "SHUTDOWN_SECONDS", "DRAIN_SECONDS", "PEER_LISTEN", "PEER_ADDRESS",
    "FILES_FOLDER", "S3_BUCKET", "S3_REGION", "S3_ENDPOINT", "S3_PATH_STYLE", "S3_ALLOW_HTTP",
}


@cache
def tables():
    """By program: its variables, each with whether it is a secret."""
    text = (ROOT / "deploy/CONFIGURATION.md").read_text()
    sections = re.findall(r"<!-- settings of ([\w-]+) -->\n(.*?)<!-- /settings of \1 -->", text, re.DOTALL)
    row = re.compile(r"^\| `(PARLEY_\w+)` \|.*?(\(secret\))? \|$", re.MULTILINE)
    return {program: {name: bool(secret) for name, secret in row.findall(section)} for program, section in sections}


def known(workload):
    """The variables of a workload's program."""
    return set(tables()[f"parley-{workload}"])


def free(workload):
    """Names that `settings` of a workload may hold: neither secret nor set by the chart."""
    names = {name.removeprefix("PARLEY_") for name, secret in tables()[f"parley-{workload}"].items() if not secret}
    return sorted(names - OF_THE_CHART)
