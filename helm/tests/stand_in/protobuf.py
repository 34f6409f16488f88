"""Secrets and ConfigMaps as Helm 4 sends them: in Kubernetes's protobuf, whatever a server says that it takes."""

import base64

MAGIC = b"k8s\0"


def decode(body):
    """The object in a protobuf envelope."""
    envelope = fields(body[len(MAGIC):])
    about, raw = fields(one(envelope, 1)), one(envelope, 2)
    version, kind = one(about, 1).decode(), one(about, 2).decode()
    item = {"apiVersion": version, "kind": kind}
    if kind == "DeleteOptions":
        return item
    if kind not in ("Secret", "ConfigMap"):
        raise ValueError(f"a {kind} in protobuf")
    content = fields(raw)
    item["metadata"] = metadata(fields(one(content, 1)))
    entries = dict(entry(it) for it in every(content, 2))
    if kind == "Secret":
        item["data"] = {key: base64.b64encode(value).decode() for key, value in entries.items()}
        item["type"] = (one(content, 3) or b"Opaque").decode()
    else:
        item["data"] = {key: value.decode() for key, value in entries.items()}
    return item


def metadata(found):
    """The parts of ObjectMeta that Helm sets."""
    text = lambda pairs: {key: value.decode() for key, value in pairs}
    made = {"name": one(found, 1).decode(), "namespace": one(found, 3).decode()}
    return made | {"labels": text(map(entry, every(found, 11))), "annotations": text(map(entry, every(found, 12)))}


def entry(raw):
    """A key and a value of a map."""
    pair = fields(raw)
    return one(pair, 1).decode(), one(pair, 2)


def every(found, number):
    return [value for field, value in found if field == number]


def one(found, number):
    return next(iter(every(found, number)), b"")


def fields(raw):
    """Field numbers and values of a message: numbers for varints, else bytes."""
    found, place = [], 0
    while place < len(raw):
        tag, place = varint(raw, place)
        number, form = tag >> 3, tag & 7
        if form == 0:
            value, place = varint(raw, place)
        else:
            if form == 2:
                length, place = varint(raw, place)
            else:
                length = {1: 8, 5: 4}[form]
            value, place = raw[place:place + length], place + length
        found.append((number, value))
    return found


def varint(raw, place):
    value = shift = 0
    while True:
        byte = raw[place]
        value, place, shift = value | (byte & 127) << shift, place + 1, shift + 7
        if byte < 128:
            return value, place
