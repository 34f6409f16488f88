"""The unmodified python-socketio client hears what is posted over REST. Last line: `N passed, N failed`."""

import base64
import hashlib
import hmac
import json
import os
import queue
import sys
import time
import traceback
import uuid

import requests
import socketio

DEADLINE = 15


def load_cluster():
    path = os.environ.get("PARLEY_CLUSTER")
    if not path:
        sys.exit("PARLEY_CLUSTER is not set: give the cluster.json of a running cluster (cargo parley up)")
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (OSError, ValueError) as error:
        sys.exit(f"PARLEY_CLUSTER cannot be used: {error}")


CLUSTER = load_cluster()
API = [pod["url"] for pod in CLUSTER["api"]]
GATEWAY = CLUSTER["gateway"][0]["url"]


def token(user, ttl=3600, **claims):
    def part(data):
        return base64.urlsafe_b64encode(data).rstrip(b"=")

    now = int(time.time())
    head = part(json.dumps({"alg": "HS256", "typ": "JWT"}).encode())
    body = part(json.dumps({"sub": user, "iat": now, "exp": now + ttl, **claims}).encode())
    signature = hmac.new(CLUSTER["jwt"]["secret"].encode(), head + b"." + body, hashlib.sha256).digest()
    return b".".join([head, body, part(signature)]).decode()


def ask(method, path, bearer, body=None, pod=0):
    headers = {"Authorization": f"Bearer {bearer}"}
    response = requests.request(method, API[pod % len(API)] + path, json=body, headers=headers, timeout=DEADLINE)
    assert response.ok, f"{method} {path}: {response.status_code} {response.text}"
    return response.json()["data"]


def person(name):
    user = f"{name}-{uuid.uuid4()}"
    ask("PUT", f"/api/users/{user}", token("client-tests", role="service"), {"name": name})
    return user, token(user, name=name)


# The client's own way, if it is not told another.
UPGRADE = "polling and the upgrade"


class Listener:
    """A connected client that keeps what it hears."""

    def __init__(self, bearer, transport, url=GATEWAY):
        self.heard = queue.Queue()
        self.client = socketio.Client(reconnection=False)
        self.client.on("new-message", self.heard.put)
        transports = None if transport == UPGRADE else [transport]
        self.client.connect(url, auth={"token": bearer}, transports=transports, wait_timeout=DEADLINE)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.client.disconnect()

    def join(self, chat):
        return self.client.call("join-chat-room", chat, timeout=DEADLINE)


def equal(found, wanted, what):
    assert found == wanted, f"{what}: wanted {wanted!r}, found {found!r}"


def hears_each_message_once(transport, url=GATEWAY):
    (_, alice), (bob_id, bob) = person("alice"), person("bob")
    chat = ask("POST", "/api/chat", alice, {"participantIds": [bob_id]})["chat"]["_id"]
    with Listener(bob, transport, url) as listener:
        equal(listener.client.transport(), "websocket" if transport == UPGRADE else transport, "transport")
        ack = listener.join(chat)
        equal((ack["success"], ack["chatId"]), (True, chat), "ack")
        sent = []
        for number in range(6):
            body = {"content": f"message {number} Ω 🙂"}
            sent.append(ask("POST", f"/api/chat/{chat}/messages", alice, body, pod=number)["message"])
        heard = [listener.heard.get(timeout=DEADLINE) for _ in sent]
        equal([event["message"] for event in heard], sent, "messages")
        equal([event["version"] for event in heard], [message["version"] for message in sent], "versions")
        equal({event["chatId"] for event in heard}, {chat}, "chat")
        assert listener.heard.empty(), "more was heard than sent"


def hears_each_message_once_through_the_balancer(transport):
    hears_each_message_once(transport, CLUSTER["url"])


def is_refused_with_a_bad_token(transport):
    user, _ = person("bob")
    for bad in (token(user, ttl=-3600), "not.a.token"):
        refusals = queue.Queue()
        client = socketio.Client(reconnection=False)
        client.on("connect_error", refusals.put)
        try:
            client.connect(GATEWAY, auth={"token": bad}, transports=[transport], wait_timeout=DEADLINE)
        except socketio.exceptions.ConnectionError:
            equal(refusals.get(timeout=DEADLINE)["message"], "unauthorized", "connect_error")
        else:
            client.disconnect()
            raise AssertionError("was let in")


def is_told_why_a_join_is_refused(transport):
    (_, alice), (bob_id, bob), (carol_id, _) = person("alice"), person("bob"), person("carol")
    chat = ask("POST", "/api/chat", alice, {"participantIds": [carol_id]})["chat"]["_id"]
    own = ask("POST", "/api/chat", alice, {"participantIds": [bob_id]})["chat"]["_id"]
    with Listener(bob, transport) as listener:
        ack = listener.join(chat)
        equal((ack["success"], ack["error"]["code"]), (False, "not_participant"), "ack")
        equal(listener.join({"chatId": own})["success"], True, "a join after a refused one")


TESTS = [
    (check, transport)
    for check in (hears_each_message_once, is_refused_with_a_bad_token, is_told_why_a_join_is_refused)
    for transport in ("websocket", "polling")
] + [(hears_each_message_once_through_the_balancer, transport) for transport in ("polling", UPGRADE) * 3]


def main():
    failed = 0
    for check, transport in TESTS:
        name = f"{check.__name__.replace('_', ' ')}, over {transport}"
        try:
            check(transport)
            print(f"ok: {name}", flush=True)
        except Exception:  # a failed test is reported, and the next one runs
            failed += 1
            print(f"FAILED: {name}\n{traceback.format_exc()}", flush=True)
    print(f"{len(TESTS) - failed} passed, {failed} failed", flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
