// Everybody is ten times as busy for a third of the time, and nothing may suffer before or after.

import { town } from './lib/scenario.js';

const scenario = town({
  name: 'spike', people: 300, group: 10, seconds: 180, idle: 20, busy: { from: 1 / 3, to: 2 / 3, idle: 2 },
});

export const { options, setup, handleSummary } = scenario;
export default scenario.person;
