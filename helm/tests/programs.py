"""The programs themselves look at what the chart gives them: `--check` with the variables of every rendered container."""

import subprocess

from chart import Rendering, label, value_files
from objects import containers, name

# Values of what a Secret or Kubernetes itself would say.
SECRET = {
    "PARLEY_DATABASE_URL": "postgres://parley:secret@postgres/parley",
    "PARLEY_NATS_URL": "nats://nats:4222",
    "PARLEY_REDIS_URL": "redis://redis:6379",
}
ANY_SECRET = "a-secret-of-this-test-with-32-bytes-or-more"
# What stands for any file of certificates.
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
FIELDS = {"metadata.name": "pod-1", "status.podIP": {False: "10.1.2.3", True: "fd00::1"}}


def variables(container, ipv6):
    """The variables as a container would have them."""
    found = {}
    for it in container["env"]:
        source = it.get("valueFrom", {})
        if "secretKeyRef" in source:
            value = SECRET.get(it["name"], ANY_SECRET)
        elif "fieldRef" in source:
            value = FIELDS[source["fieldRef"]["fieldPath"]]
            value = value if isinstance(value, str) else value[ipv6]
        elif "resourceFieldRef" in source:
            value = "2"
        else:
            value = it["value"]
            for earlier, its in found.items():
                value = value.replace(f"$({earlier})", its)
            value = CERTIFICATES if value.startswith("/certificates/") else value
        found[it["name"]] = value
    return found


def checked(programs):
    for file in value_files():
        rendering = Rendering(label(file), file=file)
        for item in rendering.of_kind("Deployment", "Job"):
            for container in containers(item):
                program = container["command"][0].rpartition("/")[2]
                command = [programs / program, *container["command"][1:], "--check"]
                if container["command"][1:] == ["migrate"]:
                    command = [programs / program, "--check", "migrate"]
                outcome = subprocess.run(command, env=variables(container, rendering.values["ipv6"]), capture_output=True, text=True)
                if outcome.returncode or "no such setting" in outcome.stdout + outcome.stderr:
                    yield f"{rendering.name}, {name(item)}: {outcome.stdout}{outcome.stderr}"
