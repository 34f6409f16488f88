"""Reading rendered objects."""

WORKLOADS = ("Deployment", "StatefulSet", "Job", "Pod")


def name(item):
    return f"{item['kind']} {item['metadata']['name']}"


def component(item):
    return item["metadata"]["labels"]["app.kubernetes.io/component"]


def template(item):
    """The pods of a workload: their labels and spec."""
    return item if item["kind"] == "Pod" else item["spec"]["template"]


def labels(item):
    """Labels that the pods of a workload have."""
    return template(item)["metadata"].get("labels", {})


def pod(item):
    return template(item)["spec"]


def containers(item):
    return pod(item)["containers"] + pod(item).get("initContainers", [])


def environment(container):
    return {it["name"]: it for it in container.get("env", [])}


def selects(selector, found):
    """Whether labels are chosen by a selector with nothing but matchLabels."""
    return all(found.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def ports(item):
    """Ports of a workload's pods by name."""
    return {it["name"]: it["containerPort"] for container in pod(item)["containers"] for it in container.get("ports", [])}


def is_hook(item):
    return "helm.sh/hook" in item["metadata"].get("annotations", {})
