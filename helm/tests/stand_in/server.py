"""The stand-in as an HTTP server."""

import json
import threading
import traceback
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import yaml

from . import discovery, protobuf
from .kinds import find
from .store import Refused, Store


# Seconds after which a watch that hears nothing looks whether the stand-in has stopped.
PATIENCE = 0.2


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def respond(self):
        length = int(self.headers.get("Content-Length") or 0)
        body = self.rfile.read(length)
        parts = urlsplit(self.path)
        query = {key: values[0] for key, values in parse_qs(parts.query).items()}
        path = unquote(parts.path).rstrip("/")
        try:
            if self.command == "GET" and query.get("watch") in ("1", "true"):
                self.watch(*place(path), query)
                return
            code, answer = self.answer(path, query, body)
        except ConnectionError:
            # The client has gone.
            self.close_connection = True
            return
        except Refused as refused:
            code, answer = refused.code, refused.status()
        except Exception as error:  # A mistake of the stand-in: told to who sees the test, and to the client.
            traceback.print_exc()
            code, answer = 500, Refused(500, "InternalError", repr(error)).status()
        text = json.dumps(answer).encode()
        self.send_response(code)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def watch(self, kind, namespace, _name, query):
        """Tells of changes as they happen, until the client has heard enough, or the stand-in stops."""
        store = self.server.store
        selection = kind, namespace, query.get("labelSelector", ""), query.get("fieldSelector", "")
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        with store.changed:
            revision = int(query.get("resourceVersion") or 0)
            events = []
            if query.get("sendInitialEvents") == "true":
                events = [("ADDED", it) for it in store.list(*selection)]
                revision = store.revision
                end = {"resourceVersion": str(revision), "annotations": {"k8s.io/initial-events-end": "true"}}
                events.append(("BOOKMARK", {"kind": kind.kind, "apiVersion": kind.version, "metadata": end}))
            while not self.server.stopped:
                for what, item in events:
                    self.wfile.write(json.dumps({"type": what, "object": item}).encode() + b"\n")
                found = list(store.since(revision, *selection))
                events = [(what, item) for _, what, item in found]
                if found:
                    revision = found[-1][0]
                else:
                    store.changed.wait(PATIENCE)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = respond

    def answer(self, path, query, body):
        store = self.server.store
        found = discovery.answer(path, store.kubernetes)
        if found is not None:
            return 200, found
        kind, namespace, name = place(path)
        with store.changed:
            self.server.requests.append((self.command, path))
            return self.act(store, kind, namespace, name, query, body)

    def act(self, store, kind, namespace, name, query, body):
        dry = query.get("dryRun") == "All"
        if self.command == "GET":
            if name:
                return 200, store.get(kind, namespace, name)
            items = store.list(kind, namespace, query.get("labelSelector", ""), query.get("fieldSelector", ""))
            return 200, {"kind": f"{kind.kind}List", "apiVersion": kind.version,
                         "metadata": {"resourceVersion": str(store.revision)}, "items": items}
        if self.command == "DELETE":
            store.delete(kind, namespace, name, dry)
            return 200, {"kind": "Status", "apiVersion": "v1", "status": "Success"}
        item = protobuf.decode(body) if body.startswith(protobuf.MAGIC) else yaml.safe_load(body)
        if self.command == "POST":
            return 201, store.create(kind, namespace, item, dry)
        if self.command == "PUT":
            store.get(kind, namespace, name)
            return 200, store.put(kind, namespace, name, item, dry)
        apply = "apply-patch" in self.headers.get("Content-Type", "")
        return 200, store.patch(kind, namespace, name, item, apply, dry)


def place(path):
    """Kind, namespace and name of a path."""
    parts = path.strip("/").split("/")
    version, rest = (parts[1], parts[2:]) if parts[0] == "api" else ("/".join(parts[1:3]), parts[3:])
    namespace = None
    if len(rest) > 2 and rest[0] == "namespaces":
        namespace, rest = rest[1], rest[2:]
    kind = find(version, rest[0]) if rest and len(rest) <= 2 else None
    if kind is None:
        raise Refused(404, "NotFound", f"the server could not find {path}")
    return kind, namespace, rest[1] if len(rest) > 1 else None


class StandIn(ThreadingHTTPServer):
    """A stand-in of one version of Kubernetes on a free port, for as long as the `with` lasts."""

    daemon_threads = True

    def __init__(self, kubernetes):
        super().__init__(("127.0.0.1", 0), Handler)
        self.store = Store(kubernetes)
        self.requests = []
        self.stopped = False

    def __enter__(self):
        threading.Thread(target=self.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_):
        self.stopped = True
        self.shutdown()
        self.server_close()

    def kubeconfig(self, path):
        """Writes what Helm and kubectl find the stand-in by."""
        url = f"http://127.0.0.1:{self.server_address[1]}"
        path.write_text(yaml.safe_dump({
            "apiVersion": "v1", "kind": "Config", "current-context": "stand-in",
            "clusters": [{"name": "stand-in", "cluster": {"server": url}}],
            "users": [{"name": "nobody", "user": {}}],
            "contexts": [{"name": "stand-in", "context": {"cluster": "stand-in", "user": "nobody", "namespace": "chat"}}],
        }))
        return path


