"""From the commit to the sockets."""

from grafana import Panel, dashboard, quantile, quantiles, rate, row, total
from parts import GATEWAYS, RARE

DASHBOARD = dashboard(
    'delivery',
    'Delivery',
    'From the commit to the sockets: what is late, and what is lost and repaired.',
    [
        row(
            'The way',
            Panel(
                'From commit to sockets',
                quantiles('parley_gateway_delivery_seconds')
                + [(quantile(0.999, 'parley_gateway_delivery_seconds'), 'p99.9')],
                'Of what came live.',
                unit='s',
                thresholds=[(1, 'red')],
                runbook='ParleyDeliveryLatencyBudgetBurn',
            ),
            Panel(
                'Events',
                [(rate('parley_bus_published_total'), 'published'), (rate('parley_bus_received_total'), 'received')],
                'Given to NATS by api pods, and received by gateways, a second: each by every gateway with somebody in the room.',
                unit='cps',
            ),
            Panel(
                'Deliveries',
                [(rate('parley_gateway_delivered_total', 'pod'), '{{pod}}')],
                'Handed to connections, a second.',
                unit='cps',
                stacked=True,
            ),
            Panel(
                'Connections that hear an event',
                [
                    (
                        f'{rate("parley_gateway_delivered_total")} / ({rate("parley_bus_received_total")} > 0)',
                        'on one gateway',
                    )
                ],
                'The mean on a gateway.',
            ),
            Panel(
                'Waiting for NATS',
                [(total('parley_bus_queued_events', 'pod', 'job="parley-api"'), '{{pod}}')],
                'Events in the queue before NATS; at 8192, more are dropped.',
                thresholds=[(4096, 'orange'), (8192, 'red')],
                runbook='ParleyPublishDrops',
            ),
            Panel(
                'Confirmed by NATS',
                quantiles('parley_bus_confirm_seconds', 'job="parley-api"'),
                'Until the server has what was given to it.',
                unit='s',
            ),
        ),
        row(
            'Lost and repaired',
            Panel(
                'Not published',
                [(rate('parley_bus_dropped_total', 'reason'), '{{reason}}')],
                'The queue was full, or NATS away: the announcement of heads repairs it.',
                unit='cps',
                thresholds=RARE,
                runbook='ParleyPublishDrops',
            ),
            Panel(
                'Gaps',
                [
                    (rate('parley_gateway_gaps_total', 'pod'), '{{pod}}, gaps'),
                    (rate('parley_gateway_held_total', 'pod'), '{{pod}}, events held'),
                ],
                'Rooms that noticed that something is missing, and events that waited for it. Two api pods that write to one chat make short ones.',
                unit='cps',
            ),
            Panel(
                'Time of a gap',
                quantiles('parley_gateway_gap_seconds'),
                'Until everything missing was told.',
                unit='s',
                empty='no gap',
                runbook='ParleyCompletenessBudgetBurn',
            ),
            Panel(
                'Rooms that miss something',
                [(total('parley_gateway_rooms_behind', 'pod'), '{{pod}}')],
                'Now.',
                runbook='ParleyCompletenessBudgetBurn',
            ),
            Panel(
                'Catch-ups',
                [(rate('parley_gateway_catch_ups_total', 'cause'), '{{cause}}')],
                'Rooms that had to ask for what they missed; 0 while nothing is lost.',
                unit='cps',
                runbook='ParleyEventsLost',
            ),
            Panel(
                'Rooms compared',
                [(rate('parley_gateway_comparisons_total', 'reason'), '{{reason}}')],
                'Times that a pod compared all of its rooms with their chats.',
                unit='cps',
                runbook='ParleyEventsLost',
            ),
            Panel(
                'Cannot be told',
                [
                    (rate('parley_gateway_lost_total', 'reason'), '{{reason}}'),
                    (rate('parley_gateway_overflowed_total'), 'too many to hold'),
                ],
                'Rooms whose connections were closed to come again, and events that will come with a catch-up.',
                unit='cps',
                thresholds=RARE,
                runbook='ParleyRoomsAbandoned',
            ),
            Panel(
                'Swept',
                [(rate('parley_swept_changes_total', 'pod'), '{{pod}}')],
                'Committed and not told by their own pod; told by another one.',
                unit='cps',
            ),
            Panel(
                'Interruptions',
                [
                    (rate('parley_bus_interruptions_total', 'pod'), '{{pod}}'),
                    (rate('parley_bus_heads_lost_total', 'pod'), '{{pod}}, heads left out'),
                    (rate('parley_bus_unreadable_total', 'pod'), '{{pod}}, unreadable'),
                    (rate('parley_bus_typing_dropped_total', 'pod'), '{{pod}}, typing dropped'),
                ],
                'Moments after which something may have been missed.',
                unit='cps',
                thresholds=RARE,
                runbook='ParleyEventsLost',
            ),
        ),
        row(
            'What it costs',
            Panel(
                'Calls of Postgres for each delivery',
                [
                    (
                        f'{rate("parley_store_call_seconds_count")} / ({rate("parley_gateway_delivered_total")} > 0)',
                        'calls',
                    ),
                    (
                        f'{rate("parley_append_batch_messages_count")} / ({rate("parley_gateway_delivered_total")} > 0)',
                        'commits of messages',
                    ),
                    (
                        f'{rate("parley_gateway_asks_total")} / ({rate("parley_gateway_delivered_total")} > 0)',
                        'asks of gateways',
                    ),
                ],
                'A message that is not lost costs gateways no ask, however many hear it.',
                width=12,
            ),
            Panel(
                'CPU for each delivery',
                [
                    (
                        f'{rate("process_cpu_seconds_total", "", GATEWAYS)} / ({rate("parley_gateway_delivered_total")} > 0)',
                        'of gateways',
                    )
                ],
                'Everything that gateways do, divided by what they deliver.',
                unit='s',
                width=12,
            ),
        ),
    ],
)
