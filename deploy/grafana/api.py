"""The REST interface and what is behind it."""

from grafana import Panel, dashboard, mean, quantile, quantiles, rate, row, total
from parts import FULL, RARE, process, share

DASHBOARD = dashboard(
    'api',
    'API',
    'The REST interface and what is behind it, by pod.',
    [
        row(
            'Requests',
            Panel(
                'By route',
                [(f'{rate("parley_http_requests_total", "route, method")} > 0', '{{method}} {{route}}')],
                'Requests answered, a second.',
                unit='reqps',
                width=12,
            ),
            Panel(
                'By status',
                [(f'{rate("parley_http_requests_total", "status")} > 0', '{{status}}')],
                'The same by status.',
                unit='reqps',
                stacked=True,
                width=12,
            ),
            Panel(
                'Failures',
                [
                    (
                        rate('parley_http_requests_total', 'route, method', 'status=~"5.."') + ' > 0',
                        '{{method}} {{route}}',
                    )
                ],
                'Answers of 5xx, a second, by route.',
                unit='reqps',
                empty='no 5xx',
                runbook='ParleySendErrorBudgetBurn',
            ),
            Panel(
                'Requests, p99',
                [(quantile(0.99, 'parley_http_request_seconds', 'route, method') + ' > 0', '{{method}} {{route}}')],
                'The time that 99 % of the requests do not exceed, by route.',
                unit='s',
            ),
            Panel(
                'Requests, mean',
                [(mean('parley_http_request_seconds', 'route, method') + ' > 0', '{{method}} {{route}}')],
                'The mean time, by route.',
                unit='s',
            ),
            Panel(
                'Under way',
                [(total('parley_http_requests_under_way', 'pod'), '{{pod}}')],
                'Requests that are being answered.',
            ),
            Panel(
                'Connections',
                [(total('parley_http_connections', 'pod'), '{{pod}}')],
                'Connections of clients and balancers.',
            ),
            Panel(
                'Shed, and panics',
                [
                    (rate('parley_http_shed_total', 'pod'), '{{pod}}, shed'),
                    (rate('parley_http_panics_total', 'pod'), '{{pod}}, panicked'),
                ],
                'Requests refused because too many were under way, and handlers that panicked: bugs.',
                unit='reqps',
                thresholds=RARE,
                runbook='ParleyRequestsShed',
            ),
        ),
        row(
            'Sends',
            Panel(
                'Committed',
                [(rate('parley_messages_appended_total', 'pod'), '{{pod}}')],
                'Messages, a second.',
                unit='cps',
                stacked=True,
            ),
            Panel(
                'Messages of a commit',
                [
                    (mean('parley_append_batch_messages'), 'mean'),
                    (quantile(0.99, 'parley_append_batch_messages'), 'p99'),
                ],
                'The busier, the more go into one.',
            ),
            Panel(
                'Commits',
                [
                    (rate('parley_append_batch_messages_count', 'pod'), '{{pod}}'),
                    (rate('parley_append_one_by_one_total', 'pod'), '{{pod}}, one by one'),
                    (rate('parley_append_halved_total', 'pod'), '{{pod}}, halved'),
                ],
                'Commits a second; those that looked at their messages one by one because of a retry or a refusal; and those halved because of something that Postgres could not take: bugs.',
                unit='cps',
            ),
            Panel('Time of a commit', quantiles('parley_append_seconds'), 'One round trip to Postgres.', unit='s'),
            Panel(
                'Wait for a commit',
                quantiles('parley_append_wait_seconds'),
                'From the moment that a send was ready.',
                unit='s',
            ),
            Panel(
                'Waiting',
                [
                    (total('parley_append_queued_messages', 'pod'), '{{pod}}'),
                    (total('parley_append_lanes', 'pod'), '{{pod}}, chats locked elsewhere'),
                ],
                'Messages that wait or are in a commit, and chats whose messages wait for a lock of somebody else.',
                runbook='ParleyAppenderRefuses',
            ),
            Panel(
                'Bytes waiting',
                [(share('parley_append_queued_bytes', 'parley_append_queued_limit_bytes'), '{{pod}}')],
                'Of what may wait.',
                unit='percentunit',
                thresholds=FULL,
                runbook='ParleyAppenderRefuses',
            ),
            Panel(
                'Refused',
                [(rate('parley_append_refused_total', 'pod, reason'), '{{pod}} {{reason}}')],
                'Before anything was done; clients try again.',
                unit='cps',
                thresholds=RARE,
                runbook='ParleyAppenderRefuses',
            ),
            Panel(
                'Told late',
                [(rate('parley_swept_changes_total', 'pod'), '{{pod}}')],
                'Changes that the pod which made them did not tell, and another one found: a pod died, or NATS was away.',
                unit='cps',
            ),
        ),
        row(
            'Limits',
            Panel(
                'Decisions',
                [(rate('parley_limiter_decisions_total', 'source, outcome') + ' > 0', '{{outcome}} by {{source}}')],
                'Attempts to send, by who decided and what.',
                unit='cps',
                stacked=True,
                runbook='ParleyRedisDown',
            ),
            Panel('Time of Redis', quantiles('parley_limiter_redis_seconds'), 'Until Redis had decided.', unit='s'),
            Panel(
                'Memory restored',
                [(rate('parley_limiter_merges_total', 'pod'), '{{pod}}')],
                'Windows of users that Redis did not have and was told: many, when it has lost its memory.',
                unit='cps',
            ),
        ),
        row(
            'Postgres',
            Panel(
                'Calls',
                [(f'{rate("parley_store_call_seconds_count", "call")} > 0', '{{call}}')],
                'Calls a second, by what they are about; commits of messages are above.',
                unit='cps',
                stacked=True,
            ),
            Panel(
                'Calls, p99',
                [(f'{quantile(0.99, "parley_store_call_seconds", "call")} > 0', '{{call}}')],
                'The time that 99 % of the calls do not exceed, the wait for a connection included.',
                unit='s',
            ),
            Panel(
                'Connections',
                [
                    (total('parley_postgres_connections', 'pool'), '{{pool}}'),
                    (total('parley_postgres_idle_connections', 'pool'), '{{pool}}, idle'),
                    (total('parley_postgres_connections_limit', 'pool'), '{{pool}}, limit'),
                ],
                'Of all pods, by pool.',
                runbook='ParleyDatabasePoolExhausted',
            ),
        ),
        row(
            'Questions of gateways',
            Panel(
                'Answers',
                [(f'{rate("parley_bus_answer_seconds_count", "ask")} > 0', '{{ask}}')],
                'Asks answered, a second.',
                unit='cps',
                stacked=True,
                width=12,
            ),
            Panel(
                'Answers, p99',
                [(f'{quantile(0.99, "parley_bus_answer_seconds", "ask")} > 0', '{{ask}}')],
                'The time to answer that 99 % do not exceed.',
                unit='s',
                width=12,
            ),
        ),
        row(
            'Hook before a message',
            Panel(
                'Verdicts',
                [(rate('parley_before_message_total', 'outcome'), '{{outcome}}')],
                'Messages about which the host application was asked: late, full and failed are no verdicts.',
                unit='cps',
                runbook='ParleyBeforeMessageFailing',
            ),
            Panel(
                'Time',
                quantiles('parley_before_message_seconds'),
                'Until there was a verdict, or none: every sender waits for it.',
                unit='s',
                empty='nobody was asked',
            ),
            Panel(
                'Calls',
                [
                    (total('parley_before_message_calls', 'pod'), '{{pod}}'),
                    (total('parley_before_message_calls_limit', 'pod') + ' > 0', '{{pod}}, most'),
                ],
                'Under way; above that they wait.',
            ),
        ),
        row(
            'Files',
            Panel(
                'Uploads',
                [
                    (total('parley_uploads', 'pod'), '{{pod}}'),
                    (rate('parley_uploads_refused_total', 'pod'), '{{pod}}, refused a second'),
                ],
                'Under way.',
                runbook='ParleyUploadsRefused',
            ),
            Panel(
                'Downloads',
                [
                    (total('parley_downloads', 'pod'), '{{pod}}'),
                    (rate('parley_downloads_refused_total', 'pod'), '{{pod}}, refused a second'),
                ],
                'Under way.',
                runbook='ParleyDownloadsRefused',
            ),
            Panel(
                'Objects removed',
                [
                    (rate('parley_objects_removed_total', 'pod'), '{{pod}}'),
                    (rate('parley_objects_left_total', 'pod'), '{{pod}}, failed'),
                ],
                'Of deleted messages and of uploads that came to nothing.',
                unit='cps',
                runbook='ParleyObjectsNotRemoved',
            ),
        ),
        process('api'),
    ],
    job='api',
)
