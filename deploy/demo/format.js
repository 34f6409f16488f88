// Names, times, initials and errors as people read them, in the browser's own language and zone.

const clock = new Intl.DateTimeFormat(undefined, { hour: 'numeric', minute: '2-digit' });
const weekday = new Intl.DateTimeFormat(undefined, { weekday: 'long' });
const shortDate = new Intl.DateTimeFormat(undefined, { day: 'numeric', month: 'short' });
const longDate = new Intl.DateTimeFormat(undefined, { weekday: 'long', day: 'numeric', month: 'long', year: 'numeric' });
const full = new Intl.DateTimeFormat(undefined, { dateStyle: 'full', timeStyle: 'medium' });
const relativeDay = new Intl.RelativeTimeFormat(undefined, { numeric: 'auto' });

const DAY = 86_400_000;

function daysAgo(date) {
  const midnight = (when) => new Date(when.getFullYear(), when.getMonth(), when.getDate()).getTime();
  return Math.round((midnight(new Date()) - midnight(date)) / DAY);
}

const capital = (text) => text.charAt(0).toLocaleUpperCase() + text.slice(1);

export const dayKey = (date) => `${date.getFullYear()}-${date.getMonth() + 1}-${date.getDate()}`;
export const timeOfDay = (date) => clock.format(date);
export const fullTime = (date) => full.format(date);

/** `Today`, `Yesterday`, or the whole date: for the line between two days. */
export function dayName(date) {
  const ago = daysAgo(date);
  return ago === 0 || ago === 1 ? capital(relativeDay.format(-ago, 'day')) : longDate.format(date);
}

/** Short enough for the list of chats. */
export function listTime(date) {
  const ago = daysAgo(date);
  if (ago <= 0) return clock.format(date);
  if (ago === 1) return capital(relativeDay.format(-1, 'day'));
  return ago < 7 ? weekday.format(date) : shortDate.format(date);
}

export function initials(name) {
  const words = name.trim().split(/\s+/u).filter(Boolean);
  const letters = words.length > 1 ? [words[0], words.at(-1)] : words;
  return letters.map((word) => [...word][0].toLocaleUpperCase()).join('') || '?';
}

/** One of eight colours, always the same for the same user or chat. */
export function hue(id) {
  let sum = 0;
  for (const letter of id) sum = (sum * 31 + letter.codePointAt(0)) >>> 0;
  return `hue-${sum % 8}`;
}

/** An error's sentence first, then the code for whoever looks it up. */
export const sentence = ({ message, code }) => `${message.replace(/\.$/u, '')} (${code})`;
