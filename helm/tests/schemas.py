"""What Kubernetes itself would say to an object: the schemas of its versions, and ours of the kinds that operators add."""

import json
from functools import cache
from importlib.metadata import files
from pathlib import Path

import jsonschema_rs

VERSIONS = [f"1.{minor}.0" for minor in range(28, 38)]
KINDS = Path(__file__).parent / "kinds"


@cache
def folder():
    """Where the package has its schemas; only they are used of it."""
    found = next(it for it in files("kubernetes-validate") if it.name == "_definitions.json")
    return Path(found.locate()).parents[1]


@cache
def definitions(version):
    return json.loads((folder() / f"v{version}-local-strict/_definitions.json").read_text())


@cache
def validator(version, api_version, kind):
    """A schema in its strict form: a field that there is not is an error. None if the kind is not there."""
    own = KINDS / f"{kind}.json"
    if own.exists():
        schema = json.loads(own.read_text())
        return jsonschema_rs.validator_for(schema) if schema["properties"]["apiVersion"]["const"] == api_version else None
    group, _, number = api_version.rpartition("/")
    name = "-".join(filter(None, [kind.lower(), group.split(".")[0], number]))
    file = folder() / f"v{version}-local-strict/{name}.json"
    if not file.exists():
        return None
    retrieve = lambda _uri: definitions(version)
    return jsonschema_rs.validator_for(json.loads(file.read_text()), retriever=retrieve, base_uri="json-schema:///schemas/kind.json")


def problems(item, version):
    """Why this version would refuse the object."""
    name = f"{item.get('kind')} {item.get('metadata', {}).get('name')}"
    check = validator(version, item.get("apiVersion", ""), item.get("kind", ""))
    if check is None:
        yield f"{name}: Kubernetes {version} has no {item.get('apiVersion')} {item.get('kind')}"
        return
    for error in check.iter_errors(item):
        yield f"{name}, Kubernetes {version}: {'.'.join(map(str, error.instance_path))}: {error.message}"


def problems_in_all_versions(objects):
    """The same of many objects in all versions; equal ones are looked at once."""
    unique = {json.dumps(it, sort_keys=True): it for it in objects}
    for version in VERSIONS:
        for item in unique.values():
            yield from problems(item, version)
