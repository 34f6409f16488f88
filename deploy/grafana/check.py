"""Reads every dashboard with Grafana's own types. A key that Grafana does not know, a value that it would understand
otherwise, and a value of another type than it wants are mistakes."""

import enum
import json
import sys
import types
import typing
from pathlib import Path

from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.cog.plugins import register_default_plugins
from grafana_foundation_sdk.models.dashboard import Dashboard

OWN = 'grafana_foundation_sdk.models.'


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


def mistyped(value, path=''):
    """What is of another type than its class says."""
    if isinstance(value, list):
        for place, one in enumerate(value):
            yield from mistyped(one, f'{path}[{place}]')
    elif type(value).__module__.startswith(OWN) and not isinstance(value, enum.Enum):
        for name, wanted in typing.get_type_hints(type(value)).items():
            held = getattr(value, name)
            if not fits(held, wanted):
                yield f'{path}.{name} is {held!r}, and should be {wanted}'
            yield from mistyped(held, f'{path}.{name}')


def fits(value, wanted):
    origin, inner = typing.get_origin(wanted), typing.get_args(wanted)
    if wanted in (object, typing.Any) or isinstance(wanted, typing.TypeVar):
        return True
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, one) for one in inner)
    if origin is typing.Literal:
        return value in inner
    if origin is list:
        return isinstance(value, list) and all(fits(one, inner[0]) for one in value)
    if origin is dict:
        return isinstance(value, dict) and all(fits(one, inner[1]) for one in value.values())
    if wanted is float:
        return isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(value, dict) and getattr(wanted, '__module__', '').startswith(OWN):
        # Grafana's types leave some of what they hold unread.
        return not any(mistyped(wanted.from_json(value)))
    if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        return isinstance(value, wanted) or value in [one.value for one in wanted]
    return not isinstance(wanted, type) or isinstance(value, wanted)


def main(files):
    register_default_plugins()
    wrong = []
    for file in files:
        ours = json.loads(Path(file).read_text())
        read = Dashboard.from_json(ours)
        theirs = json.loads(JSONEncoder().encode(read))
        found = [*differences(ours, theirs), *mistyped(read)]
        wrong += [f'{file}: {mistake}' for mistake in found]
    if wrong or not files:
        sys.exit('\n'.join(wrong) or 'no dashboards')
    print(f'{len(files)} dashboards are good')


if __name__ == '__main__':
    main(sys.argv[1:])
