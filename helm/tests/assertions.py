"""What has to be true of the objects of any rendering. Each function yields what is not."""

import re
from collections import Counter

import settings
from objects import (WORKLOADS, component, containers, environment, is_hook, labels, name, pod, ports, selects, template)

# Made by somebody else: by the Prometheus operator, by External Secrets, …
GIVEN_SECRETS = {"parley", "parley-certificates", "bucket", "registry", "chat-tls"}


def names_and_labels(rendering):
    """Every object says whose it is, in names that Kubernetes takes, once."""
    for what, count in Counter(map(name, rendering.objects)).items():
        # A hook's Secret and the Job for which it is there may share a name with nothing of their kind.
        if count > 1:
            yield f"{what} is there {count} times"
    for item in rendering.objects:
        metadata = item["metadata"]
        if metadata.get("namespace") != "chat":
            yield f"{name(item)} has no namespace"
        if not re.fullmatch(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", metadata["name"]):
            yield f"{name(item)}: the name is not one"
        for label in ("name", "instance", "component", "version", "managed-by"):
            if not metadata["labels"].get(f"app.kubernetes.io/{label}"):
                yield f"{name(item)} has no label {label}"
        for key in rendering.values["commonLabels"].keys() - metadata["labels"].keys():
            yield f"{name(item)} lacks the common label {key}"


def selectors(rendering):
    """Whatever chooses pods or Services chooses some, and a workload exactly its own."""
    workloads = rendering.of_kind(*WORKLOADS)
    for item in workloads:
        if "selector" in item["spec"]:
            chosen = [it for it in workloads if selects(item["spec"]["selector"], labels(it))]
            if chosen != [item]:
                yield f"{name(item)} chooses {[name(it) for it in chosen]}"
        for constraint in pod(item).get("topologySpreadConstraints", []):
            if not selects(constraint["labelSelector"], labels(item)):
                yield f"{name(item)}: a spread that counts other pods"
    for item in rendering.of_kind("Service"):
        if not [it for it in workloads if selects({"matchLabels": item["spec"]["selector"]}, labels(it))]:
            yield f"{name(item)} has no pods"
    for item in rendering.of_kind("PodDisruptionBudget"):
        if not [it for it in workloads if selects(item["spec"]["selector"], labels(it))]:
            yield f"{name(item)} protects nobody"
    for item in rendering.of_kind("NetworkPolicy"):
        if not [it for it in workloads if selects(item["spec"]["podSelector"], labels(it))]:
            yield f"{name(item)} is about nobody"
    for item in rendering.of_kind("ServiceMonitor"):
        yield from measured(rendering, item)
    yield from scale_targets(rendering)


def measured(rendering, monitor):
    """Every Deployment is measured once, under the name of its program: the alerts go by that."""
    exists = [it["key"] for it in monitor["spec"]["selector"]["matchExpressions"] if it["operator"] == "Exists"]
    services = [it for it in rendering.of_kind("Service") if selects(monitor["spec"]["selector"], it["metadata"]["labels"])
                and all(key in it["metadata"]["labels"] for key in exists)]
    jobs = Counter(it["metadata"]["labels"].get(monitor["spec"]["jobLabel"]) for it in services)
    wanted = Counter(f"parley-{component(it)}" for it in rendering.of_kind("Deployment"))
    if jobs != wanted:
        yield f"{name(monitor)} measures {dict(jobs)}"
    for service in services:
        if monitor["spec"]["endpoints"][0]["port"] not in {it["name"] for it in service["spec"]["ports"]}:
            yield f"{name(monitor)}: {name(service)} has no such port"


def scale_targets(rendering):
    """Every Deployment has either a number of pods or an autoscaler, and a budget."""
    scaled = {it["spec"]["scaleTargetRef"]["name"] for it in rendering.of_kind("HorizontalPodAutoscaler")}
    deployments = {it["metadata"]["name"]: it for it in rendering.of_kind("Deployment")}
    for missing in scaled - deployments.keys():
        yield f"an autoscaler of {missing}, which is not there"
    for found, item in deployments.items():
        if ("replicas" in item["spec"]) == (found in scaled):
            yield f"{name(item)}: a number of pods, or an autoscaler, but not both"
        if not [it for it in rendering.of_kind("PodDisruptionBudget") if selects(it["spec"]["selector"], labels(item))]:
            yield f"{name(item)} has no PodDisruptionBudget"
        if item["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] != 0:
            yield f"{name(item)} has pods less than wanted in a rollout"


def named_ports(rendering):
    """Ports are named, and every name leads to a port of the pods that are meant."""
    workloads = rendering.of_kind(*WORKLOADS)
    services = {it["metadata"]["name"]: it for it in rendering.of_kind("Service")}
    for item in workloads:
        for container in pod(item)["containers"]:
            if any("name" not in it for it in container.get("ports", [])):
                yield f"{name(item)}: a port without a name"
            for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
                asked = container.get(probe, {})
                port = (asked.get("httpGet") or asked.get("tcpSocket") or {"port": next(iter(ports(item)), None)})["port"]
                if port is not None and port not in ports(item):
                    yield f"{name(item)}: {probe} asks at {port}"
    for item in services.values():
        for port in item["spec"]["ports"]:
            for workload in workloads:
                if selects({"matchLabels": item["spec"]["selector"]}, labels(workload)) and port["targetPort"] not in ports(workload):
                    yield f"{name(item)}: {name(workload)} has no port {port['targetPort']}"
    for item in rendering.of_kind("Ingress", "HTTPRoute"):
        for path, service, port in routes(item):
            offered = services.get(service, {"spec": {"ports": []}})["spec"]["ports"]
            if not any(port in (it["name"], it["port"]) for it in offered):
                yield f"{name(item)}: {path} leads to {service}:{port}, which is not there"
        if {path for path, _, _ in routes(item)} != {"/api", "/socket.io"}:
            yield f"{name(item)} has other paths"


def routes(item):
    """Path, Service and port of an Ingress or an HTTPRoute."""
    for rule in item["spec"]["rules"]:
        if item["kind"] == "Ingress":
            for path in rule["http"]["paths"]:
                service = path["backend"]["service"]
                yield path["path"], service["name"], service["port"]["name"]
        else:
            for backend in rule["backendRefs"]:
                yield rule["matches"][0]["path"]["value"], backend["name"], backend["port"]


def variables(rendering):
    """No variable is set twice, none of ours is one that the program does not know, and none that it cannot do without is missing."""
    needed = {"api": {"DATABASE_URL", "NATS_URL"}, "gateway": {"NATS_URL", "PEER_SECRET", "PEER_ADDRESS"}, "courier": {"DATABASE_URL", "NATS_URL"}}
    for item in rendering.of_kind(*WORKLOADS):
        for container in containers(item):
            twice = [it for it, count in Counter(it["name"] for it in container.get("env", [])).items() if count > 1]
            if twice:
                yield f"{name(item)}: set twice: {twice}"
            if not container.get("command", [""])[0].startswith("/usr/local/bin/parley-"):
                continue
            program = container["command"][0].rpartition("parley-")[2]
            ours = {it for it in environment(container) if it.startswith("PARLEY_")}
            for unknown in ours - settings.known(program):
                yield f"{name(item)}: parley-{program} has no setting {unknown}"
            for missing in {f"PARLEY_{it}" for it in needed.get(container["name"], {"DATABASE_URL"})} - ours:
                yield f"{name(item)}: {missing} is not set"
            if container["name"] not in ("migrate", "courier") and not ours & {"PARLEY_JWT_SECRET", "PARLEY_JWKS_URL", "PARLEY_JWKS_FILE"}:
                yield f"{name(item)} trusts no token"
            if program == "gateway" and "PARLEY_DATABASE_URL" in ours:
                yield f"{name(item)} has the database's password"
            yield from secrets_in_the_open(item, container, program)


def secrets_in_the_open(item, container, program):
    """What the program calls a secret comes from a Secret."""
    for variable, secret in settings.tables()[f"parley-{program}"].items():
        found = environment(container).get(variable, {})
        if secret and "value" in found:
            yield f"{name(item)}: {variable} stands in the pod's spec"


def secrets_and_volumes(rendering):
    """Every Secret that is wanted is made here, with that key, or named in the values; every mount has its volume."""
    made = {}
    for item in rendering.of_kind("Secret", "ExternalSecret"):
        target = item["metadata"]["name"] if item["kind"] == "Secret" else item["spec"]["target"]["name"]
        keys = item.get("stringData", {}).keys() if item["kind"] == "Secret" else {it["secretKey"] for it in item["spec"]["data"]}
        made[target] = (set(keys), is_hook(item))
    for item in rendering.of_kind(*WORKLOADS):
        for container in containers(item):
            for variable in container.get("env", []):
                wanted = variable.get("valueFrom", {}).get("secretKeyRef")
                if not wanted:
                    continue
                keys, hook = made.get(wanted["name"], (None, False))
                if keys is None and wanted["name"] not in GIVEN_SECRETS:
                    yield f"{name(item)}: nobody makes the Secret {wanted['name']}"
                if keys is not None and wanted["key"] not in keys:
                    yield f"{name(item)}: the Secret {wanted['name']} has no {wanted['key']}"
                if keys is not None and item["kind"] == "Job" and not hook:
                    yield f"{name(item)} runs before the Secret {wanted['name']} is there"
            volumes = {it["name"] for it in pod(item).get("volumes", [])}
            volumes |= {it["metadata"]["name"] for it in item["spec"].get("volumeClaimTemplates", [])}
            for mount in container.get("volumeMounts", []):
                if mount["name"] not in volumes:
                    yield f"{name(item)}: no volume {mount['name']}"
        mounted = {it["secret"]["secretName"] for it in pod(item).get("volumes", []) if "secret" in it}
        for missing in mounted - made.keys() - GIVEN_SECRETS:
            yield f"{name(item)}: nobody makes the Secret {missing}"
        account = pod(item).get("serviceAccountName")
        if account and not [it for it in rendering.of_kind("ServiceAccount") if it["metadata"]["name"] == account
                            and is_hook(it) == is_hook(item)]:
            yield f"{name(item)}: no ServiceAccount {account} at its time"


def images(rendering):
    """An image has a tag or a digest, and never `latest`."""
    for item in rendering.of_kind(*WORKLOADS):
        for container in containers(item):
            tag = container["image"].rpartition("/")[2].partition("@" if "@" in container["image"] else ":")[2]
            if not tag or tag == "latest":
                yield f"{name(item)}: {container['image']}"


def restricted(rendering):
    """The restricted Pod Security Standard, and what we ask besides: no token, no service links, resources, a read-only root."""
    for item in rendering.of_kind(*WORKLOADS):
        spec = pod(item)
        security = spec.get("securityContext", {})
        if not (security.get("runAsNonRoot") and security.get("runAsUser", 0) > 0):
            yield f"{name(item)} may be root"
        if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"{name(item)} has no seccomp profile"
        if spec.get("automountServiceAccountToken") is not False:
            yield f"{name(item)} has a token"
        if spec.get("enableServiceLinks") is not False:
            yield f"{name(item)} hears of Services by variables, which look like settings"
        if any(spec.get(it) for it in ("hostNetwork", "hostPID", "hostIPC")):
            yield f"{name(item)} is in the host's namespaces"
        for container in containers(item):
            own = container.get("securityContext", {})
            wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
            if own != wanted:
                yield f"{name(item)}: {container['name']} has {own}"
            resources = container.get("resources", {})
            if not {"cpu", "memory"} <= resources.get("requests", {}).keys() or "memory" not in resources.get("limits", {}):
                yield f"{name(item)}: {container['name']} says not what it needs"
    for item in rendering.of_kind("ServiceAccount"):
        if item.get("automountServiceAccountToken") is not False:
            yield f"{name(item)} gives its token away"


def stops(rendering):
    """A drain fits into the shutdown, and that with the pause before it into what Kubernetes grants."""
    for item in rendering.of_kind("Deployment"):
        container = pod(item)["containers"][0]
        variables_ = environment(container)
        shutdown = int(variables_["PARLEY_SHUTDOWN_SECONDS"]["value"])
        pause = int(container["lifecycle"]["preStop"]["exec"]["command"][1])
        grace = pod(item)["terminationGracePeriodSeconds"]
        if int(variables_["PARLEY_LINGER_SECONDS"]["value"]) >= shutdown:
            yield f"{name(item)} lingers until it is killed"
        if grace <= pause + shutdown:
            yield f"{name(item)} is killed after {grace} s, and wants {pause} + {shutdown}"
        drain = variables_.get("PARLEY_DRAIN_SECONDS")
        if drain and int(drain["value"]) >= shutdown:
            yield f"{name(item)}: a drain of {drain['value']} s in a shutdown of {shutdown}"
        for probe, path in (("startupProbe", "/livez"), ("livenessProbe", "/livez"), ("readinessProbe", "/readyz")):
            if container[probe]["httpGet"] != {"path": path, "port": "admin"}:
                yield f"{name(item)}: {probe} asks {container[probe]['httpGet']}"


def memory(rendering):
    """Files on their way, as many as a pod takes, fit into its memory."""
    # MiB, at most: loadtest/RESULTS.md, "What a file takes of a pod".
    upload, download, rest = 12, 9, 64
    for item in rendering.of_kind("Deployment"):
        container = pod(item)["containers"][0]
        found = {key.removeprefix("PARLEY_"): it.get("value") for key, it in environment(container).items()}
        if container["name"] == "api" and "S3_BUCKET" in found:
            wanted = upload * int(found["MAX_UPLOADS"]) + download * int(found["MAX_DOWNLOADS"]) + rest
            limit = container["resources"]["limits"]["memory"]
            granted = int(limit[:-2]) * {"Mi": 1, "Gi": 1024}[limit[-2:]]
            if wanted > granted:
                yield f"{name(item)}: files take up to {wanted} MiB of {granted}"


def admin_ports(rendering):
    """No Service with an address and no route leads to the admin or the peers' port."""
    for item in rendering.of_kind("Service"):
        for port in item["spec"]["ports"]:
            if port["targetPort"] == "peers" or (port["targetPort"] == "admin" and item["spec"].get("clusterIP") != "None"):
                yield f"{name(item)} offers {port['targetPort']}"


EVERYWHERE = (names_and_labels, selectors, named_ports, variables, secrets_and_volumes, images, restricted, stops, memory, admin_ports)
