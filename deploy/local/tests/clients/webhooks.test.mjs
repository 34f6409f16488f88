// Webhooks, heard by the receiver of the documentation, which checks signatures with the published library.

import assert from 'node:assert/strict';
import { once as emitted } from 'node:events';
import { createServer } from 'node:http';
import { test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { Webhook } from 'standardwebhooks';
import { api, ask, cluster, data, directChat, get, inTime, people, post, refused, say, service } from './parley.mjs';
import { receiver } from './receiver.mjs';

/** What a listening server was told of, as it comes. */
class Told {
  events = [];
  #waiting = null;

  hear(event) {
    this.events.push(event);
    this.#waiting?.();
  }

  /** The events that were told of a chat, once there are so many. */
  async until(chat, number) {
    const of = () => this.events.filter(({ data: { chatId } }) => chatId === chat._id);
    const enough = async () => {
      while (of().length < number) await new Promise((resolve) => { this.#waiting = resolve; });
      return of();
    };
    return inTime(enough(), `${number} events after ${JSON.stringify(this.events)}`);
  }
}

async function listen(t, server) {
  server.listen(0, '127.0.0.1');
  await emitted(server, 'listening');
  t.after(() => { server.closeAllConnections(); server.close(); });
  return `http://127.0.0.1:${server.address().port}/parley`;
}

/** A webhook that goes with the test. */
async function webhook(t, url, events = []) {
  const made = data(await post(service, '/api/webhooks', { url, events }), 201);
  t.after(() => ask(api(0), 'DELETE', `/api/webhooks/${made.webhook._id}`, { token: service.token }));
  return made;
}

/** Waits until every api pod tells webhooks what is said. */
async function settled(told) {
  for (const pod of cluster.api.keys()) {
    const [alice, bob] = await people('alice', 'bob');
    const chat = await directChat(alice, bob);
    const content = `probe ${pod}`;
    const heard = () => told.events.some(({ data: { message } }) => message?.content === content);
    const probing = async () => {
      while (!heard()) {
        await say(alice, chat, content, api(pod));
        await delay(400);
      }
    };
    await inTime(probing(), content);
  }
}

test('a receiver with the published library hears a chat in its order', async (t) => {
  const told = new Told();
  const [alice, bob] = await people('alice', 'bob');
  // The secret is known once there is the webhook, which wants an address.
  const ears = {};
  const front = createServer((request, response) => ears.receiver.emit('request', request, response));
  const url = await listen(t, front);
  const { webhook: made, secret } = await webhook(t, url);
  ears.receiver = receiver([secret], (event) => told.hear(event));
  await settled(told);

  const chat = await directChat(alice, bob);
  const message = await say(alice, chat, 'one');
  await say(bob, chat, 'two');
  data(await ask(api(1), 'PATCH', `/api/chat/${chat._id}/messages/read`, { token: bob.token, body: {} }));
  const events = await told.until(chat, 4);
  assert.deepEqual(events.map(({ type }) => type), ['chat.created', 'message.created', 'message.created', 'message.read']);
  assert.equal(events[1].data.message._id, message._id);
  assert.equal(events[1].data.message.content, 'one');
  assert.equal(events[3].data.userId, bob.id);

  const log = data(await get(service, `/api/webhooks/${made._id}/deliveries?state=delivered`));
  assert.equal(log.deliveries[0].lastAttempt.status, 204);
});

test('old timestamps and wrong keys do not pass the published library', () => {
  const [ours, other] = [new Webhook('whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw'), new Webhook('whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX')];
  const body = '{"type":"webhook.ping"}';
  const headers = (at, webhook) => ({
    'webhook-id': 'e1',
    'webhook-timestamp': String(Math.floor(at / 1000)),
    'webhook-signature': webhook.sign('e1', new Date(at), body),
  });
  const now = Date.now();
  assert.deepEqual(ours.verify(body, headers(now, ours)), { type: 'webhook.ping' });
  assert.throws(() => ours.verify(body, headers(now - 3_600_000, ours)));
  assert.throws(() => ours.verify(body, headers(now, other)));
  assert.throws(() => ours.verify(`${body} `, headers(now, ours)));
});

test('who is neither admin nor the host has no say about webhooks', async () => {
  const [alice] = await people('alice');
  refused(await post(alice, '/api/webhooks', { url: 'https://app.example/' }), 403, 'forbidden');
  refused(await post(service, '/api/webhooks', { url: 'https://169.254.169.254/latest/meta-data/' }), 400, 'invalid_request', 'url');
});
