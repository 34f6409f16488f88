// Events as the api pods write them: the golden files that services/domain is tested with.

import { readFileSync } from 'node:fs';
import process from 'node:process';

const folder = process.env.PARLEY_GOLDEN ? `file://${process.env.PARLEY_GOLDEN}/` : new URL('../../../domain/tests/golden/', import.meta.url);

/** `[name, payload]` of a recorded event. */
export const recorded = (name) => JSON.parse(readFileSync(new URL(`${name}.json`, folder), 'utf8'));

/** The recorded message as it would be at another place of its chat. */
export function messageAt(version) {
  const [name, event] = recorded('new-message');
  return [name, { ...event, version, message: { ...event.message, _id: `${event.message._id}-${version}`, seq: version, version } }];
}

/** Numbers that look random, the same ones for the same seed. */
export function chance(seed) {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

/** A clock that only pauses move. */
export function stillness(seed = 1) {
  const around = {
    at: 1_000_000,
    pauses: [],
    random: chance(seed),
    now: () => around.at,
    pause: async (ms, signal) => {
      if (signal?.aborted) throw signal.reason;
      around.pauses.push(ms);
      around.at += ms;
    },
  };
  return around;
}
