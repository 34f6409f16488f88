"""Dashboards as Grafana wants them, from as little as there is to say about a panel."""

from dataclasses import dataclass, field

DATASOURCE = {'type': 'prometheus', 'uid': '${datasource}'}
SELECTOR = 'namespace=~"$namespace",pod=~"$pod"'
WIDTH = 24


def pick(metric, labels=''):
    """The series of a metric that the dashboard is about."""
    return f'{metric}{{{",".join(filter(None, [SELECTOR, labels]))}}}'


def total(metric, by='', labels='', function='sum'):
    """What there is now."""
    return f'{function}{of(by)} ({pick(metric, labels)})'


def rate(metric, by='', labels=''):
    """How much a second."""
    return f'sum{of(by)} (rate({pick(metric, labels)}[$__rate_interval]))'


def quantile(share, histogram, by='', labels=''):
    """Which value so large a share does not exceed."""
    buckets = rate(f'{histogram}_bucket', ', '.join(filter(None, ['le', by])), labels)
    return f'histogram_quantile({share}, {buckets})'


def mean(histogram, by='', labels=''):
    """The mean of what was observed."""
    return f'{rate(f"{histogram}_sum", by, labels)} / {rate(f"{histogram}_count", by, labels)}'


def of(by):
    return f' by ({by})' if by else ''


def quantiles(histogram, labels=''):
    """The median and the slowest hundredth."""
    return [(quantile(0.5, histogram, '', labels), 'p50'), (quantile(0.99, histogram, '', labels), 'p99')]


@dataclass
class Panel:
    title: str
    # Queries, each with its legend.
    queries: list[tuple[str, str]]
    description: str
    unit: str = 'short'
    # What stands there instead of data; only a panel that has none while all is well says it.
    empty: str | None = None
    # The alert whose runbook page says what to do.
    runbook: str | None = None
    stacked: bool = False
    # Where a line changes its colour, as (value, colour).
    thresholds: list[tuple[float, str]] = field(default_factory=list)
    most: float | None = None
    width: int = 8
    kind: str = 'timeseries'
    # Words for values.
    words: dict[str, tuple[str, str]] = field(default_factory=dict)

    def build(self, number, place):
        return {
            'id': number,
            'type': self.kind,
            'title': self.title,
            'description': self.description,
            'datasource': DATASOURCE,
            'gridPos': place,
            'targets': [target(place, query) for place, query in enumerate(self.queries)],
            'fieldConfig': {'defaults': self.defaults(), 'overrides': []},
            'options': self.timeseries() if self.kind == 'timeseries' else self.stat(),
            **({'links': [runbook(self.runbook)]} if self.runbook else {}),
        }

    def defaults(self):
        steps = [{'value': None, 'color': 'green'}]
        steps += [{'value': value, 'color': colour} for value, colour in self.thresholds]
        defaults = {'unit': self.unit, 'min': 0, 'thresholds': {'mode': 'absolute', 'steps': steps}}
        if self.most is not None:
            defaults['max'] = self.most
        if self.empty:
            defaults['noValue'] = self.empty
        if self.words:
            words = {value: {'text': text, 'color': colour} for value, (text, colour) in self.words.items()}
            defaults['mappings'] = [{'type': 'value', 'options': words}]
        if self.kind == 'timeseries':
            lines = {'lineWidth': 1, 'fillOpacity': 15 if self.stacked else 5, 'showPoints': 'never'}
            lines['stacking'] = {'mode': 'normal' if self.stacked else 'none', 'group': 'A'}
            lines['thresholdsStyle'] = {'mode': 'dashed' if self.thresholds else 'off'}
            defaults['custom'] = lines
        return defaults

    def timeseries(self):
        return {
            'legend': {'displayMode': 'list', 'placement': 'bottom', 'showLegend': True, 'calcs': []},
            'tooltip': {'mode': 'multi', 'sort': 'desc'},
        }

    def stat(self):
        return {
            'reduceOptions': {'calcs': ['lastNotNull'], 'fields': '', 'values': False},
            'colorMode': 'background' if self.words or self.thresholds else 'value',
            'graphMode': 'none',
            'justifyMode': 'auto',
            'orientation': 'auto',
            'textMode': 'auto',
        }


def target(place, query):
    expression, legend = query
    return {
        'refId': chr(ord('A') + place),
        'datasource': DATASOURCE,
        'expr': expression,
        'legendFormat': legend,
        'range': True,
    }


def runbook(alert):
    return link('Runbook', f'${{runbooks}}/{alert}.md')


def link(title, url='', tags=()):
    return {
        'title': title,
        'type': 'dashboards' if tags else 'link',
        'icon': 'external link',
        'tooltip': '',
        'url': url,
        'tags': list(tags),
        'asDropdown': bool(tags),
        'targetBlank': not tags,
        'includeVars': bool(tags),
        'keepTime': bool(tags),
    }


def row(heading, *panels):
    """Panels below a heading."""
    return heading, panels


def dashboard(name, title, description, rows, job='.+'):
    """A whole dashboard, row by row."""
    panels, top = [], 0
    for heading, below in rows:
        place = {'h': 1, 'w': WIDTH, 'x': 0, 'y': top}
        panels.append(
            {
                'id': len(panels) + 1,
                'type': 'row',
                'title': heading,
                'collapsed': False,
                'gridPos': place,
                'panels': [],
            }
        )
        top, left, height = top + 1, 0, 0
        for panel in below:
            if left + panel.width > WIDTH:
                top, left, height = top + height, 0, 0
            tall = 4 if panel.kind == 'stat' else 8
            place = {'h': tall, 'w': panel.width, 'x': left, 'y': top}
            panels.append(panel.build(len(panels) + 1, place))
            left, height = left + panel.width, max(height, tall)
        top += height
    return {
        'uid': f'parley-{name}',
        'title': f'Parley / {title}',
        'description': description,
        'tags': ['parley'],
        'editable': True,
        'graphTooltip': 1,
        'timezone': 'browser',
        'time': {'from': 'now-3h', 'to': 'now'},
        'refresh': '30s',
        'schemaVersion': 39,
        'links': [link('Parley', tags=['parley'])],
        'templating': {'list': variables(job)},
        'annotations': {'list': [restarts(job)]},
        'panels': panels,
    }


def variables(job):
    """Whose pods: all, until somebody chooses."""
    pods = f'namespace=~"$namespace",job=~"parley-{job}"' if job != '.+' else 'namespace=~"$namespace"'
    return [
        {'name': 'datasource', 'label': 'Prometheus', 'type': 'datasource', 'query': 'prometheus', 'hide': 0},
        choice('namespace', 'label_values(parley_build_info, namespace)'),
        choice('pod', f'label_values(parley_build_info{{{pods}}}, pod)'),
        # Where the folder of runbook pages can be read.
        {'name': 'runbooks', 'label': 'Runbooks', 'type': 'constant', 'query': 'deploy/runbooks', 'hide': 2},
    ]


def choice(name, query):
    return {
        'name': name,
        'label': name.capitalize(),
        'type': 'query',
        'datasource': DATASOURCE,
        'query': query,
        'refresh': 2,
        'sort': 1,
        'multi': True,
        'includeAll': True,
        'allValue': '.+',
        'hide': 0,
        'current': {'selected': True, 'text': ['All'], 'value': ['$__all']},
    }


def restarts(job):
    return {
        'name': 'Starts',
        'datasource': DATASOURCE,
        'enable': True,
        'iconColor': 'blue',
        'expr': f'changes(process_start_time_seconds{{{SELECTOR},job=~"parley-{job}"}}[$__rate_interval]) > 0',
    }
