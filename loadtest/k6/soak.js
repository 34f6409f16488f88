// The ordinary day for hours: what leaks shows in the pods' memory, on the dashboards.

import { town } from './lib/scenario.js';

const scenario = town({ name: 'soak', people: 300, group: 10, seconds: 4 * 3600, idle: 20 });

export const { options, setup, handleSummary } = scenario;
export default scenario.person;
