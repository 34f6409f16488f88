// The ordinary day, while every pod is stopped and started again one after the other: by the launcher on a cluster of its
// own, or meanwhile by hand (`kubectl rollout restart`). Clients come back and miss nothing.

import { town } from './lib/scenario.js';

const scenario = town({
  name: 'rolling', people: 200, group: 10, seconds: 120, idle: 5, thresholds: { parley_whole_ms: ['p(99)<10000'] },
});

export const { options, setup, handleSummary } = scenario;
export default scenario.person;
