"""Writes slo.yaml, the rules of the service levels, and tests/slo.yaml, when each of their alerts fires and when not.

`python3 slo.py` writes both anew; whoever changes a level changes it here. Python alone, without packages.
"""

from pathlib import Path
from typing import NamedTuple

SENDS = 'route="/api/chat/{id}/messages",method="POST"'

# Severity, long window, short window, how many times as fast as it may the budget burns, and for how long.
BURNS = [
    ('page', '1h', '5m', 14.4, '2m'),
    ('page', '6h', '30m', 6, '15m'),
    ('ticket', '1d', '2h', 3, '1h'),
    ('ticket', '3d', '6h', 1, '3h'),
]
WINDOWS = ['5m', '30m', '1h', '2h', '6h', '1d', '3d']
# With fewer failures than this in the long window, a share says little.
FEWEST = 10


class Level(NamedTuple):
    name: str
    alert: str
    objective: float
    summary: str
    says: str
    # The share of what fails in a window, and the number of failures in one; without a number, time is what is counted.
    ratio: str
    failures: str | None
    # For tests: the series behind so many thousandths of failures.
    series: callable


def of_counters(bad, every):
    total = f'sum by (namespace) (rate({every}[WINDOW]))'
    return f'(sum by (namespace) (rate({bad}[WINDOW])) or 0 * {total}) / {total}'


def of_histogram(name, labels, bound):
    def rate(function, suffix, more=''):
        selector = ','.join(filter(None, [labels, more]))
        selector = f'{{{selector}}}' if selector else ''
        return f'sum by (namespace) ({function}({name}_{suffix}{selector}[WINDOW]))'

    within = f'le="{bound}"'
    ratio = f"1 - {rate('rate', 'bucket', within)} / {rate('rate', 'count')}"
    failures = f"{rate('increase', 'count')} - {rate('increase', 'bucket', within)}"
    return ratio, failures


def counter_series(bad, good):
    return lambda thousandths: [(bad, f'0+{thousandths}'), (good, f'0+{1000 - thousandths}')]


def histogram_series(name, labels, bound):
    labels = f'{labels},' if labels else ''
    return lambda thousandths: [
        (f'{name}_bucket{{{labels}le="{bound}",NAMESPACE}}', f'0+{1000 - thousandths}'),
        (f'{name}_count{{{labels}NAMESPACE}}', '0+1000'),
    ]


def level_of_histogram(histogram, **words):
    ratio, failures = of_histogram(*histogram)
    return Level(ratio=ratio, failures=failures, series=histogram_series(*histogram), **words)


FAILED = f'parley_http_requests_total{{{SENDS},status=~"5.."}}'
# What a client did wrong is not ours, and does not make up for what is.
ANSWERED = f'parley_http_requests_total{{{SENDS},status=~"2..|5.."}}'

LEVELS = [
    Level(
        name='send_error', alert='ParleySendErrorBudgetBurn', objective=0.999,
        summary='Sends fail',
        says='of the sends were answered with 5xx',
        ratio=of_counters(FAILED, ANSWERED),
        failures=f'sum by (namespace) (increase({FAILED}[WINDOW]))',
        series=counter_series(
            f'parley_http_requests_total{{{SENDS},status="503",NAMESPACE}}',
            f'parley_http_requests_total{{{SENDS},status="201",NAMESPACE}}',
        ),
    ),
    level_of_histogram(
        ('parley_http_request_seconds', SENDS, '0.5'),
        name='send_latency', alert='ParleySendLatencyBudgetBurn', objective=0.99,
        summary='Sends are slow',
        says='of the sends took longer than 500 ms',
    ),
    level_of_histogram(
        ('parley_gateway_delivery_seconds', '', '1'),
        name='delivery_latency', alert='ParleyDeliveryLatencyBudgetBurn', objective=0.99,
        summary='Messages arrive late',
        says='of what rooms heard came later than 1 s after its commit',
    ),
    Level(
        name='completeness', alert='ParleyCompletenessBudgetBurn', objective=0.999,
        summary='Rooms miss what was committed',
        says='of the rooms, averaged over time, missed something or could not know whether they did',
        ratio='avg_over_time(namespace:parley_rooms_behind:ratio[WINDOW])',
        failures=None,
        series=lambda thousandths: [
            ('parley_gateway_rooms_behind{NAMESPACE}', f'{thousandths}+0'),
            ('parley_gateway_rooms{NAMESPACE}', '1000+0'),
            ('parley_bus_connected{NAMESPACE}', '1+0'),
        ],
    ),
]

