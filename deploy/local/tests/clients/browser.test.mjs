// The demo page in a real browser: what Alice types appears in Bob's pane, and the other way round.

import assert from 'node:assert/strict';
import { randomUUID } from 'node:crypto';
import { after, before, test } from 'node:test';
import { chromium } from 'playwright-core';
import { DEADLINE_MS, cluster } from './parley.mjs';

const ARGUMENTS = ['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

let browser;
let users;

before(async () => {
  assert.ok(process.env.CHROMIUM, 'CHROMIUM is not set: give the path of a Chromium');
  const answer = await fetch(new URL('/demo.json', cluster.url));
  assert.equal(answer.status, 200, '/demo.json: the cluster has to be started with its demo');
  ({ users } = await answer.json());
  browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args: ARGUMENTS });
});

after(() => browser?.close());

/** A fresh page with both panes connected, and everything that it complains about. */
async function openPage(t, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  t.after(() => context.close());
  context.setDefaultTimeout(DEADLINE_MS);
  const page = await context.newPage();
  const complaints = [];
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('requestfailed', (request) => complaints.push(`${request.url()}: ${request.failure()?.errorText}`));
  await page.goto(cluster.url);
  const [alice, bob] = users.map(({ id }) => paneOf(page, id));
  for (const pane of [alice, bob]) {
    await pane.root.and(page.locator('[data-state="connected"]')).waitFor();
    await pane.part('api').filter({ hasText: /\w/u }).waitFor();
  }
  return { page, alice, bob, complaints };
}

function paneOf(page, id) {
  const root = page.getByTestId(`pane-${id}`);
  const part = (name) => root.getByTestId(name);
  return {
    root,
    part,
    message: (text) => part('message').filter({ hasText: text }),
    /** Opens the chat with this title. */
    open: async (title) => {
      await part('chat-list').getByRole('button').filter({ hasText: title }).first().click();
      await part('title').filter({ hasText: title }).waitFor();
    },
    write: async (text) => {
      await part('composer').fill(text);
      await part('composer').press('Enter');
    },
  };
}

/** One direct chat of the two, open in both panes. */
async function openTheirChat({ alice, bob }) {
  const [first, second] = users;
  await alice.part('chat-list').getByRole('button').or(alice.part('no-chats')).first().waitFor();
  if (await alice.part('chat-list').getByRole('button').filter({ hasText: second.name }).count() === 0) {
    await alice.part('new-chat').click();
    await alice.part('new-chat-people').fill(second.id);
    await alice.part('new-chat-people').press('Enter');
  }
  await alice.open(second.name);
  await bob.open(first.name);
  for (const pane of [alice, bob]) await pane.part('gateway').filter({ hasText: /\w/u }).waitFor();
}

test('a message typed in one pane appears in the other, both ways, without a reload', { timeout: 90_000 }, async (t) => {
  const { page, alice, bob, complaints } = await openPage(t);
  await openTheirChat({ alice, bob });
  let loads = 0;
  page.on('load', () => { loads += 1; });

  const apis = cluster.api.map(({ name }) => name);
  const gateways = cluster.gateway.map(({ name }) => name);
  for (const [index, [from, to]] of [[alice, bob], [bob, alice]].entries()) {
    const text = `Message ${index + 1} <i>as typed</i> ${randomUUID().slice(0, 8)}`;
    await from.write(text);
    await to.message(text).waitFor();
    assert.equal(await to.message(text).count(), 1);
    assert.equal(await to.message(text).getByTestId('text').textContent(), text, 'text is shown as text');
    assert.equal(await to.message(text).getByTestId('sender').textContent(), users[index].name);
    await from.root.locator('[data-testid="message"][data-state="sent"]').filter({ hasText: text }).waitFor();
    assert.equal(await from.message(text).count(), 1, 'the optimistic one has become the real one');
    assert.equal(await from.part('composer').inputValue(), '');
    await to.part('chat-list').getByRole('button').first().filter({ hasText: text.slice(0, 9) }).waitFor();
    const route = await page.getByTestId('route').innerText();
    assert.ok(apis.some((name) => route.includes(name)) && gateways.some((name) => route.includes(name)), `the way of the message: ${route}`);
  }
  assert.equal(loads, 0);

  for (const pane of [alice, bob]) {
    assert.ok(gateways.includes(await pane.part('gateway').textContent()), 'the gateway’s name is shown');
    assert.ok(apis.includes(await pane.part('api').textContent()), 'the api pod’s name is shown');
    assert.equal(await pane.part('state-text').textContent(), 'Connected · websocket');
    assert.ok(await pane.part('alert').isHidden(), 'no error is shown');
  }
  if (process.env.PARLEY_SCREENSHOT) await page.screenshot({ path: process.env.PARLEY_SCREENSHOT, fullPage: true });
  assert.deepEqual(complaints, []);
});

