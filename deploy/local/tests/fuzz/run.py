"""Schemathesis against an api pod of a running cluster: no 5xx, and nothing that the document does not tell.

Usage: run.py [--role ROLE] [--pod URL --secret SECRET] [what Schemathesis takes]
Last line: `N passed, N failed`.
"""

import argparse
import base64
import hashlib
import hmac
import json
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "unsupported_method",
    "allow_header_conformance",
    "ignored_auth",
]


def token(secret, role):
    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    # Issued in the future: a call that revokes this very user does not end the run.
    claims = {"sub": "fuzz", "name": "Fuzz", "role": role, "iat": int(time.time()) + 10**8, "exp": 2**32 - 1}
    head = part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    body = part(json.dumps(claims).encode())
    signature = hmac.new(secret.encode(), head + b"." + body, hashlib.sha256).digest()
    return b".".join([head, body, part(signature)]).decode()


def cluster():
    path = os.environ.get("PARLEY_CLUSTER")
    if not path:
        sys.exit("PARLEY_CLUSTER is not set: give the cluster.json of a running cluster (cargo parley up)")
    with open(path, encoding="utf-8") as file:
        told = json.load(file)
    return told["api"][0]["url"], told["jwt"]["secret"]


def main():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--role", default="service")
    parser.add_argument("--pod")
    parser.add_argument("--secret")
    ours, others = parser.parse_known_args()
    url, secret = (ours.pod, ours.secret) if ours.pod else cluster()
    with tempfile.TemporaryDirectory() as folder:
        counts = os.path.join(folder, "counts.json")
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PARLEY_FUZZ_COUNTS": counts}
        environment["PYTHONPATH"] = HERE
        environment["PYTHONDONTWRITEBYTECODE"] = "1"
        command = [os.path.join(os.path.dirname(sys.executable), "schemathesis"), "run", f"{url}/api/openapi.json"]
        command += ["--checks", ",".join(CHECKS), "--header", f"Authorization: Bearer {token(secret, ours.role)}"]
        ended = subprocess.run(command + others, env=environment, cwd=folder, check=False).returncode
        with open(counts, encoding="utf-8") as file:
            counted = json.load(file)
    for answer, times in sorted(counted.items()):
        print(f"{times:7} {answer}")
    broken = sum(times for answer, times in counted.items() if answer.rsplit(" ", 1)[1] >= "500")
    failed = int(ended != 0) + int(broken > 0)
    print(f"{sum(counted.values())} requests, {broken} of them answered with 5xx")
    print(f"{1 if failed == 0 else 0} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
