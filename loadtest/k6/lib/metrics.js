// What is measured besides k6's own, and what is demanded of it: the service levels of deploy/prometheus are the same.

import { Counter, Rate, Trend } from 'k6/metrics';

/** From the message's `createdAt` to the socket, milliseconds: clocks have to agree. Live messages only. */
export const delivery = new Trend('parley_delivery_ms', true);
/** From a send to its 2xx, tries included. */
export const send = new Trend('parley_send_ms', true);
/** Whether a send was committed in the end; a limited one is no failure, and not counted. */
export const sent = new Rate('parley_sent');
/** Sends that were refused because their author is at the limit. */
export const limited = new Counter('parley_limited');
/** From a CONNECT to its answer. */
export const connect = new Trend('parley_connect_ms', true);
/** From a join to its ack. */
export const join = new Trend('parley_join_ms', true);
/** From the loss of a connection until every chat has everything again. */
export const whole = new Trend('parley_whole_ms', true);
export const reconnects = new Counter('parley_reconnects');
/** Told to reload: the position could not be continued. */
export const resyncs = new Counter('parley_resyncs');
/** Of each client and chat, in the end: whether it has everything that was committed. */
export const complete = new Rate('parley_complete');
/** Messages that never came, came again on one connection, or came behind a later one. */
export const lost = new Counter('parley_lost');
export const doubled = new Counter('parley_doubled');
export const misordered = new Counter('parley_misordered');

/** Where even that is missed, something is wrong with the system and not with its size. */
const correct = {
  parley_complete: ['rate==1'],
  parley_lost: ['count==0'],
  parley_doubled: ['count==0'],
  parley_misordered: ['count==0'],
  parley_sent: ['rate>0.999'],
};

/** The thresholds of a scenario: what is always demanded, and how fast it has to be. */
export const demanded = (more = {}) => ({
  ...correct,
  'http_req_failed{expected:yes}': ['rate<0.001'],
  parley_send_ms: ['p(99)<500'],
  parley_delivery_ms: ['p(99)<1000'],
  ...more,
});

/** Counters that nobody has touched do not appear in a summary, and a threshold on them would pass unseen. */
export function touchAll() {
  for (const counter of [lost, doubled, misordered, resyncs, reconnects, limited]) counter.add(0);
}

export const percentiles = ['min', 'med', 'avg', 'p(95)', 'p(99)', 'max', 'count'];
