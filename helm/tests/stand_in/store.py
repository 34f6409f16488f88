"""The objects that the stand-in keeps."""

import copy
import re
import threading
import uuid
from datetime import datetime, timezone

import schemas


class Refused(Exception):
    """An answer that is none: a status, its reason, and words."""

    def __init__(self, code, reason, message):
        super().__init__(message)
        self.code, self.reason, self.message = code, reason, message

    def status(self):
        return {"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": self.reason, "message": self.message,
                "code": self.code}


class Store:
    """Objects by kind, namespace and name, and what became of them. One request at a time."""

    def __init__(self, kubernetes, namespaces=("default", "kube-system", "chat")):
        self.kubernetes = kubernetes
        self.objects = {}
        self.revision = 0
        # Every change with its revision, for watches; a release makes some hundred.
        self.changes = []
        self.changed = threading.Condition()
        for name in namespaces:
            key = ("v1", "namespaces", None, name)
            self.objects[key] = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}, "status": {"phase": "Active"}}

    def get(self, kind, namespace, name):
        found = self.objects.get((kind.version, kind.plural, namespace, name))
        if found is None:
            raise Refused(404, "NotFound", f'{kind.plural} "{name}" not found')
        return found

    def list(self, kind, namespace, labels="", fields=""):
        found = [item for (version, plural, where, _), item in self.objects.items()
                 if (version, plural) == (kind.version, kind.plural) and namespace in (None, where)]
        return self.chosen(found, labels, fields)

    def chosen(self, found, labels, fields):
        """Of these objects, those that selectors mean."""
        for requirement in re.findall(r"[^,(]+(?:\([^)]*\))?", labels):
            found = [it for it in found if meets(it["metadata"].get("labels") or {}, requirement.strip())]
        for requirement in filter(None, fields.split(",")):
            path, value = requirement.split("=", 1)
            if path != "metadata.name":
                raise Refused(400, "BadRequest", f"no selection by {path}")
            found = [it for it in found if it["metadata"]["name"] == value.lstrip("=")]
        return found

    def create(self, kind, namespace, body, dry):
        name = body["metadata"]["name"]
        if (kind.version, kind.plural, namespace, name) in self.objects:
            raise Refused(409, "AlreadyExists", f'{kind.plural} "{name}" already exists')
        return self.put(kind, namespace, name, body, dry)

    def patch(self, kind, namespace, name, change, apply, dry):
        """Server-side apply makes what is not there; other patches want it to be."""
        key = (kind.version, kind.plural, namespace, name)
        if not apply and key not in self.objects:
            raise Refused(404, "NotFound", f'{kind.plural} "{name}" not found')
        return self.put(kind, namespace, name, merged(copy.deepcopy(self.objects.get(key, {})), change), dry)

    def put(self, kind, namespace, name, item, dry):
        """Checks an object and keeps it, with what a cluster would say of it."""
        item.setdefault("apiVersion", kind.version)
        item.setdefault("kind", kind.kind)
        without_status = {key: value for key, value in item.items() if key != "status"}
        for problem in schemas.problems(without_status, self.kubernetes):
            raise Refused(422, "Invalid", f"{kind.kind} is invalid: {problem}")
        if namespace is not None and ("v1", "namespaces", None, namespace) not in self.objects:
            raise Refused(404, "NotFound", f'namespaces "{namespace}" not found')
        self.revision += 1
        metadata = item["metadata"]
        metadata.setdefault("uid", str(uuid.uuid4()))
        metadata.setdefault("creationTimestamp", datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ"))
        metadata["resourceVersion"] = str(self.revision)
        metadata["generation"] = metadata.get("generation", 0) + 1
        if namespace is not None:
            metadata["namespace"] = namespace
        said = status(item)
        if said is not None:
            item["status"] = said
        if not dry:
            key = (kind.version, kind.plural, namespace, name)
            self._note("MODIFIED" if key in self.objects else "ADDED", key, item)
            self.objects[key] = item
        return item

    def _note(self, what, key, item):
        self.changes.append((int(item["metadata"]["resourceVersion"]), what, key, copy.deepcopy(item)))
        self.changed.notify_all()

    def delete(self, kind, namespace, name, dry):
        found = self.get(kind, namespace, name)
        if not dry:
            key = (kind.version, kind.plural, namespace, name)
            self.revision += 1
            found["metadata"]["resourceVersion"] = str(self.revision)
            self._note("DELETED", key, self.objects.pop(key))
        return found

    def since(self, revision, kind, namespace, labels, fields):
        """Changes of objects that a watch is about, after a revision."""
        for number, what, (version, plural, where, _), item in self.changes:
            about = (version, plural) == (kind.version, kind.plural) and namespace in (None, where)
            if about and number > revision and self.chosen([item], labels, fields):
                yield number, what, item


def meets(labels, requirement):
    """One requirement of a label selector."""
    if " in " in requirement:
        key, values = requirement.split(" in ")
        return labels.get(key.strip()) in [it.strip() for it in values.strip(" ()").split(",")]
    for sign, equal in (("!=", False), ("==", True), ("=", True)):
        if sign in requirement:
            key, value = requirement.split(sign)
            return (labels.get(key) == value) == equal
    raise Refused(400, "BadRequest", f"a selector that is not understood: {requirement}")


def merged(below, change):
    """A merge patch: maps by key, `null` takes away, everything else whole."""
    for key, value in change.items():
        if value is None:
            below.pop(key, None)
        elif isinstance(value, dict) and isinstance(below.get(key), dict):
            merged(below[key], value)
        else:
            below[key] = value
    return below


def status(item):
    """What controllers would say once all has gone well."""
    kind, generation = item["kind"], item["metadata"]["generation"]
    if kind in ("Deployment", "StatefulSet"):
        replicas = item["spec"].get("replicas", 1)
        counts = {key: replicas for key in (
            "replicas", "readyReplicas", "availableReplicas", "updatedReplicas", "currentReplicas")}
        conditions = [{"type": "Available", "status": "True"},
                      {"type": "Progressing", "status": "True", "reason": "NewReplicaSetAvailable"}]
        return {**counts, "observedGeneration": generation, "conditions": conditions}
    if kind == "Job":
        return {"succeeded": 1, "conditions": [{"type": "Complete", "status": "True"}]}
    if kind == "Pod":
        return {"phase": "Succeeded", "conditions": [{"type": "Ready", "status": "True"}]}
    if kind == "HorizontalPodAutoscaler":
        return {"observedGeneration": generation, "conditions": [{"type": "AbleToScale", "status": "True"}]}
    if kind == "PodDisruptionBudget":
        return {"observedGeneration": generation}
    return None
