"""Connections and rooms."""

from grafana import Panel, dashboard, quantile, rate, row, total
from parts import process

DASHBOARD = dashboard(
    'gateway',
    'Gateway',
    'Socket.IO connections and rooms, by pod.',
    [
        row(
            'Connections',
            Panel(
                'Open',
                [(total('parley_gateway_connections', 'pod'), '{{pod}}')],
                'Connections now.',
                runbook='ParleyConnectionsNearLimit',
            ),
            Panel(
                'Opened',
                [(rate('parley_gateway_opened_total', 'transport'), '{{transport}}')],
                'A second, by first transport.',
                unit='cps',
                stacked=True,
            ),
            Panel(
                'Closed',
                [(rate('parley_gateway_closed_total', 'reason') + ' > 0', '{{reason}}')],
                'A second, by reason.',
                unit='cps',
                stacked=True,
                empty='nobody has left',
                runbook='ParleySlowConsumers',
            ),
            Panel(
                'CONNECTs',
                [(rate('parley_gateway_connects_total', 'outcome'), '{{outcome}}')],
                'Namespaces asked for with a token, by outcome.',
                unit='cps',
            ),
            Panel(
                'Refused',
                [(rate('parley_gateway_refused_total', 'reason') + ' > 0', '{{reason}}')],
                'Handshakes and connections, by reason.',
                unit='cps',
                empty='nobody was refused',
                runbook='ParleyConnectionsRefused',
            ),
            Panel(
                'Sent away',
                [(rate('parley_gateway_sent_away_total', 'reason'), '{{reason}}')],
                'Connections closed because a token ended or was revoked, or a join could not be answered.',
                unit='cps',
                runbook='ParleyJoinsTimeOut',
            ),
            Panel(
                'Tokens refreshed',
                [(rate('parley_gateway_refreshes_total', 'outcome'), '{{outcome}}')],
                'New tokens of open connections, by outcome.',
                unit='cps',
            ),
            Panel(
                'Left to drain',
                [(total('parley_gateway_drain_remaining', 'pod'), '{{pod}}')],
                'Connections that a pod which goes has still to close.',
            ),
            Panel(
                'Ready',
                [(total('parley_ready', 'pod', 'job="parley-gateway"'), '{{pod}}')],
                '1 while the pod wants new connections.',
                most=1,
                runbook='ParleyPodNotReady',
            ),
        ),
        row(
            'Rooms',
            Panel('Rooms', [(total('parley_gateway_rooms', 'pod'), '{{pod}}')], 'Chats that each pod listens to.'),
            Panel(
                'Joins',
                [(rate('parley_gateway_joins_total', 'outcome'), '{{outcome}}')],
                'Joins and leaves that were answered, by outcome.',
                unit='cps',
                runbook='ParleyJoinsTimeOut',
            ),
            Panel(
                'Replayed',
                [
                    (rate('parley_gateway_replayed_total'), 'missed events'),
                    (rate('parley_gateway_resyncs_total', 'reason'), 'told to reload, {{reason}}'),
                ],
                'What connections were told on their way into a room.',
                unit='cps',
            ),
            Panel(
                'Evicted',
                [(rate('parley_gateway_evicted_total', 'pod'), '{{pod}}')],
                'Connections that left a room because their user was removed.',
                unit='cps',
            ),
            Panel(
                'Asks',
                [(rate('parley_gateway_asks_total', 'kind'), '{{kind}}')],
                'Questions that cost an api pod a look into its database.',
                unit='cps',
            ),
            Panel(
                'Asked together',
                [
                    (
                        f'{rate("parley_gateway_asked_together_total", "kind")} / ({rate("parley_gateway_asks_total", "kind")} > 0)',
                        '{{kind}}',
                    )
                ],
                'How many joins or tokens one ask was about: many in a storm.',
            ),
            Panel(
                'Time of an ask',
                [(f'{quantile(0.99, "parley_bus_ask_seconds", "ask")} > 0', '{{ask}}')],
                'The time that 99 % do not exceed.',
                unit='s',
            ),
            Panel(
                'Asks that fail',
                [(rate('parley_bus_asks_failed_total', 'ask, reason') + ' > 0', '{{ask}}, {{reason}}')],
                'They are asked again.',
                unit='cps',
                empty='every ask was answered',
            ),
            Panel(
                'Presence',
                [
                    (total('parley_presence_up', 'pod', 'job="parley-gateway"'), '{{pod}}'),
                    (rate('parley_presence_untold_total', 'pod', 'job="parley-gateway"'), '{{pod}}, in vain a second'),
                ],
                'Whether Redis is told who is connected.',
                runbook='ParleyPresenceUnknown',
            ),
        ),
        row(
            'Bytes',
            Panel(
                'Payload',
                [(rate('parley_gateway_bytes_total', 'direction'), '{{direction}}')],
                'Bytes a second.',
                unit='Bps',
            ),
            Panel(
                'Messages',
                [(rate('parley_gateway_frames_total', 'direction'), '{{direction}}')],
                'Engine.IO packets a second.',
                unit='cps',
            ),
            Panel(
                'Waiting to be written',
                [(total('parley_gateway_outbox_bytes', 'pod'), '{{pod}}')],
                'To all connections together; one that has too much is closed.',
                unit='bytes',
                runbook='ParleySlowConsumers',
            ),
            Panel(
                'Messages waiting',
                [(total('parley_gateway_outbox_messages', 'pod'), '{{pod}}')],
                'The same in messages.',
                runbook='ParleySlowConsumers',
            ),
            Panel(
                'Reading paused',
                [(rate('parley_gateway_inbox_pauses_total', 'pod'), '{{pod}}')],
                'Connections that send faster than they are served.',
                unit='cps',
            ),
        ),
        row(
            'Without sticky sessions',
            Panel(
                'Upgrades',
                [(rate('parley_gateway_upgrades_total', 'outcome'), '{{outcome}}')],
                'From polling to a WebSocket.',
                unit='cps',
            ),
            Panel(
                'Polls passed on',
                [(rate('parley_gateway_forwards_total', 'outcome'), '{{outcome}}')],
                "Polls of other pods' sessions, by outcome.",
                unit='cps',
            ),
            Panel(
                'Sessions moved',
                [(rate('parley_gateway_moves_total', 'outcome'), '{{outcome}}')],
                'To or from another pod, by outcome.',
                unit='cps',
            ),
        ),
        process('gateway'),
    ],
    job='gateway',
)