# How many times as fast as it may, for how many minutes, and which of `BURNS` fire then.
CASES = [
    (20, 10, [0]),
    (8, 40, [1]),
    (4, 100, [2]),
    (2, 200, [3]),
    (0.5, 200, []),
]


def head():
    return '# Written by slo.py.\n'


def rules():
    text = head() + 'groups:\n'
    for level in LEVELS:
        text += f'- name: parley-{level.name.replace("_", "-")}\n  rules:\n'
        if level.name == 'completeness':
            text += record('namespace:parley_rooms_behind:ratio', BEHIND)
        for window in WINDOWS:
            text += record(ratio_name(level, window), level.ratio.replace('WINDOW', window))
        for burn in BURNS:
            text += alert(level, *burn)
    return text


# A gateway that is cut off from the bus cannot know what its rooms miss.
BEHIND = (
    '(sum by (namespace) (parley_gateway_rooms_behind)'
    ' + sum by (namespace) (parley_gateway_rooms * (1 - parley_bus_connected)))'
    ' / (sum by (namespace) (parley_gateway_rooms) > 0)'
)


def ratio_name(level, window):
    return f'namespace:parley_{level.name}:ratio_rate{window}'


def record(name, expression):
    return f'  - record: {name}\n    expr: >-\n      {expression}\n'


def alert(level, severity, long, short, times, lasting):
    limit = f'{times} * {round(1 - level.objective, 6):g}'
    conditions = [f'{ratio_name(level, window)} > {limit}' for window in (long, short)]
    if level.failures:
        conditions.append(f'{level.failures.replace("WINDOW", long)} >= {FEWEST}')
    expression = '\n      and '.join(conditions)
    return f"""  - alert: {level.alert}
    expr: >-
      {expression}
    for: {lasting}
    labels: {{ severity: {severity}, long: {long}, short: {short} }}
    annotations:
      summary: "{level.summary}: the budget of 30 days burns {times:g} times as fast as it may"
      description: "{{{{ $value | humanizePercentage }}}} {level.says} in the last {long}, and it goes on (window of {short}); the objective is {level.objective:.1%}."
      runbook_url: deploy/runbooks/{level.alert}.md
"""


def tests():
    text = head() + 'rule_files: [../slo.yaml]\nevaluation_interval: 1m\ntests:\n'
    for times, minutes, firing in CASES:
        text += test(f'{times:g} times as fast', [(times, minutes)], minutes, firing)
    # The short windows end an alert soon after its cause.
    return text + test('over', [(20, 5), (0, 9)], 13, [])


def test(name, course, at, firing):
    """All levels at once: what promtool does for a test is to play it from its beginning."""
    text = f'- name: {name}\n  interval: 1m\n  input_series:\n'
    for level in LEVELS:
        for index, (series, _) in enumerate(level.series(1)):
            series = series.replace('NAMESPACE', 'namespace="chat"')
            text += f"  - series: '{series}'\n    values: '{values(level, index, course)}'\n"
    text += '  alert_rule_test:\n'
    for level in LEVELS:
        text += f'  - eval_time: {at}m\n    alertname: {level.alert}\n'
        text += '    exp_alerts:\n' if firing else '    exp_alerts: []\n'
        for burn in firing:
            text += expected(level, course[0][0], *BURNS[burn])
    return text


def values(level, index, course):
    """A course as promtool writes one, one phase after the other; counters go on from where they were."""
    phases, start = [], 0
    for times, minutes in course:
        thousandths = round(times * (1 - level.objective) * 1000, 6)
        begin, step = level.series(thousandths)[index][1].split('+')
        begin, step = float(begin), float(step)
        phases.append(f'{begin or start:g}+{step:g}x{minutes}')
        start += step * (minutes + 1)
    return ' '.join(phases)


def expected(level, times, severity, long, short, burn, _lasting):
    share = f'{times * (1 - level.objective) * 100:.4g}%'
    return f"""    - exp_labels: {{ namespace: chat, severity: {severity}, long: {long}, short: {short} }}
      exp_annotations:
        summary: "{level.summary}: the budget of 30 days burns {burn:g} times as fast as it may"
        description: "{share} {level.says} in the last {long}, and it goes on (window of {short}); the objective is {level.objective:.1%}."
        runbook_url: deploy/runbooks/{level.alert}.md
"""


if __name__ == '__main__':
    here = Path(__file__).parent
    (here / 'slo.yaml').write_text(rules())
    (here / 'tests/slo.yaml').write_text(tests())
