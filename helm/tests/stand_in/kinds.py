"""The kinds that the stand-in knows."""

from typing import NamedTuple


class Kind(NamedTuple):
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    @property
    def base(self):
        """Where objects of the kind are."""
        root = f"/api/{self.version}" if "/" not in self.version else f"/apis/{self.version}"
        return f"{root}/namespaces/{{namespace}}/{self.plural}" if self.namespaced else f"{root}/{self.plural}"

    def resource(self):
        """How discovery tells of it."""
        verbs = ["create", "delete", "get", "list", "patch", "update", "watch"]
        return {"name": self.plural, "singularName": self.kind.lower(), "namespaced": self.namespaced,
                "kind": self.kind, "verbs": verbs}


KINDS = [
    Kind("v1", "namespaces", "Namespace", namespaced=False),
    *(Kind("v1", plural, kind) for plural, kind in (
        ("configmaps", "ConfigMap"), ("events", "Event"), ("persistentvolumeclaims", "PersistentVolumeClaim"), ("pods", "Pod"),
        ("secrets", "Secret"), ("serviceaccounts", "ServiceAccount"), ("services", "Service"))),
    Kind("apps/v1", "deployments", "Deployment"),
    Kind("apps/v1", "replicasets", "ReplicaSet"),
    Kind("apps/v1", "statefulsets", "StatefulSet"),
    Kind("autoscaling/v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler"),
    Kind("batch/v1", "jobs", "Job"),
    Kind("networking.k8s.io/v1", "ingresses", "Ingress"),
    Kind("networking.k8s.io/v1", "networkpolicies", "NetworkPolicy"),
    Kind("policy/v1", "poddisruptionbudgets", "PodDisruptionBudget"),
    Kind("external-secrets.io/v1", "externalsecrets", "ExternalSecret"),
    Kind("gateway.networking.k8s.io/v1", "httproutes", "HTTPRoute"),
    Kind("monitoring.coreos.com/v1", "prometheusrules", "PrometheusRule"),
    Kind("monitoring.coreos.com/v1", "servicemonitors", "ServiceMonitor"),
]
VERSIONS = sorted({it.version for it in KINDS})


def find(version, plural):
    return next((it for it in KINDS if (it.version, it.plural) == (version, plural)), None)
