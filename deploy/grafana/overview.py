"""What an on-call looks at first."""

from grafana import Panel, dashboard, pick, quantiles, rate, row, total
from parts import FULL, RARE, SENDS, burn, share, status

DASHBOARD = dashboard(
    'overview',
    'Overview',
    'What an on-call looks at first.',
    [
        row(
            'Promises',
            Panel(
                'Alerts',
                [
                    (
                        'count by (alertname, severity) (ALERTS{alertstate="firing",alertname=~"Parley.*",namespace=~"$namespace"})',
                        '{{alertname}} ({{severity}})',
                    )
                ],
                'What fires now. A page each: deploy/runbooks.',
                kind='stat',
                empty='nothing fires',
                width=24,
                thresholds=[(1, 'red')],
            ),
            burn(
                'Sends that fail',
                'send_error',
                'ParleySendErrorBudgetBurn',
                'How fast the budget of failed sends burns; at 1, a month uses it up. Objective: 99.9 % without a 5xx.',
            ),
            burn(
                'Sends that are slow',
                'send_latency',
                'ParleySendLatencyBudgetBurn',
                'The same of sends of more than 500 ms. Objective: 99 % are faster.',
            ),
            burn(
                'Messages that come late',
                'delivery_latency',
                'ParleyDeliveryLatencyBudgetBurn',
                'The same of events that a room heard more than 1 s after the commit. Objective: 99 % are faster.',
            ),
            burn(
                'Rooms that miss something',
                'completeness',
                'ParleyCompletenessBudgetBurn',
                'The same of the time that rooms miss something, or cannot know. Objective: 99.9 % of the time they have all.',
            ),
        ),
        row(
            'Needed',
            status(
                'Postgres',
                'parley_postgres_up',
                'ParleyPostgresDown',
                'Whether every api pod reaches Postgres. Without it nothing is sent or read; sockets stay.',
            ),
            status(
                'NATS',
                'parley_bus_connected',
                'ParleyNatsDown',
                'Whether every pod is connected. Without it messages are stored, and nobody hears of them.',
            ),
            status(
                'Redis, limits',
                'parley_redis_up',
                'ParleyRedisDown',
                'Whether Redis decides about limits for every api pod. Without it each pod limits by itself.',
            ),
            status(
                'Redis, presence',
                'parley_presence_up',
                'ParleyPresenceUnknown',
                'Whether Redis can be asked who is online. Without it nobody is known to be.',
            ),
            Panel(
                'Pods that are ready',
                [(total('parley_ready', 'job'), '{{job}}')],
                'Pods that want traffic.',
                kind='stat',
                width=4,
                runbook='ParleyPodNotReady',
            ),
            Panel(
                'Releases',
                [(f'count by (service, version) ({pick("parley_build_info")})', '{{service}} {{version}}')],
                'Which builds run, on how many pods: two of a service while one replaces the other.',
                kind='stat',
                width=4,
            ),
        ),
        row(
            'Traffic',
            Panel(
                'Messages',
                [
                    (rate('parley_messages_appended_total'), 'committed'),
                    (rate('parley_bus_published_total'), 'published'),
                ],
                'Messages committed, and events given to NATS, a second.',
                unit='cps',
                width=6,
            ),
            Panel(
                'Deliveries',
                [(rate('parley_gateway_delivered_total', 'pod'), '{{pod}}')],
                'Events handed to connections, a second.',
                unit='cps',
                stacked=True,
                width=6,
            ),
            Panel(
                'Connections',
                [(total('parley_gateway_connections', 'pod'), '{{pod}}')],
                'Open Socket.IO connections.',
                stacked=True,
                width=6,
            ),
            Panel(
                'Requests',
                [
                    (
                        f'sum by (class) (label_replace(rate({pick("parley_http_requests_total")}[$__rate_interval]), "class", "${{1}}xx", "status", "(.)..")) > 0',
                        '{{class}}',
                    )
                ],
                'REST requests by the class of their status, a second.',
                unit='reqps',
                stacked=True,
                width=6,
            ),
        ),
        row(
            'Times',
            Panel(
                'Send',
                quantiles('parley_http_request_seconds', SENDS),
                'From the request to its answer, at the api pods.',
                unit='s',
                thresholds=[(0.5, 'red')],
            ),
            Panel(
                'Delivery',
                quantiles('parley_gateway_delivery_seconds'),
                'From the commit until the sockets of a room have it; clocks of pods have to agree.',
                unit='s',
                thresholds=[(1, 'red')],
            ),
            Panel('Commit', quantiles('parley_append_seconds'), 'One commit of messages.', unit='s'),
        ),
        row(
            'How full',
            Panel(
                'Connections',
                [(share('parley_gateway_connections', 'parley_gateway_connections_limit'), '{{pod}}')],
                'Of the connections that each gateway may have.',
                unit='percentunit',
                thresholds=FULL,
                width=6,
                runbook='ParleyConnectionsNearLimit',
            ),
            Panel(
                'Requests',
                [(share('parley_http_requests_under_way', 'parley_http_requests_limit'), '{{pod}}')],
                'Of the requests that each api pod may have under way.',
                unit='percentunit',
                thresholds=FULL,
                width=6,
                runbook='ParleyRequestsShed',
            ),
            Panel(
                'Other places of api pods',
                [
                    (share('parley_http_connections', 'parley_http_connections_limit'), '{{pod}}, connections'),
                    (share('parley_uploads', 'parley_uploads_limit'), '{{pod}}, uploads'),
                    (share('parley_downloads', 'parley_downloads_limit'), '{{pod}}, downloads'),
                ],
                'Of the connections, uploads and downloads that each may have.',
                unit='percentunit',
                thresholds=FULL,
                width=6,
            ),
            Panel(
                'Sends that wait',
                [(share('parley_append_queued_messages', 'parley_append_queued_messages_limit'), '{{pod}}')],
                'Of the messages that may wait for their commit.',
                unit='percentunit',
                thresholds=FULL,
                width=6,
                runbook='ParleyAppenderRefuses',
            ),
            Panel(
                'Connections to Postgres at work',
                [
                    (
                        f'({total("parley_postgres_connections", "pod, pool")} - {total("parley_postgres_idle_connections", "pod, pool")}) / {total("parley_postgres_connections_limit", "pod, pool")}',
                        '{{pod}} {{pool}}',
                    )
                ],
                'Of those that there may be. The one for sends is in use as long as sends come.',
                unit='percentunit',
                width=6,
                runbook='ParleyDatabasePoolExhausted',
            ),
            Panel(
                'CPU',
                [(rate('process_cpu_seconds_total', 'pod', 'job=~"parley-.+"'), '{{pod}}')],
                'Cores that each pod uses.',
                width=9,
            ),
            Panel(
                'Memory',
                [(total('process_resident_memory_bytes', 'pod', 'job=~"parley-.+"'), '{{pod}}')],
                'What each pod occupies.',
                unit='bytes',
                width=9,
            ),
        ),
        row(
            'Refused, dropped, lost',
            Panel(
                'Refused',
                [
                    (rate('parley_http_shed_total'), 'requests shed'),
                    (rate('parley_append_refused_total', 'reason'), 'sends, {{reason}}'),
                    (rate('parley_gateway_refused_total', '', 'reason=~"full|too_many_connections"'), 'connections'),
                    (rate('parley_uploads_refused_total'), 'uploads'),
                    (rate('parley_downloads_refused_total'), 'downloads'),
                ],
                'For which there was no room, a second; all are tried again by their clients.',
                unit='cps',
                thresholds=RARE,
            ),
            Panel(
                'Dropped on the way',
                [
                    (rate('parley_bus_dropped_total', 'reason'), 'not published, {{reason}}'),
                    (rate('parley_gateway_overflowed_total'), 'not held'),
                    (rate('parley_bus_unreadable_total'), 'unreadable'),
                ],
                'Events that took the long way: gateways notice and catch up.',
                unit='cps',
                thresholds=RARE,
                runbook='ParleyPublishDrops',
            ),
            Panel(
                'Clients sent back',
                [
                    (
                        rate(
                            'parley_gateway_closed_total',
                            'reason',
                            'reason=~"slow_consumer|write_timeout|ping_timeout"',
                        )
                        + ' > 0',
                        '{{reason}}',
                    ),
                    (rate('parley_gateway_lost_total'), 'rooms that cannot be told'),
                    (rate('parley_gateway_resyncs_total'), 'told to reload'),
                ],
                'Connections closed for what they did not do, and those that had to load anew.',
                unit='cps',
                runbook='ParleySlowConsumers',
            ),
        ),
    ],
)
