// A few people for half a minute: does everything work at all?

import { town } from './lib/scenario.js';

const scenario = town({ name: 'smoke', people: 10, group: 5, seconds: 20, idle: 2 });

export const { options, setup, handleSummary } = scenario;
export default scenario.person;
