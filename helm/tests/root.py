"""The release's programs in the image's root: read-only, with nothing in it but what the image has, as the image's user, against
the Postgres, the NATS and the Redis of a running cluster."""

import os
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from chart import ROOT

USER = 65532
# Seconds for what takes less than one.
PATIENCE = 30
# A container runtime gives these, and a volume for files.
GIVEN = ("proc", "dev", "files")


@contextmanager
def image_root(programs):
    """The tree that the Dockerfile makes, by the same script, with the places where a runtime mounts something."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        subprocess.run(["sh", ROOT / "deploy/docker/root.sh", programs, root], check=True)
        for name in GIVEN:
            (root / name).mkdir()
        Path(folder).chmod(0o755)
        yield root


def inside(root, *command):
    """A command as the image's user in the tree, which is read-only but for the volume."""
    script = """
        mount --bind "$0" "$0"
        mount -t tmpfs -o mode=0777 files "$0/files"
        mount -o remount,bind,ro "$0"
        mount --rbind /proc "$0/proc"
        mount --rbind /dev "$0/dev"
        exec chroot --userspec={user}:{user} "$0" "$@"
    """.format(user=USER)
    return ["unshare", "--mount", "--propagation", "private", "sh", "-euc", script, str(root), *command]


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def environment(cluster):
    """What pods of the chart get, with the cluster's addresses; the PATH is for what comes before the tree."""
    return {
        "PATH": os.environ["PATH"],
        "PARLEY_DATABASE_URL": cluster["postgres"]["url"],
        "PARLEY_NATS_URL": ",".join(it["url"] for it in cluster["nats"]),
        "PARLEY_REDIS_URL": cluster["redis"]["url"],
        "PARLEY_JWT_SECRET": cluster["jwt"]["secret"],
        "PARLEY_LISTEN": f"127.0.0.1:{free_port()}",
        "PARLEY_ADMIN_LISTEN": f"127.0.0.1:{free_port()}",
    }


def once(root, cluster, *command):
    """A command that has to succeed."""
    outcome = subprocess.run(inside(root, *command), env=environment(cluster), capture_output=True, text=True, timeout=PATIENCE)
    if outcome.returncode:
        yield f"{command}: {outcome.stderr.strip()}"


def pod(root, cluster, program, **more):
    """A pod that has to become ready, and to end by itself at SIGTERM."""
    variables = environment(cluster) | more
    process = subprocess.Popen(inside(root, f"/usr/local/bin/{program}"), env=variables, stderr=subprocess.STDOUT,
                               stdout=subprocess.PIPE, text=True)
    try:
        problem = not_ready(process, f"http://{variables['PARLEY_ADMIN_LISTEN']}/readyz")
        process.send_signal(signal.SIGTERM)
        said, _ = process.communicate(timeout=PATIENCE)
        if problem:
            yield f"{program}: {problem}: {said}"
        elif process.returncode:
            yield f"{program} ended with {process.returncode}: {said}"
    finally:
        process.kill()


def not_ready(process, url):
    """Why a pod is not ready after a while; None if it is."""
    deadline = time.monotonic() + PATIENCE
    why = "not started"
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):
                # A pod is ready some moments before it minds signals.
                if minds(process, signal.SIGTERM):
                    return None
                why = "SIGTERM would kill it"
        except urllib.error.HTTPError as answer:
            why = answer.read().decode().strip()
        except OSError as error:
            why = str(error)
        # The next question; nothing is taken to be so after it.
        time.sleep(0.05)
    return why


def minds(process, number):
    """Whether a process has a handler for a signal."""
    status = Path(f"/proc/{process.pid}/status").read_text()
    caught = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(caught, 16) >> (number - 1) & 1)


def contents(root):
    """No shell and nothing else that could be run."""
    programs = {it.name for it in root.rglob("*") if it.is_file() and os.access(it, os.X_OK) and ".so" not in it.name}
    if programs != {"parley-api", "parley-gateway", "parley-courier", "sleep"}:
        yield f"programs: {programs}"


def run(report, programs, cluster):
    with image_root(programs) as root:
        report.check("the image has its programs, and no shell", contents(root))
        report.check("preStop's pause", once(root, cluster, "/usr/local/bin/sleep", "0.1"))
        report.check("the migration, in the image's root", once(root, cluster, "/usr/local/bin/parley-api", "migrate"))
        api = pod(root, cluster, "parley-api", PARLEY_FILES_FOLDER="/files")
        report.check("an api pod, in the image's root", api)
        peers = f"127.0.0.1:{free_port()}"
        gateway = pod(root, cluster, "parley-gateway", PARLEY_PEER_LISTEN=peers, PARLEY_PEER_SECRET="of-this-test-and-32-bytes-or-more")
        report.check("a gateway, in the image's root", gateway)
        report.check("a courier, in the image's root", pod(root, cluster, "parley-courier"))
