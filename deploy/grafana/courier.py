"""Webhooks: what waits, what arrives, and who does not answer."""

from grafana import Panel, dashboard, quantile, quantiles, rate, row, total
from parts import RARE, process

COUNTED = 'Every courier tells of all of them.'

DASHBOARD = dashboard(
    'courier',
    'Courier',
    'From the commit to the servers of the host application: deliveries, failures, what waits.',
    [
        row(
            'Deliveries',
            Panel(
                'From the commit to the answer',
                quantiles('parley_courier_delivery_seconds'),
                'Of deliveries that were made; those that had failed before are among them.',
                unit='s',
                empty='nothing was delivered',
                runbook='ParleyWebhooksFailing',
            ),
            Panel(
                'Attempts',
                [(rate('parley_courier_attempt_seconds_count', 'outcome'), '{{outcome}}')],
                'By what came of them.',
                unit='cps',
                stacked=True,
                runbook='ParleyWebhooksFailing',
            ),
            Panel(
                'Time of an attempt',
                [(quantile(0.99, 'parley_courier_attempt_seconds', 'outcome'), '{{outcome}}')],
                'The slowest hundredth: how fast the receivers are.',
                unit='s',
                empty='nothing was attempted',
            ),
            Panel(
                'Made of the outbox',
                [(rate('parley_courier_fanned_out_total', 'pod'), '{{pod}}')],
                'Deliveries a second that were begun: events, times the webhooks that want them.',
                unit='cps',
            ),
            Panel(
                'Lanes',
                [(total('parley_courier_lanes', 'pod'), '{{pod}}')],
                'Of one chat and one webhook each, that a pod delivers from at the moment.',
            ),
        ),
        row(
            'What waits',
            Panel(
                'Deliveries that wait',
                [(total('parley_courier_waiting', 'webhook', function='max'), 'webhook {{webhook}}')],
                f'By how their webhook stands. {COUNTED}',
                runbook='ParleyDeliveriesWaiting',
            ),
            Panel(
                'Age of the outbox',
                [(total('parley_courier_outbox_seconds', function='max'), 'oldest row')],
                f'How long what was committed waits to become deliveries. {COUNTED}',
                unit='s',
                runbook='ParleyOutboxStuck',
            ),
            Panel(
                'Webhooks',
                [(total('parley_courier_webhooks', 'state', function='max'), '{{state}}')],
                f'By how they stand. {COUNTED}',
                runbook='ParleyWebhooksFailing',
            ),
            Panel(
                'Given up, switched off',
                [
                    (rate('parley_courier_dead_total'), 'deliveries given up'),
                    (rate('parley_courier_disabled_total'), 'webhooks switched off'),
                    (rate('parley_courier_unsettled_total'), 'attempts that were not written down'),
                ],
                'A second; each of these wants somebody to look.',
                unit='cps',
                thresholds=RARE,
                runbook='ParleyDeliveriesGivenUp',
            ),
            Panel(
                'Notices',
                [(rate('parley_courier_notices_total', 'outcome'), '{{outcome}}')],
                'People of whom it was decided, a second, whether they are to be told of what was said.',
                unit='cps',
            ),
            Panel(
                'Forgotten',
                [(rate('parley_courier_forgotten_total', 'pod'), '{{pod}}')],
                'Deliveries that went from the log because they are old, a second.',
                unit='cps',
            ),
        ),
        process('courier'),
    ],
)