test('a dropped socket comes back, and shows what was said meanwhile', { timeout: 90_000 }, async (t) => {
  const { alice, bob, complaints } = await openPage(t);
  await openTheirChat({ alice, bob });
  const [before, meanwhile, later] = ['before', 'meanwhile', 'later'].map((word) => `Said ${word} ${randomUUID().slice(0, 8)}`);
  await alice.write(before);
  await bob.message(before).waitFor();
  await bob.part('drop').click();
  await alice.write(meanwhile);
  await bob.message(meanwhile).waitFor();
  await bob.root.and(bob.root.page().locator('[data-state="connected"]')).waitFor();
  await alice.write(later);
  await bob.message(later).waitFor();
  for (const text of [before, meanwhile, later]) assert.equal(await bob.message(text).count(), 1);
  assert.deepEqual(complaints, []);
});

/** Answers the first sends of a page so; gives the `clientMessageId` of every try. */
async function answerSends(page, ...answers) {
  const ids = [];
  await page.route('**/api/chat/*/messages', async (route) => {
    if (route.request().method() !== 'POST') return route.continue();
    ids.push(route.request().postDataJSON().clientMessageId);
    const answer = answers.shift();
    return answer ? answer(route) : route.continue();
  });
  return ids;
}

const failing = (status, code) => (route) => route.fulfill({
  status, contentType: 'application/json', body: JSON.stringify({ success: false, error: { code, message: 'No' }, requestId: 'r' }),
});

test('a send whose answer is lost, or that nobody can take, is tried again by itself, and sent once', { timeout: 90_000 }, async (t) => {
  const { page, alice, bob } = await openPage(t);
  await openTheirChat({ alice, bob });
  const text = `Tried by itself ${randomUUID().slice(0, 8)}`;
  // The message is stored, and its answer lost: the worst case for sending again.
  const lost = async (route) => {
    assert.equal((await route.fetch()).status(), 201);
    await route.abort('connectionreset');
  };
  const ids = await answerSends(page, failing(503, 'unavailable'), lost);
  await alice.write(text);
  await bob.message(text).waitFor();
  await alice.root.locator('[data-testid="message"][data-state="sent"]').filter({ hasText: text }).waitFor();
  await page.waitForFunction(() => document.querySelectorAll('[data-state="sending"]').length === 0);
  assert.equal(await alice.message(text).count(), 1);
  assert.equal(await bob.message(text).count(), 1);
  assert.ok(ids.length >= 2, `${ids}`);
  assert.equal(new Set(ids).size, 1, 'the same clientMessageId');
});

test('a send that is refused says so, and is sent once when tried again', { timeout: 90_000 }, async (t) => {
  const { page, alice, bob } = await openPage(t);
  await openTheirChat({ alice, bob });
  const text = `Tried twice ${randomUUID().slice(0, 8)}`;
  const ids = await answerSends(page, failing(403, 'forbidden'));
  await alice.write(text);
  await alice.part('failure').filter({ hasText: 'forbidden' }).waitFor();
  await alice.part('retry').click();
  await bob.message(text).waitFor();
  await alice.part('failure').waitFor({ state: 'detached' });
  assert.equal(await alice.message(text).count(), 1);
  assert.equal(await bob.message(text).count(), 1);
  assert.equal(ids.length, 2);
  assert.equal(ids[0], ids[1], 'the same clientMessageId');
});

test('on a narrow screen the panes are stacked, and the list and the chat take turns', { timeout: 90_000 }, async (t) => {
  const { page, alice, bob, complaints } = await openPage(t, { viewport: { width: 390, height: 844 }, colorScheme: 'dark' });
  await openTheirChat({ alice, bob });
  const [first, second] = await Promise.all([alice.root.boundingBox(), bob.root.boundingBox()]);
  assert.ok(second.y >= first.y + first.height, 'one below the other');
  assert.ok(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth), 'nothing sticks out');
  assert.ok(await alice.part('chat-list').isHidden());
  await alice.root.getByRole('button', { name: 'Back to the chats' }).click();
  await alice.part('chat-list').waitFor();
  assert.ok(await alice.part('composer').isHidden());
  assert.deepEqual(complaints, []);
});

test('the reference page shows every operation and webhook, and needs nobody but the pods', { timeout: 90_000 }, async (t) => {
  const context = await browser.newContext();
  t.after(() => context.close());
  context.setDefaultTimeout(DEADLINE_MS);
  const page = await context.newPage();
  const complaints = [];
  const hosts = new Set();
  page.on('console', (message) => {
    if (['error', 'warning'].includes(message.type())) complaints.push(message.text());
  });
  page.on('pageerror', (error) => complaints.push(String(error)));
  page.on('request', (request) => {
    const { protocol, host } = new URL(request.url());
    if (protocol !== 'data:') hosts.add(host);
  });
  const answer = await fetch(new URL('/api/openapi.json', cluster.url));
  const { paths, webhooks } = await answer.json();
  const operations = Object.values({ ...paths, ...webhooks }).flatMap((item) => Object.keys(item)).length;
  await page.goto(new URL('/api/docs/', cluster.url).href);
  await page.locator('.opblock').nth(operations - 1).waitFor();
  assert.equal(await page.locator('.opblock').count(), operations);
  await page.locator('.opblock-summary').first().click();
  await page.locator('.opblock-body .responses-wrapper').first().waitFor();
  assert.deepEqual(complaints, []);
  assert.deepEqual([...hosts], [new URL(cluster.url).host]);
});
