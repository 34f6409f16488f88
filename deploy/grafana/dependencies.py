"""What Parley needs, as its pods see it."""

from grafana import Panel, dashboard, quantiles, rate, row, total
from parts import RARE

DASHBOARD = dashboard(
    'dependencies',
    'Dependencies',
    "Postgres, NATS, Redis and the host's keys, as the pods see them.",
    [
        row(
            'Postgres',
            Panel(
                'Up',
                [(total('parley_postgres_up', 'pod'), '{{pod}}')],
                '1 while it answers the pod within 2 s; asked every second.',
                most=1,
                runbook='ParleyPostgresDown',
            ),
            Panel(
                'A question about nothing',
                quantiles('parley_store_call_seconds', 'call="ping"'),
                'How long the same question takes every second, the wait for a connection included.',
                unit='s',
            ),
            Panel('Commit', quantiles('parley_append_seconds'), 'One commit of messages.', unit='s'),
            Panel('Calls', quantiles('parley_store_call_seconds', 'call!="ping"'), 'All other calls.', unit='s'),
            Panel(
                'Connections at work',
                [
                    (
                        f'{total("parley_postgres_connections", "pod, pool")} - {total("parley_postgres_idle_connections", "pod, pool")}',
                        '{{pod}} {{pool}}',
                    )
                ],
                'By pod and pool.',
                runbook='ParleyDatabasePoolExhausted',
            ),
            Panel(
                'Connections of all pods',
                [
                    (total('parley_postgres_connections'), 'open'),
                    (total('parley_postgres_connections_limit'), 'may be open'),
                ],
                'Postgres has to allow the second number.',
            ),
        ),
        row(
            'NATS',
            Panel(
                'Connected',
                [(total('parley_bus_connected', 'pod'), '{{pod}}')],
                '1 while the pod is.',
                most=1,
                runbook='ParleyNatsDown',
            ),
            Panel(
                'Interruptions',
                [(rate('parley_bus_interruptions_total', 'pod'), '{{pod}}')],
                'Disconnects and overrun subscriptions, a second.',
                unit='cps',
                thresholds=RARE,
                runbook='ParleyEventsLost',
            ),
            Panel(
                'Confirmed',
                quantiles('parley_bus_confirm_seconds', 'job="parley-api"'),
                'Until the server has what was given to it: its round trip.',
                unit='s',
            ),
            Panel(
                'Asks',
                quantiles('parley_bus_ask_seconds'),
                "A gateway's question and an api pod's answer, the database included.",
                unit='s',
            ),
            Panel(
                'Asks that fail',
                [(rate('parley_bus_asks_failed_total', 'reason'), '{{reason}}')],
                'They are asked again.',
                unit='cps',
                thresholds=RARE,
                runbook='ParleyJoinsTimeOut',
            ),
            Panel(
                'Dropped',
                [(rate('parley_bus_dropped_total', 'reason'), '{{reason}}')],
                'Events that NATS was not given.',
                unit='cps',
                thresholds=RARE,
                runbook='ParleyPublishDrops',
            ),
        ),
        row(
            'Redis',
            Panel(
                'Limits',
                [(total('parley_redis_up', 'pod'), '{{pod}}')],
                '1 while Redis decides for the pod.',
                most=1,
                runbook='ParleyRedisDown',
            ),
            Panel(
                'Presence',
                [(total('parley_presence_up', 'pod'), '{{pod}}')],
                '1 while Redis can be asked and told who is online.',
                most=1,
                runbook='ParleyPresenceUnknown',
            ),
            Panel(
                'Time of a decision',
                quantiles('parley_limiter_redis_seconds'),
                'Until Redis had decided about a send.',
                unit='s',
            ),
            Panel(
                'Who decides',
                [(rate('parley_limiter_decisions_total', 'source'), '{{source}}')],
                'Redis, or each pod for itself.',
                unit='cps',
                runbook='ParleyRedisDown',
            ),
            Panel(
                'Memory restored',
                [
                    (rate('parley_limiter_merges_total'), 'windows'),
                    (rate('parley_presence_untold_total'), 'presence, in vain'),
                ],
                'What Redis had lost and was told, and what it could not be told.',
                unit='cps',
            ),
        ),
        row(
            'Files and documents',
            Panel(
                'Storage of files',
                [(rate('parley_storage_failures_total', 'operation'), '{{operation}}')],
                'Files that their storage did not take or give.',
                unit='cps',
                thresholds=RARE,
                runbook='ParleyFileStorageFailing',
            ),
            Panel(
                'Keys',
                [(rate('parley_document_fetches_total', 'document, outcome'), '{{document}}, {{outcome}}')],
                "Fetches of the host's public keys.",
                unit='cps',
                runbook='ParleyKeysNotFetched',
            ),
        ),
    ],
)
