"""Who may talk to whom, as the NetworkPolicies have it: a connection is let through by the policies of both its ends."""

from objects import WORKLOADS, component, labels, ports, selects


class Network:
    """The pods of a rendering, and what their policies say. Somebody outside has no policy of his own."""

    def __init__(self, rendering):
        self.pods = {component(it): it for it in rendering.of_kind(*WORKLOADS)}
        self.policies = rendering.of_kind("NetworkPolicy")

    def _chosen(self, pod, direction):
        found = [it for it in self.policies if selects(it["spec"]["podSelector"], labels(self.pods[pod]))]
        return [it for it in found if direction in it["spec"]["policyTypes"]]

    def _lets(self, pod, direction, other, port):
        """Whether the policies of a pod let a connection from or to another (None: nobody of the release) through."""
        policies = self._chosen(pod, direction)
        side = "from" if direction == "Ingress" else "to"
        rules = [rule for policy in policies for rule in policy["spec"].get(direction.lower()) or []]
        return not policies or any(
            any(it["port"] == port for it in rule["ports"])
            and (side not in rule or any(self._meant(peer, other) for peer in rule[side]))
            for rule in rules)

    def _meant(self, peer, other):
        if "ipBlock" in peer:
            return other is None
        only_pods = peer.keys() == {"podSelector"}
        return other is not None and only_pods and selects(peer["podSelector"], labels(self.pods[other]))

    def resolves(self, pod):
        """Whether a pod reaches the cluster's DNS, by which it finds everybody else: over UDP, and over TCP for long answers."""
        rules = [rule for policy in self._chosen(pod, "Egress") for rule in policy["spec"].get("egress") or []]
        ways = {
            port["protocol"] for rule in rules for port in rule["ports"]
            if port["port"] == 53 and any(peer.keys() == {"namespaceSelector", "podSelector"} for peer in rule["to"])
        }
        return ways == {"UDP", "TCP"}

    def open(self, source, target, port):
        """Whether a pod of the component `source` (None: anybody) reaches a port of `target` by its name or number."""
        number = ports(self.pods[target])[port] if target else port
        out = source is None or self._lets(source, "Egress", target, number)
        return out and (target is None or self._lets(target, "Ingress", source, number))


# Of the trial, where both ends are pods of the release.
OPEN = [
    ("courier", "postgres", "postgres"), ("courier", "nats", "nats"), ("courier", None, 443), ("api", "postgres", "postgres"), ("api", "nats", "nats"), ("api", "redis", "redis"),
    ("gateway", "nats", "nats"), ("gateway", "redis", "redis"), ("gateway", "gateway", "peers"),
    ("test", "api", "http"), ("test", "gateway", "http"), (None, "api", "http"), (None, "gateway", "http"),
]
SHUT = [
    ("courier", "redis", "redis"), ("courier", "api", "http"), ("courier", "api", "admin"),
    (None, "courier", "admin"), ("api", "courier", "admin"), ("gateway", "courier", "admin"), ("courier", None, 5432),
    ("gateway", "postgres", "postgres"), ("api", "gateway", "peers"), ("api", "gateway", "admin"), ("gateway", "api", "admin"),
    (None, "api", "admin"), (None, "gateway", "admin"), (None, "gateway", "peers"), (None, "postgres", "postgres"),
    (None, "nats", "nats"), (None, "redis", "redis"), ("test", "postgres", "postgres"), ("test", "api", "admin"),
    ("postgres", None, 443), ("nats", None, 443), ("redis", "postgres", "postgres"), ("gateway", None, 5432), ("test", None, 443),
    # The trial has neither a bucket nor a JWKS.
    ("api", None, 443), ("gateway", None, 443),
]


def problems(trial, with_bucket, with_jwks):
    """The trial's, and who reaches the outside where there is something to reach."""
    yield from problems_of_the_trial(trial)
    for rendering, who in ((with_bucket, {"api"}), (with_jwks, {"api", "gateway"})):
        for workload in ("api", "gateway"):
            if Network(rendering).open(workload, None, 443) != (workload in who):
                yield f"{rendering.name}: {workload} to anywhere:443 is {'shut' if workload in who else 'open'}"


def problems_of_the_trial(rendering):
    network = Network(rendering)
    for cases, wanted in ((OPEN, True), (SHUT, False)):
        for source, target, port in cases:
            if network.open(source, target, port) != wanted:
                yield f"{source or 'anybody'} to {target or 'anywhere'}:{port} is {'shut' if wanted else 'open'}"
    for pod in ("api", "gateway", "courier", "test"):
        if not network.resolves(pod):
            yield f"{pod} cannot ask for names"
