"""What a client asks before it does anything: which kinds there are, and whether the server checks fields."""

from .kinds import KINDS, VERSIONS

GROUPS = [it for it in VERSIONS if "/" in it]


def answer(path, kubernetes):
    """The answer to a question of discovery; None if it is none."""
    if path == "/version":
        major, minor, _ = kubernetes.split(".")
        return {"major": major, "minor": minor, "gitVersion": f"v{kubernetes}", "platform": "linux/amd64"}
    if path in ("/livez", "/readyz"):
        return {}
    if path == "/api":
        return {"kind": "APIVersions", "versions": ["v1"]}
    if path == "/apis":
        return {"kind": "APIGroupList", "apiVersion": "v1", "groups": [group(it) for it in GROUPS]}
    if path == "/openapi/v3":
        return {"paths": {prefix(it)[1:]: {"serverRelativeURL": f"/openapi/v3{prefix(it)}?hash=1"} for it in VERSIONS}}
    for version in VERSIONS:
        if path == prefix(version):
            resources = [it.resource() for it in KINDS if it.version == version]
            return {"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": version, "resources": resources}
        if path == f"/openapi/v3{prefix(version)}":
            return document(version, kubernetes)
    return None


def prefix(version):
    return f"/apis/{version}" if "/" in version else f"/api/{version}"


def group(version):
    name, number = version.split("/")
    found = {"groupVersion": version, "version": number}
    return {"name": name, "versions": [found], "preferredVersion": found}


def document(version, kubernetes):
    """As much of OpenAPI as tells Helm that a PATCH takes `fieldValidation`."""
    parameters = [{"name": it, "in": "query", "schema": {"type": "string"}}
                  for it in ("dryRun", "fieldManager", "fieldValidation", "force")]
    paths = {}
    for kind in (it for it in KINDS if it.version == version):
        group, _, number = version.rpartition("/")
        paths[f"{kind.base}/{{name}}"] = {"patch": {
            "parameters": parameters,
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-group-version-kind": {"group": group, "version": number, "kind": kind.kind},
        }}
    return {"openapi": "3.0.0", "info": {"title": "Kubernetes", "version": f"v{kubernetes}"}, "paths": paths,
            "components": {"schemas": {}}}
