// Pods die while people talk. Run by `cargo parley test`, which kills and restarts them when it is asked to.

import assert from 'node:assert/strict';
import { existsSync, writeFileSync } from 'node:fs';
import process from 'node:process';
import { test } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { Listener, clientOf, cluster, historyOf, host, inTime, people, rising } from '../cluster/stage.mjs';

/** Has the launcher do something to a process: it takes the file away once that is done. */
async function errand(what, name) {
  const file = `${process.env.PARLEY_ERRANDS ?? assert.fail('PARLEY_ERRANDS is not set: run `cargo parley test`')}/${what} ${name}`;
  writeFileSync(file, '');
  await inTime(poll(() => !existsSync(file)), () => `${what} ${name}`);
}

async function poll(done) {
  while (!await done()) await setTimeout(20);
}

const isReady = ({ admin }) => fetch(new URL('/readyz', admin)).then(({ ok }) => ok, () => false);

test('i1–i4: gateways and an api pod die under load: all is stored once, and heard once and in order', { timeout: 180_000 }, async (t) => {
  const members = await people('alice', 'bob', 'carol', 'dan', 'eve', 'frank');
  const creator = clientOf(members[0], {}, t);
  const { _id: id } = await creator.createChat({ participantIds: members.slice(1).map((one) => one.id), type: 'group', title: 'A group' });
  const listeners = await Promise.all(members.map(async (member) => {
    const chat = clientOf(member, {}, t).chat(id);
    const listener = new Listener(chat);
    const it = { listener, pod: null };
    chat.on('joined', ({ pod }) => { it.pod = pod; });
    await chat.open();
    return it;
  }));

  const speaker = clientOf(host, {}, t).chat(id);
  const sent = [];
  let retries = 0;
  let goOn = true;
  const talking = (async () => {
    while (goOn) {
      const content = `message ${sent.length}`;
      sent.push(content);
      await speaker.send({ content, type: 'system' }, { onRetry: () => { retries += 1; } });
    }
  })();
  t.after(() => { goOn = false; });
  const spoken = (number) => inTime(poll(() => sent.length >= number), () => `${number} messages, after ${sent.length}`);

  let back = 0;
  for (const pod of [...cluster.gateway, cluster.api[0], ...cluster.gateway]) {
    await spoken(sent.length + 20);
    const victims = listeners.filter((it) => it.pod === pod.name);
    const joins = victims.map(({ listener }) => listener.events.length);
    await errand('kill', pod.name);
    await Promise.all(victims.map(({ listener }, index) =>
      listener.until(() => listener.events.slice(joins[index]).includes('joined'), `a join after the end of ${pod.name}`)));
    back += victims.length;
    await spoken(sent.length + 20);
    await errand('restart', pod.name);
    await inTime(poll(() => isReady(pod)), () => `${pod.name} ready`);
  }
  goOn = false;
  await talking;

  for (const { listener } of listeners) await listener.hears(sent.at(-1));
  assert.deepEqual((await historyOf(creator.chat(id))).map(({ content }) => content), sent);
  for (const { listener } of listeners) {
    assert.deepEqual(listener.contents, sent);
    assert.ok(rising(listener.versions));
  }
  assert.ok(back >= 6, `${back} came back`);
  t.diagnostic(`${sent.length} messages, ${retries} tries again, ${back} connections came back`);
});
