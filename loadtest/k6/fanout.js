// Big rooms: everybody hears everything. Few send, and by turns, so that nobody is limited.

import { setTimeout } from 'k6/timers';
import { Client } from './lib/client.js';
import { demanded, percentiles } from './lib/metrics.js';
import { words } from './lib/mix.js';
import { sendMessage } from './lib/rest.js';
import * as settings from './lib/settings.js';
import { summaryOf } from './lib/summary.js';
import { tokenOf } from './lib/token.js';
import { makeGroups, userOf } from './lib/world.js';

const people = settings.people(1000);
const group = settings.group(500);
const seconds = settings.seconds(60);
/**
 * Each person's pause between two messages: with the usual limit of 20 a minute, never less than 3 s. What everybody says is
 * heard 500 times, and a core of k6 hears some 4,000 a second: half of that, so that it is not what is measured.
 */
const idle = Math.max(settings.idle(250), 4);
const rising = people / settings.ramp;

export const options = {
  scenarios: {
    people: { executor: 'per-vu-iterations', vus: people, iterations: 1, maxDuration: `${Math.ceil(rising + seconds + 120)}s` },
  },
  setupTimeout: '300s',
  thresholds: demanded(),
  summaryTrendStats: percentiles,
};

export const setup = () => ({ ...makeGroups(people, group), begun: Date.now() });

export default function person({ chatsOf, begun }) {
  const index = __VU - 1;
  const [chat] = chatsOf[index];
  const client = new Client(userOf(index), tokenOf(userOf(index)), [chat]);
  const until = begun + 1000 * (rising + seconds);
  // Evenly, by the golden ratio: chance would be a rush now and silence then, each of them heard 500 times.
  const turn = (index * 0.618034) % 1;
  let sends = 0;
  const next = (pause) => setTimeout(() => {
    if (Date.now() >= until) return client.finish();
    sends += 1;
    sendMessage(client.token, chat, words(), `${client.user}-${begun}-${sends}`);
    return next(1000 * idle);
  }, Math.min(pause, Math.max(0, until - Date.now())));
  setTimeout(() => {
    client.start();
    next(begun + 1000 * (rising + turn * idle) - Date.now());
  }, Math.max(0, begun + (1000 * index) / settings.ramp - Date.now()));
}

export const handleSummary = summaryOf('fanout');
