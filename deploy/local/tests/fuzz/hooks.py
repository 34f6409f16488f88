"""What Schemathesis cannot know: which ids there are. Without them nearly every call would be a 404.

Ids of chats, messages and files are taken from answers. Most calls are given one of them; the rest keep what was made up.
"""

import atexit
import json
import os
import random
from collections import deque

import schemathesis

POOL = 40
USERS = [f"fuzz-{name}" for name in ["alice", "bob", "Zoë Q", "auth0|7"]]
# Named by the document's examples, and perhaps somebody in the cluster.
OTHERS = {"alice", "bob", "carol"}

chats = deque(maxlen=POOL)
messages = deque(maxlen=POOL)
files = deque(maxlen=POOL)
choose = random.Random(int(os.environ.get("PARLEY_FUZZ_SEED", "1")))
counted = {}


@schemathesis.hook
def before_call(context, case, **kwargs):
    parameters = case.path_parameters
    if not parameters:
        return
    path = case.operation.path
    made_up = choose.random() < 0.2 and not OTHERS.intersection(map(str, parameters.values()))
    if made_up:
        return
    if "messageId" in parameters and messages:
        parameters["id"], parameters["messageId"] = choose.choice(messages)
    elif "attachmentId" in parameters and files:
        parameters["id"], parameters["attachmentId"] = choose.choice(files)
    elif path.startswith("/api/chat/{id}") and chats:
        parameters["id"] = choose.choice(chats)
    elif path.startswith("/api/users/{id}"):
        parameters["id"] = choose.choice(USERS)
    if "userId" in parameters:
        parameters["userId"] = choose.choice(USERS)


@schemathesis.hook
def after_call(context, case, response):
    key = f"{case.operation.method.upper()} {case.operation.path} {response.status_code}"
    counted[key] = counted.get(key, 0) + 1
    if response.status_code not in (200, 201):
        return
    try:
        data = response.json()["data"]
    except (ValueError, KeyError, TypeError):
        return
    if isinstance(data.get("chat"), dict):
        chats.append(data["chat"]["_id"])
    if isinstance(data.get("message"), dict):
        message = data["message"]
        messages.append((message["chatId"], message["_id"]))
        files.extend((message["chatId"], file["_id"]) for file in message["attachments"])


def tell():
    path = os.environ.get("PARLEY_FUZZ_COUNTS")
    if path:
        with open(path, "w", encoding="utf-8") as file:
            json.dump(counted, file, indent=1, sort_keys=True, ensure_ascii=False)


atexit.register(tell)
