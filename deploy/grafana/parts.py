"""What several dashboards show."""

from grafana import Panel, rate, row, total

SENDS = 'route="/api/chat/{id}/messages",method="POST"'
GATEWAYS = 'job="parley-gateway"'
UP = {'1': ('up', 'green'), '0': ('down', 'red')}
RARE = [(0.001, 'red')]
FULL = [(0.8, 'orange'), (1, 'red')]


def share(used, limit, by='pod', labels=''):
    return f'{total(used, by, labels)} / {total(limit, by, labels)}'


def level(name):
    """How many times as fast as it may an error budget burns, over short and long windows."""
    objective = {'send_error': 0.001, 'send_latency': 0.01, 'delivery_latency': 0.01, 'completeness': 0.001}[name]
    rule = f'namespace:parley_{name}:ratio_rate'
    return [(f'{rule}{window}{{namespace=~"$namespace"}} / {objective}', window) for window in ('5m', '1h', '6h', '3d')]


def burn(title, name, alert, description):
    return Panel(
        title,
        level(name),
        description,
        thresholds=[(1, 'orange'), (14.4, 'red')],
        width=6,
        runbook=alert,
    )


def status(title, metric, alert, description):
    queries = [(total(metric, function='min'), '')]
    return Panel(title, queries, description, kind='stat', words=UP, width=4, runbook=alert)


def process(job):
    """What is the same for every pod."""
    job = f'job="parley-{job}"'
    return row(
        'Process',
        Panel('CPU', [(rate('process_cpu_seconds_total', 'pod', job), '{{pod}}')], 'Cores that each pod uses.'),
        Panel(
            'Memory',
            [(total('process_resident_memory_bytes', 'pod', job), '{{pod}}')],
            'What each pod occupies of the memory.',
            unit='bytes',
        ),
        Panel(
            'File descriptors',
            [(share('process_open_fds', 'process_max_fds', labels=job), '{{pod}}')],
            'How much of its limit each pod has open: sockets, mostly.',
            unit='percentunit',
            thresholds=FULL,
            runbook='ParleyDescriptorsNearLimit',
        ),
        Panel(
            'Workers at work',
            [
                (
                    f'{rate("parley_runtime_busy_seconds_total", "pod", job)} / {total("parley_runtime_workers", "pod", job)}',
                    '{{pod}}',
                )
            ],
            'How much of its time a thread of the async runtime is at work. Near 100 %, everything waits.',
            unit='percentunit',
            thresholds=FULL,
        ),
        Panel(
            'Tasks',
            [
                (total('parley_runtime_tasks', 'pod', job), '{{pod}}'),
                (total('parley_runtime_queued_tasks', 'pod', job), '{{pod}}, could go on'),
            ],
            'Tasks of the async runtime, and those of them that wait for a thread.',
        ),
        Panel(
            'Threads and sleeps',
            [
                (total('process_threads', 'pod', job), '{{pod}}, threads'),
                (rate('parley_runtime_parks_total', 'pod', job), '{{pod}}, sleeps a second'),
            ],
            'Threads of each pod, and how often one of its workers found nothing to do: few sleeps of a busy pod are saturation.',
        ),
    )
