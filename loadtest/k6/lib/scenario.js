// The scenarios in which people live in a town of chats: they differ in how many there are, how busy, and for how long.

import { Client } from './client.js';
import { demanded, percentiles } from './metrics.js';
import { live } from './mix.js';
import * as settings from './settings.js';
import { setTimeout } from 'k6/timers';
import { summaryOf } from './summary.js';
import { tokenOf } from './token.js';
import { makeTown, userOf } from './world.js';

/** Time to set the town up, and for the last events to arrive. */
const [SETUP, END] = [300, 120];

/**
 * `plan` has the name, defaults for `people`, `group`, `seconds` and `idle`, `thresholds` besides the usual ones, and perhaps
 * `busy`: `{ from, to, idle }`, shares of the time in which everybody is busier.
 */
export function town(plan) {
  const people = settings.people(plan.people);
  const seconds = settings.seconds(plan.seconds);
  const idle = settings.idle(plan.idle);
  const rising = people / settings.ramp;

  const options = {
    scenarios: {
      people: {
        executor: 'per-vu-iterations', vus: people, iterations: 1, maxDuration: `${Math.ceil(rising + seconds + END)}s`,
      },
    },
    setupTimeout: `${SETUP}s`,
    thresholds: demanded(plan.thresholds),
    summaryTrendStats: percentiles,
  };

  const setup = () => ({ ...makeTown(people, settings.group(plan.group)), begun: Date.now() });

  function person({ chatsOf, begun }) {
    const index = __VU - 1;
    const at = (share) => begun + 1000 * (rising + share * seconds);
    const client = new Client(userOf(index), tokenOf(userOf(index)), chatsOf[index]);
    const end = () => client.finish();
    const phases = plan.busy
      ? [[at(plan.busy.from), idle], [at(plan.busy.to), plan.busy.idle], [at(1), idle]]
      : [[at(1), idle]];
    const go = () => {
      const phase = phases.shift();
      if (!phase) return end();
      return live(client, phase[1], phase[0], go);
    };
    setTimeout(() => {
      client.start();
      go();
    }, Math.max(0, begun + (1000 * index) / settings.ramp - Date.now()));
  }

  return { options, setup, person, handleSummary: summaryOf(plan.name) };
}
