// An ordinary day: the published mix of actions, a pause of 20 s in the mean.

import { town } from './lib/scenario.js';

const scenario = town({ name: 'steady', people: 500, group: 10, seconds: 300, idle: 20 });

export const { options, setup, handleSummary } = scenario;
export default scenario.person;
