// A receiver of Parley's webhooks, with the published library of Standard Webhooks (npm i standardwebhooks).

import { createServer } from 'node:http';
import { Webhook } from 'standardwebhooks';

/** A server that has `handle(event)` called for what Parley tells it. While a secret changes, give both. */
export function receiver(secrets, handle) {
  const webhooks = secrets.map((secret) => new Webhook(secret));
  // What was handled already: in production, a table with the id as its key, written with what the event changes.
  const handled = new Set();
  return createServer(async (request, response) => {
    const chunks = [];
    for await (const chunk of request) chunks.push(chunk);
    const body = Buffer.concat(chunks).toString();
    // Over the bytes as they came, with a time of at most five minutes ago.
    const event = webhooks.map((webhook) => verified(webhook, body, request.headers)).find(Boolean);
    if (!event) return response.writeHead(401).end();
    const id = request.headers['webhook-id'];
    try {
      // Told again when the answer was lost: the same id is the same event.
      if (!handled.has(id)) await handle(event);
      handled.add(id);
      response.writeHead(204).end();
    } catch {
      // Parley comes again later; the events behind this one in its chat wait.
      response.writeHead(500).end();
    }
  });
}

function verified(webhook, body, headers) {
  try {
    return webhook.verify(body, headers);
  } catch {
    return null;
  }
}
