"""What of the chart is made from something else: the README's table of values, the names of settings (for the schema and for the
templates), and the alerts and dashboards, which Helm cannot read where they are; and the table of deploy/CAPACITY.md.
`generate.py --write` makes them anew."""

import importlib.util
import json
import sys

import yaml

import settings
from chart import CHART, ROOT

BEGIN, END = "<!-- values -->\n", "<!-- /values -->\n"


def rows(lines, node, path=""):
    """A row for every value with a comment of its own, and for every one below that is no map."""
    for key, value in node.value:
        name = f"{path}{key.value}"
        comment = comment_above(lines, key.start_mark.line)
        nested = isinstance(value, yaml.MappingNode) and value.value and not value.flow_style
        if nested:
            if comment:
                yield name, "", comment
            yield from rows(lines, value, f"{name}.")
        else:
            yield name, default(value, lines), comment


def comment_above(lines, line):
    """`# -- text`, with the lines of comment that follow it."""
    found = []
    for above in reversed(lines[:line]):
        text = above.strip()
        if not text.startswith("#"):
            return ""
        found.insert(0, text.lstrip("# "))
        if text.startswith("# -- "):
            found[0] = text.removeprefix("# -- ")
            return " ".join(found)
    return ""


def default(value, lines):
    """The default in one line of JSON; of a credential, what is not empty."""
    plain = yaml.safe_load(yaml.serialize(value))
    if isinstance(plain, dict) and "remote" in plain:
        plain = {"key": plain["key"]}
    text = json.dumps(plain, ensure_ascii=False)
    return f"`{text}`" if len(text) <= 110 else "see `values.yaml`"


def readme():
    path = CHART / "README.md"
    text = path.read_text()
    values = (CHART / "values.yaml").read_text()
    table = "| value | default | |\n| --- | --- | --- |\n"
    for name, value, comment in rows(values.splitlines(), yaml.compose(values)):
        table += f"| `{name}` | {value} | {comment.replace('|', chr(92) + '|')} |\n"
    before, rest = text.split(BEGIN)
    return {path: before + BEGIN + "\n" + table + "\n" + END + rest.split(END)[1]}


def schema():
    path = CHART / "values.schema.json"
    made = json.loads(path.read_text())
    names = {workload: settings.free(workload) for workload in workloads()}
    common = sorted(set.union(*map(set, names.values())))
    for definition, found in {"common": common, **names}.items():
        made["$defs"][f"{definition}Settings"]["propertyNames"]["enum"] = found
    known = CHART / "files/settings.json"
    return {path: json.dumps(made, indent=2, ensure_ascii=False) + "\n", known: json.dumps(names, indent=1) + "\n"}


def workloads():
    return [program.removeprefix("parley-") for program in settings.tables()]


def copies():
    """Rules of Prometheus, and dashboards; what else lies beside them stays where it is."""
    made = {}
    for file in sorted((ROOT / "deploy/prometheus").glob("*.yaml")):
        if "groups" in (yaml.safe_load(file.read_text()) or {}):
            made[CHART / "files/prometheus" / file.name] = file.read_text()
    for file in sorted((ROOT / "deploy/grafana").glob("*.json")):
        # In one line: nobody reads it there, and Helm keeps it with every release.
        made[CHART / "files/grafana" / file.name] = json.dumps(json.loads(file.read_text()), separators=(",", ":")) + "\n"
    return made


def capacity():
    path = ROOT / "deploy/capacity.py"
    spec = importlib.util.spec_from_file_location("capacity", path)
    calculation = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(calculation)
    return {calculation.PAGE: calculation.page()}


def everything():
    return readme() | schema() | copies() | capacity()


def problems():
    made = everything()
    for path, text in made.items():
        if not path.exists() or path.read_text() != text:
            yield f"{path.relative_to(ROOT)} is not what it is made from: helm/tests/generate.py --write makes it anew"
    for path in (CHART / "files").rglob("*.*"):
        if path.is_file() and path not in made:
            yield f"{path.relative_to(ROOT)} is made from nothing"


def write():
    made = everything()
    for path, text in made.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    for path in (CHART / "files").rglob("*.*"):
        if path.is_file() and path not in made:
            path.unlink()


if __name__ == "__main__":
    if sys.argv[1:] != ["--write"]:
        sys.exit("usage: generate.py --write")
    write()
