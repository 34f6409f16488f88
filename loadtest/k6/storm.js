// Everybody loses the connection at the same moment, three times, and comes back while people go on writing.

import { setTimeout } from 'k6/timers';
import { Client } from './lib/client.js';
import { demanded, percentiles } from './lib/metrics.js';
import { live } from './lib/mix.js';
import * as settings from './lib/settings.js';
import { summaryOf } from './lib/summary.js';
import { tokenOf } from './lib/token.js';
import { makeGroups, userOf } from './lib/world.js';

const people = settings.people(1000);
const seconds = settings.seconds(90);
const rising = people / settings.ramp;
/** When, as shares of the time. */
const CUTS = [0.2, 0.45, 0.7];

export const options = {
  scenarios: {
    people: { executor: 'per-vu-iterations', vus: people, iterations: 1, maxDuration: `${Math.ceil(rising + seconds + 120)}s` },
  },
  setupTimeout: '300s',
  // Stock clients come back within 1.5 s at the first try, and 5 s at the next ones.
  thresholds: demanded({ parley_whole_ms: ['p(99)<10000'] }),
  summaryTrendStats: percentiles,
};

export const setup = () => ({ ...makeGroups(people, settings.group(20)), begun: Date.now() });

export default function person({ chatsOf, begun }) {
  const index = __VU - 1;
  const client = new Client(userOf(index), tokenOf(userOf(index)), chatsOf[index]);
  const at = (share) => begun + 1000 * (rising + share * seconds);
  setTimeout(() => {
    client.start();
    CUTS.forEach((share) => setTimeout(() => client.cut(), Math.max(0, at(share) - Date.now())));
    live(client, settings.idle(20), at(1), () => client.finish());
  }, Math.max(0, begun + (1000 * index) / settings.ramp - Date.now()));
}

export const handleSummary = summaryOf('storm');
