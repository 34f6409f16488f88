"""What so many connections need: from the costs that `cargo parley bench` measured, cores and instances of each part, and which
of them ends first. `capacity.py --connections 250000` for your own numbers; `capacity.py --write` makes the table of CAPACITY.md anew."""

import argparse
import math
import pathlib
import sys

PAGE = pathlib.Path(__file__).with_name("CAPACITY.md")
BEGIN, END = "<!-- capacity -->\n", "<!-- /capacity -->\n"
STEPS = [10_000, 100_000, 1_000_000, 10_000_000, 100_000_000]

# Microseconds of CPU, as loadtest/RESULTS.md has them, or SIZING.md for lists and pages.
SEND = {"api": 61, "postgres": 68, "redis": 18, "nats": 9}
FORWARD = {"nats": 3}
DELIVERY = {"gateway": 10}
CONNECT = {"gateway": 240}
HEARTBEAT = {"gateway": 1.3}
PAGE_OF_HISTORY = {"api": 60, "postgres": 100}
# Of somebody with 5,000 chats: the most that was measured.
LIST = {"api": 60, "postgres": 4_300}
KIB_OF_A_CONNECTION = 4.2
WAL_BYTES_OF_A_SEND = 1_240


def arguments(given):
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--connections", type=int, help="instead of the steps of the page")
    parser.add_argument("--messages", type=float, default=0.01, help="a second, of each connection (default: %(default)s)")
    parser.add_argument("--online", type=float, default=10, help="members of a chat who are connected (default: %(default)s)")
    parser.add_argument("--lists", type=float, default=0.1, help="lists of chats for each message (default: %(default)s)")
    parser.add_argument("--pages", type=float, default=2, help="pages of history for each message (default: %(default)s)")
    parser.add_argument("--stay", type=float, default=3600, help="seconds that a connection lasts (default: %(default)s)")
    parser.add_argument("--busy", type=float, default=0.5, help="share of a core that may be used (default: %(default)s)")
    parser.add_argument("--gateway-cores", type=int, default=2)
    parser.add_argument("--gateway-connections", type=int, default=40_000, help="most of one pod (default: %(default)s)")
    parser.add_argument("--api-cores", type=int, default=2)
    parser.add_argument("--postgres-cores", type=int, default=64, help="of the largest primary (default: %(default)s)")
    parser.add_argument("--wal-mb", type=float, default=200, help="that one primary's disk takes a second (default: %(default)s)")
    parser.add_argument("--nats-cores", type=int, default=16, help="of the largest server (default: %(default)s)")
    parser.add_argument("--write", action="store_true", help="make the page's table anew")
    return parser.parse_args(given)


def demand(connections, given):
    """Messages, deliveries and the rest, a second."""
    sends = connections * given.messages
    gateways = math.ceil(connections / given.gateway_connections)
    return {
        "connections": connections,
        "sends": sends,
        "deliveries": sends * given.online,
        # A message goes once to each gateway that has a member of its chat.
        "forwards": sends * min(given.online, gateways),
        "connects": connections / given.stay,
        "lists": sends * given.lists,
        "pages": sends * given.pages,
    }


def cores(part, wanted):
    """What a part spends of CPU, in cores that do nothing else."""
    costs = [
        (SEND, "sends"), (FORWARD, "forwards"), (DELIVERY, "deliveries"), (CONNECT, "connects"),
        (HEARTBEAT, "connections"), (PAGE_OF_HISTORY, "pages"), (LIST, "lists"),
    ]
    return sum(cost.get(part, 0) * wanted[what] for cost, what in costs) / 1e6


def plan(connections, given):
    wanted = demand(connections, given)
    used = {part: cores(part, wanted) for part in ("gateway", "api", "postgres", "redis", "nats")}
    wal = wanted["sends"] * WAL_BYTES_OF_A_SEND / 1e6
    # How much of the largest single instance each of those that are not pods would be.
    full = {
        "Postgres' cores": used["postgres"] / given.busy / given.postgres_cores,
        "Postgres' disk": wal / given.wal_mb,
        "Redis": used["redis"] / given.busy,
        "NATS": used["nats"] / given.busy / given.nats_cores,
    }
    instances = {
        # One more than needed: the death of one must not be too much for the others.
        "gateway": 1 + max(
            math.ceil(used["gateway"] / given.busy / given.gateway_cores),
            math.ceil(connections / given.gateway_connections),
        ),
        "api": 1 + math.ceil(used["api"] / given.busy / given.api_cores),
        "postgres": math.ceil(max(full["Postgres' cores"], full["Postgres' disk"])),
        "redis": math.ceil(full["Redis"]),
        "nats": max(3, math.ceil(full["NATS"])),
    }
    return wanted, used, instances, full


def short(number):
    for size, letter in ((1e6, " M"), (1e3, " k")):
        if number >= size:
            return f"{number / size:.3g}{letter}"
    return f"{number:.3g}"


def several(number, what):
    return f"{number:,} {what}" if number == 1 else f"{number:,} {what}s"


def column(connections, given):
    wanted, used, instances, full = plan(connections, given)
    first = max(full, key=full.get)
    memory = connections * KIB_OF_A_CONNECTION / 1024**2
    cores_of = {part: f"{short(used[part] / given.busy)} cores" for part in used}
    return [
        short(connections),
        short(wanted["sends"]),
        short(wanted["deliveries"]),
        f"{instances['gateway']:,} × {given.gateway_cores} cores",
        f"{short(memory)} GiB",
        f"{instances['api']:,} × {given.api_cores} cores",
        f"{several(instances['postgres'], 'shard')}, {cores_of['postgres']}",
        f"{short(wanted['sends'] * WAL_BYTES_OF_A_SEND / 1e6)} MB",
        f"{several(instances['nats'], 'server')}, {cores_of['nats']}",
        short(wanted["forwards"]),
        f"{several(instances['redis'], 'server')}, {cores_of['redis']}",
        f"{first}: {full[first]:.0%} of one",
    ]


TITLES = [
    "connections", "messages/s", "deliveries/s", "gateways", "their memory for connections", "api pods", "Postgres",
    "its WAL a second", "NATS", "what it passes on a second", "Redis", "ends first",
]


def table(given):
    steps = [given.connections] if given.connections else STEPS
    columns = [TITLES, *(column(step, given) for step in steps)]
    head, *rows = ["| " + " | ".join(cells) + " |" for cells in zip(*columns)]
    return "\n".join([head, "| --- " * len(columns) + "|", *rows]) + "\n"


def page():
    """The page, with the table as it has to be."""
    text = PAGE.read_text()
    before, rest = text.split(BEGIN)
    return before + BEGIN + table(arguments([])) + END + rest.split(END)[1]


def main():
    given = arguments(sys.argv[1:])
    if given.write:
        PAGE.write_text(page())
    else:
        print(table(given), end="")


if __name__ == "__main__":
    main()
