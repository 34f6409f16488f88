// Whether two transcripts are the same, but for the differences that are documented.

import { DIFFERENCES } from "./differences.mjs";

const lanesOf = (...sides) => [...new Set(sides.flatMap((side) => Object.keys(side)))].sort();
const same = (one, other) => lanesOf(one, other).every((lane) => JSON.stringify(one[lane] ?? []) === JSON.stringify(other[lane] ?? []));

function show(side, other) {
  const lanes = lanesOf(side, other).filter((lane) => JSON.stringify(side[lane]) !== JSON.stringify(other[lane]));
  return lanes.map((lane) => `${lane.replace(/^[ab]\d+/, "*")}: ${(side[lane] ?? []).join(" | ")}`).join(" ; ");
}

/** Without the entries that a difference speaks of; null if there are none. No pattern:
 * that side has nothing of its own to show. A pattern that is `maybe`: it may have. */
function without(side, pattern) {
  if (pattern === null) return side;
  let found = false;
  const kept = Object.entries(side).map(([lane, entries]) => {
    const others = entries.filter((entry) => !pattern.test(entry));
    found ||= others.length < entries.length;
    return [lane, others];
  });
  return found || pattern.maybe ? Object.fromEntries(kept) : null;
}

/** The fewest differences, one or two, that explain it; null if none do. */
function explain(at, reference, parley, among, more = 1) {
  for (const one of among.filter(({ where }) => where(...at))) {
    const [ours, theirs] = [without(reference, one.reference), without(parley, one.parley)];
    if (ours && theirs && same(ours, theirs)) return [one];
  }
  if (more === 0) return null;
  for (const one of among.filter(({ where }) => where(...at))) {
    const [ours, theirs] = [without(reference, one.reference), without(parley, one.parley)];
    const rest = ours && theirs && explain(at, ours, theirs, among.filter((other) => other !== one), more - 1);
    if (rest) return [one, ...rest];
  }
  return null;
}

export function compare(script, reference, parley) {
  const listed = new Set();
  for (let place = 0; place < Math.max(reference.length, parley.length); place += 1) {
    const [ours, theirs] = [reference[place] ?? {}, parley[place] ?? {}];
    if (same(ours, theirs)) continue;
    const step = script.steps[place] ?? { do: "journal" };
    const found = explain([step, script.steps.slice(0, place)], ours, theirs, DIFFERENCES);
    if (!found) return { listed, unlisted: { place, reference: show(ours, theirs), parley: show(theirs, ours) } };
    for (const { name } of found) listed.add(name);
    // From here on the two are in different states: there is nothing more to compare.
    if (found.some(({ ends }) => ends)) return { listed, cut: true };
  }
  return { listed };
}
