"""Reads every dashboard with Grafana's own types, and compares what is written again: a key that Grafana does not know, or
a value that it understands otherwise, is a difference."""

import json
import sys
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard


def differences(ours, theirs, path=''):
    """Where what we wrote is not what Grafana has read. What it adds is its defaults."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        for key, value in ours.items():
            if key not in theirs:
                yield f'{path}.{key} is not known'
            else:
                yield from differences(value, theirs[key], f'{path}.{key}')
    elif isinstance(ours, list) and isinstance(theirs, list) and len(ours) == len(theirs):
        for place, (one, other) in enumerate(zip(ours, theirs)):
            yield from differences(one, other, f'{path}[{place}]')
    elif ours != theirs:
        yield f'{path} is {ours!r}, and read as {theirs!r}'


def main(files):
    register_default_plugins()
    wrong = []
    for file in files:
        ours = json.loads(Path(file).read_text())
        theirs = json.loads(JSONEncoder().encode(Dashboard.from_json(ours)))
        wrong += [f'{file}: {difference}' for difference in differences(ours, theirs)]
    if wrong or not files:
        sys.exit('\n'.join(wrong) or 'no dashboards')
    print(f'{len(files)} dashboards are good')


if __name__ == '__main__':
    main(sys.argv[1:])
