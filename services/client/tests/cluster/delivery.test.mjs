// Over connections that break and answers that are lost, on a real cluster: nothing is lost, doubled or out of order.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { test } from 'node:test';
import { SendError } from '@parley/client';
import { Listener, Wires, chance, clientOf, cluster, historyOf, host, inTime, people, rising } from './stage.mjs';

/** A group chat of these people, the first of them its creator. */
async function group(t, ...members) {
  const creator = clientOf(members[0], {}, t);
  const chat = await creator.createChat({ participantIds: members.slice(1).map(({ id }) => id), type: 'group', title: 'A group' });
  return { id: chat._id, creator };
}

test('i1–i4: 300 messages, connections cut again and again, answers lost: all is heard once and in order', { timeout: 120_000 }, async (t) => {
  const random = chance(7);
  const members = await people('alice', 'bob', 'carol');
  const { id, creator } = await group(t, ...members);
  // One through the balancer, one on each gateway; the host speaks through wires that lose one answer in ten.
  const places = [cluster.url, cluster.gateway[0].url, cluster.gateway[1].url];
  const listeners = await Promise.all(members.map(async (member, index) => {
    const wires = await Wires.before(t, places[index]);
    const chat = clientOf(member, { socketUrl: wires.url }, t).chat(id);
    const listener = new Listener(chat);
    await chat.open();
    return { chat, wires, listener };
  }));
  const lossy = await Wires.before(t, cluster.url);
  lossy.loses = () => random() < 0.1;
  const speaker = clientOf(host, { url: lossy.url, sendQueue: 300 }, t).chat(id);
  const contents = Array.from({ length: 300 }, (_, number) => `message ${number}`);
  let retries = 0;
  let cuts = 0;
  await Promise.all(contents.map(async (content) => {
    await speaker.send({ content, type: 'system' }, { onRetry: () => { retries += 1; } });
    if (random() >= 0.1) return;
    cuts += 1;
    listeners[Math.floor(random() * listeners.length)].wires.cut();
  }));
  for (const { listener } of listeners) await listener.hears(contents.at(-1));
  const stored = (await historyOf(creator.chat(id))).map(({ content }) => content);
  assert.deepEqual(stored, contents, 'each is stored once, in the order in which it was written');
  for (const { listener } of listeners) {
    assert.deepEqual(listener.contents, contents);
    assert.ok(rising(listener.versions), `${listener.versions}`);
    assert.deepEqual(listener.events.filter((name) => name.startsWith('reset')), ['reset opened'], 'nothing had to be reloaded');
  }
  assert.ok(retries >= 10 && lossy.lost >= 10, `${retries} tries again after ${lossy.lost} lost answers`);
  assert.ok(cuts >= 15, `${cuts} cuts`);
  t.diagnostic(`${retries} tries again, ${lossy.lost} answers lost, ${cuts} connections cut`);
});

test('i2: a message whose every answer is lost may be sent; sent again under its id, after a reload, it is there once', async (t) => {
  const [alice, bob] = await people('alice', 'bob');
  const { id, creator } = await group(t, alice, bob);
  const wires = await Wires.before(t, cluster.url);
  wires.loses = () => true;
  const clientMessageId = randomUUID();
  const draft = { content: 'Once', clientMessageId };
  const error = await clientOf(alice, { url: wires.url }, t).chat(id).send(draft, { deadlineMs: 2_000 }).then(() => assert.fail('was answered'), (it) => it);
  assert.ok(error instanceof SendError);
  assert.deepEqual([error.code, error.mayBeSent, error.clientMessageId], ['network', true, clientMessageId]);
  assert.ok(error.attempts >= 2, `${error.attempts} tries`);
  const message = await clientOf(alice, {}, t).chat(id).send(draft);
  assert.deepEqual((await historyOf(creator.chat(id))).map(({ _id, content }) => [_id, content]), [[message._id, 'Once']]);
});

test('a network that is away delays an opening and a send; both come to their end', async (t) => {
  const [alice, bob] = await people('alice', 'bob');
  const { id } = await group(t, alice, bob);
  const wires = await Wires.before(t, cluster.url);
  wires.dead = true;
  const parley = clientOf(bob, { url: wires.url }, t);
  const chat = parley.chat(id);
  const listener = new Listener(chat);
  const opened = chat.open();
  const tried = new Promise((resolve) => { void chat.send({ content: 'At last' }, { onRetry: resolve }); });
  await inTime(tried, () => 'a try in vain');
  assert.equal(chat.isLive, false);
  wires.dead = false;
  await opened;
  await listener.hears('At last');
  assert.deepEqual(listener.contents, ['At last']);
});

test('over the limit a send waits as it is told to, or says when there would be room', async (t) => {
  const [alice, bob] = await people('alice', 'bob');
  const { id } = await group(t, alice, bob);
  const chat = clientOf(alice, {}, t).chat(id);
  const sends = Array.from({ length: 21 }, (_, number) => chat.send({ content: `${number}` }, { deadlineMs: 10_000 }).catch((error) => error));
  const outcomes = await Promise.all(sends);
  const error = outcomes.pop();
  assert.deepEqual(outcomes.map(({ content }) => content), Array.from({ length: 20 }, (_, number) => `${number}`));
  assert.ok(error instanceof SendError, JSON.stringify(error));
  assert.deepEqual([error.status, error.code, error.mayBeSent], [429, 'rate_limited', false]);
  assert.ok(error.retryAfterMs > 10_000 && error.retryAfterMs <= 60_000, `${error.retryAfterMs}`);
});

test('forty chats over one connection: cut, each comes back and misses nothing', { timeout: 120_000 }, async (t) => {
  const [alice, bob] = await people('alice', 'bob');
  const ids = (await Promise.all(Array.from({ length: 40 }, () => group(t, alice, bob)))).map(({ id }) => id);
  const wires = await Wires.before(t, cluster.url);
  const parley = clientOf(bob, { socketUrl: wires.url }, t);
  const listeners = ids.map((id) => new Listener(parley.chat(id)));
  await Promise.all(ids.map((id) => parley.chat(id).open()));
  const speaker = clientOf(host, {}, t);
  for (const round of ['away', 'back']) {
    wires.cut();
    if (round === 'back') await Promise.all(listeners.map((listener) => listener.until(() => listener.events.filter((it) => it === 'joined').length >= 2, 'a second join')));
    await Promise.all(ids.map((id) => speaker.chat(id).send({ content: round, type: 'system' })));
  }
  for (const listener of listeners) {
    await listener.hears('back');
    assert.deepEqual(listener.contents, ['away', 'back']);
  }
});

test('a file whose answer is lost is there once', async (t) => {
  const [alice, bob] = await people('alice', 'bob');
  const { id, creator } = await group(t, alice, bob);
  const wires = await Wires.before(t, cluster.url);
  wires.loses = () => wires.lost === 0;
  const parley = clientOf(alice, { url: wires.url }, t);
  const text = 'The plan, in words. '.repeat(1_000);
  const message = await parley.chat(id).sendFile({ file: new File([text], 'plan é.txt'), content: 'Look' });
  assert.equal(wires.lost, 1);
  assert.deepEqual([message.content, message.attachments.map(({ filename }) => filename)], ['Look', ['plan é.txt']]);
  assert.equal((await historyOf(creator.chat(id))).length, 1);
  assert.equal(await (await parley.rest.download(message.attachments[0].url)).text(), text);
});
