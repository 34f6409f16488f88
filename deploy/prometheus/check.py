"""Checks rules, their tests, alertmanager's configuration and the runbooks.

`check.py PROMTOOL AMTOOL`; needs PyYAML. The last line is `N passed, N failed`.
"""

import re
import subprocess
import sys
from pathlib import Path

import yaml

import slo

HERE = Path(__file__).parent
RUNBOOKS = HERE.parent / 'runbooks'
RULES = [HERE / name for name in ('slo.yaml', 'dependencies.yaml', 'saturation.yaml')]
TESTS = sorted((HERE / 'tests').glob('*.yaml'))
ALERTMANAGER = HERE / 'alertmanager.yaml'
# What a test's input is called, out of an expression: the words of PromQL are not followed by anything of ours.
METRIC = re.compile(r'(?<![\w:])(?:parley|process)_\w+(?![\w:])|\bup(?=\{)')

failures = []
passed = 0


def check(what, problems):
    global passed
    problems = list(problems)
    if problems:
        failures.append(what)
        print(f'FAILED: {what}')
        for problem in problems:
            print(f'    {problem}')
    else:
        passed += 1
        print(f'ok: {what}')


def tool(what, *command):
    result = subprocess.run(command, capture_output=True, text=True, cwd=HERE)
    check(what, [] if result.returncode == 0 else (result.stdout + result.stderr).splitlines())


def all_rules():
    for file in RULES:
        for group in yaml.safe_load(file.read_text())['groups']:
            yield from group['rules']


def key(rule):
    """Alerts of one name differ in the labels that their rule gives them."""
    return (rule['alert'], *sorted(rule['labels'].items()))


def metrics_of(expression, recorded, seen=()):
    """The metrics behind an expression, through recorded rules."""
    names = set(METRIC.findall(expression))
    for name, behind in recorded.items():
        if name in expression and name not in seen:
            names |= metrics_of(behind, recorded, (*seen, name))
    return names


def cases(alerts):
    """Per alert: how often a test says that it fires, and that it is quiet though all that it looks at is there."""
    firing, quiet = {}, {}
    for file in TESTS:
        for test in yaml.safe_load(file.read_text())['tests']:
            given = {series['series'].split('{')[0] for series in test['input_series']}
            for case in test['alert_rule_test']:
                expected = [alert['exp_labels'] for alert in case['exp_alerts']]
                for name, metrics in alerts.items():
                    if name[0] != case['alertname']:
                        continue
                    labels = dict(name[1:])
                    fires = any(labels.items() <= alert.items() for alert in expected)
                    if fires:
                        firing[name] = firing.get(name, 0) + 1
                    elif metrics <= given:
                        quiet[name] = quiet.get(name, 0) + 1
    return firing, quiet


def check_tests(rules):
    recorded = {rule['record']: rule['expr'] for rule in rules if 'record' in rule}
    alerts = {key(rule): metrics_of(rule['expr'], recorded) for rule in rules if 'alert' in rule}
    firing, quiet = cases(alerts)
    check('every alert has a test in which it fires', (f'{name} has none' for name in alerts if name not in firing))
    check('every alert has a test in which it is quiet', (f'{name} has none' for name in alerts if name not in quiet))


def check_words(rules):
    problems = []
    for rule in (rule for rule in rules if 'alert' in rule):
        name, notes = rule['alert'], rule['annotations']
        if not name.startswith('Parley'):
            problems.append(f'{name} does not begin with Parley')
        if rule['labels'].get('severity') not in ('page', 'ticket'):
            problems.append(f'{name} is neither a page nor a ticket')
        if set(notes) != {'summary', 'description', 'runbook_url'}:
            problems.append(f'{name} says {sorted(notes)}')
        if notes.get('runbook_url') != f'deploy/runbooks/{name}.md':
            problems.append(f'{name} has the runbook {notes.get("runbook_url")}')
    check('every alert has a severity, a summary, a description and its runbook', problems)


def check_runbooks(alerts):
    pages = {page.stem: page.read_text() for page in RUNBOOKS.glob('Parley*.md')}
    problems = [f'{name} has no page' for name in sorted(alerts - set(pages))]
    problems += [f'{name}.md is of no alert' for name in sorted(set(pages) - alerts)]
    for name, text in sorted(pages.items()):
        wanted = [f'# {name}', '## What it means', '## Look', '## Do']
        problems += [f'{name}.md lacks "{head}"' for head in wanted if f'{head}\n' not in text]
        problems += [f'{name}.md speaks of {other}, which is no alert'
                     for other in re.findall(r'\bParley[A-Z]\w+', text) if other not in alerts]
    check('every alert has a runbook, and every runbook an alert', problems)


def check_inhibition(rules):
    severities = {}
    for rule in (rule for rule in rules if 'alert' in rule):
        severities.setdefault(rule['alert'], set()).add(rule['labels']['severity'])
    problems = []
    for rule in yaml.safe_load(ALERTMANAGER.read_text())['inhibit_rules']:
        sources, targets = (re.findall(r'\bParley\w+', str(rule[side])) for side in ('source_matchers', 'target_matchers'))
        problems += [f'{name} is no alert' for name in sources + targets if name not in severities]
        if 'namespace' not in rule['equal']:
            problems.append(f'{sources} inhibits other installations too')
        for source in sources:
            # Whoever is woken by nothing must not be kept from being woken.
            if severities.get(source) == {'ticket'}:
                problems += [f'{source} is a ticket and inhibits the page {target}'
                             for target in targets if 'page' in severities.get(target, ())]
    check('what inhibits and is inhibited is an alert, and no ticket inhibits a page', problems)


def main(promtool, amtool):
    check('slo.yaml and tests/slo.yaml are what slo.py writes', (
        f'{file.relative_to(HERE)} is not: run slo.py'
        for file, text in [(HERE / 'slo.yaml', slo.rules()), (HERE / 'tests/slo.yaml', slo.tests())]
        if file.read_text() != text
    ))
    for file in RULES:
        tool(f'promtool check rules {file.name}', promtool, 'check', 'rules', file)
    for file in TESTS:
        tool(f'promtool test rules {file.name}', promtool, 'test', 'rules', file)
    tool('amtool check-config', amtool, 'check-config', ALERTMANAGER)
    rules = list(all_rules())
    check_tests(rules)
    check_words(rules)
    check_runbooks({rule['alert'] for rule in rules if 'alert' in rule})
    check_inhibition(rules)
    print(f'{passed} passed, {len(failures)} failed')
    return 1 if failures else 0


if __name__ == '__main__':
    sys.exit(main(*sys.argv[1:]))
