// The same random scripts against npm socket.io and parley-socketio.
//
//   node main.mjs --parley PROGRAM --readme README.md [--scripts 1000] [--seed 1] [--at-once 12] [--only SEED]

import { spawn } from "node:child_process";
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import { Client } from "./client.mjs";
import { compare } from "./compare.mjs";
import { DIFFERENCES } from "./differences.mjs";
import { play } from "./play.mjs";
import { scriptOf } from "./script.mjs";

const { values: options } = parseArgs({
  options: {
    parley: { type: "string" },
    readme: { type: "string" },
    scripts: { type: "string", default: "1000" },
    seed: { type: "string", default: "1" },
    "at-once": { type: "string", default: "12" },
    only: { type: "string" },
  },
});
/** From so many scripts on, every documented difference has to be among what was seen. */
const ENOUGH = 1_000;
const SHRUNK = 3;

async function start(program, args) {
  const child = spawn(program, args, { stdio: ["ignore", "pipe", "inherit"] });
  process.on("exit", () => child.kill());
  for await (const line of createInterface({ input: child.stdout })) {
    const port = /listening on port (\d+)/.exec(line)?.[1];
    if (port) return { child, url: `http://127.0.0.1:${port}` };
  }
  throw new Error(`${program} does not start`);
}

/** What an application saw of a script, when all its sockets are gone. */
class Journal {
  constructor(url) {
    this.waiting = new Map();
    this.client = new Client(`${url}/calm/`, { script: "journal", slot: "journal" }, (_, what) => this.answer(what), "journal");
    this.asked = 0;
  }

  async open() {
    await this.client.open("websocket");
    await this.client.send(["40"]);
    await this.client.sync();
    return this;
  }

  answer(what) {
    const [, id, json] = /^43\/,(\d+)(.*)$/.exec(what) ?? [];
    this.waiting.get(id)?.(JSON.parse(json)[0]);
    this.waiting.delete(id);
  }

  ask(script) {
    const id = String((this.asked += 1));
    const answer = new Promise((resolve) => this.waiting.set(id, resolve));
    this.client.send([`42${id}["journal","${script}"]`]);
    return answer;
  }

  async of(script) {
    const end = Date.now() + 3_000;
    for (;;) {
      const lines = await this.ask(script);
      const count = (word) => lines.filter((line) => line.split(" ")[2] === word).length;
      if (count("connected") === count("disconnected") || Date.now() > end) {
        const seen = {};
        for (const line of lines) {
          const [slot, namespace, ...what] = line.split(" ");
          (seen[`journal ${slot} ${namespace}`] ??= []).push(what.join(" "));
        }
        return seen;
      }
    }
  }
}

const here = (name) => fileURLToPath(new URL(name, import.meta.url));
const readme = readFileSync(options.readme, "utf8").replace(/\s+/g, " ");
const sides = await Promise.all([start(process.execPath, [here("reference.mjs")]), start(options.parley, [])]);
const journals = await Promise.all(sides.map(({ url }) => new Journal(url).open()));
let played = 0;

async function run(script) {
  // Its rooms and its journal are its own, also when it is played again.
  const own = { ...script, id: `${script.id}.${(played += 1)}` };
  const transcripts = await Promise.all(sides.map(async ({ url }, side) => {
    const steps = await play(url, own);
    return [...steps, await journals[side].of(own.id)];
  }));
  return { script, transcripts, ...compare(script, ...transcripts) };
}

/** Steps that are not needed for it are left out, the last first. */
async function shrink(result) {
  let best = result;
  for (let place = best.script.steps.length - 1; place >= 0; place -= 1) {
    const steps = best.script.steps.toSpliced(place, 1);
    const tried = await run({ ...best.script, steps });
    if (tried.unlisted) best = tried;
  }
  return best;
}

function report({ script, transcripts, unlisted }) {
  console.log(`\nseed ${script.seed} (${script.engine}): an unlisted difference`);
  script.steps.forEach((step, place) => {
    console.log(`  ${place} ${JSON.stringify(step).slice(0, 400)}`);
    for (const [side, name] of ["reference", "parley   "].entries()) console.log(`      ${name} ${JSON.stringify(transcripts[side][place]).slice(0, 500)}`);
  });
  console.log(`  step ${unlisted.place}\n    reference ${unlisted.reference.slice(0, 600)}\n    parley    ${unlisted.parley.slice(0, 600)}`);
}

const first = Number(options.only ?? options.seed);
const count = options.only ? 1 : Number(options.scripts);
const seeds = Array.from({ length: count }, (_, place) => (options.only ? first : first * 1_000_000 + place));
const counts = new Map(DIFFERENCES.map(({ name }) => [name, 0]));
const failures = [];
let [steps, cut] = [0, 0];
const begun = Date.now();

async function worker() {
  for (let seed; (seed = seeds.shift()) !== undefined; ) {
    const result = await run(scriptOf(seed));
    steps += result.script.steps.length;
    for (const name of result.listed) counts.set(name, counts.get(name) + 1);
    if (result.cut) cut += 1;
    if (result.unlisted) failures.push(result);
  }
}
await Promise.all(Array.from({ length: Number(options["at-once"]) }, worker));

for (const failure of failures.slice(0, SHRUNK)) report(await shrink(failure));
for (const { script, unlisted } of failures.slice(SHRUNK)) {
  const step = JSON.stringify(script.steps[unlisted.place] ?? "journal").slice(0, 200);
  console.log(`seed ${script.seed} step ${unlisted.place} ${step}\n    reference ${unlisted.reference.slice(0, 300)}\n    parley    ${unlisted.parley.slice(0, 300)}`);
}
let faults = failures.length;
for (const { name, readme: sentence } of DIFFERENCES) {
  const times = counts.get(name);
  console.log(`${String(times).padStart(6)} × ${name}`);
  if (!readme.includes(sentence)) {
    faults += 1;
    console.log(`         is not in the README: ${sentence}`);
  }
  if (count >= ENOUGH && times === 0) {
    faults += 1;
    console.log("         is listed, and was never seen");
  }
}
console.log(`${count} scripts, ${steps} steps, ${cut} compared up to a documented difference, ${((Date.now() - begun) / 1_000).toFixed(0)} s`);
console.log(`${count - failures.length} passed, ${faults} failed`);
process.exit(faults ? 1 : 0);
