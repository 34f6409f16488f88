// What a run is told from outside. The launcher sets these; elsewhere they are set by hand: see ../README.md.

function number(name, otherwise) {
  const text = __ENV[name];
  if (text === undefined || text === '') return otherwise;
  const value = Number(text);
  if (!Number.isFinite(value) || value < 0) throw new Error(`${name} must be a number, not "${text}"`);
  return value;
}

const trimmed = (url) => url.replace(/\/+$/, '');

/** Where clients come in: the load balancer. */
export const url = trimmed(__ENV.PARLEY_URL || 'http://127.0.0.1:8080');

/** Signs users' tokens (HS256). */
export const secret = __ENV.PARLEY_JWT_SECRET || '';

/** Or ready-made tokens: a JSON file `{ "user": "token", … }`; with `"service"` for what sets the run up. */
export const tokens = __ENV.PARLEY_TOKENS ? JSON.parse(open(__ENV.PARLEY_TOKENS)) : null;

/** Stands in front of every user's id, so that two runs never meet. */
export const run = __ENV.PARLEY_RUN || 'k6';

/** How many people, and how many of them share a group chat. */
export const people = (otherwise) => (tokens ? Object.keys(tokens).filter((it) => it !== 'service').length
  : number('PARLEY_USERS', otherwise));
export const group = (otherwise) => number('PARLEY_GROUP', otherwise);

/** How long the load lasts, without the ramp. */
export const seconds = (otherwise) => number('PARLEY_SECONDS', otherwise);

/** New connections a second while the load comes up: an honest crowd does not come at once. */
export const ramp = number('PARLEY_RAMP', 50);

/** Mean pause between two actions of a person, in seconds. Published for team chat: 20. */
export const idle = (otherwise) => number('PARLEY_IDLE', otherwise);

/** Where the summary goes: a name without ending; `.json` and `.svg` are written. */
export const output = __ENV.PARLEY_OUTPUT || '';
