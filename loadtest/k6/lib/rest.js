// REST, with what a front end does around it: one envelope, retries of sends under one id.

import http from 'k6/http';
import { sleep } from 'k6';
import { limited, send as sendTime, sent } from './metrics.js';
import { url } from './settings.js';

/** Waits before each further try of a send, in seconds. */
const BACK_OFF = [0.2, 0.5, 1, 2, 4];

function parameters(token, name) {
  return {
    headers: { Authorization: `Bearer ${token}`, 'Content-Type': 'application/json' },
    // Paths hold ids; a tag by path would be a metric for each chat.
    tags: { name, expected: 'yes' },
    timeout: '15s',
  };
}

/** One call: its status, and the data of its answer. */
export function call(method, path, token, body, name) {
  const answer = http.request(method, url + path, body ? JSON.stringify(body) : null, parameters(token, name));
  let told = null;
  try {
    told = answer.json();
  } catch (_) {
    // A balancer's own page.
  }
  return { status: answer.status, data: told && told.data, error: told && told.error, headers: answer.headers };
}

/** Like `call`, for what has to work. */
export function must(method, path, token, body, name) {
  const answer = call(method, path, token, body, name);
  if (answer.status < 200 || answer.status > 299) {
    throw new Error(`${method} ${path}: ${answer.status} ${JSON.stringify(answer.error)}`);
  }
  return answer.data;
}

/** Sends under one id until somebody says what became of it. */
export function sendMessage(token, chat, content, clientMessageId) {
  const begun = Date.now();
  const body = { content, clientMessageId };
  for (let tried = 0; ; tried += 1) {
    const answer = call('POST', `/api/chat/${chat}/messages`, token, body, 'send');
    if (answer.status === 201 || answer.status === 200) {
      sendTime.add(Date.now() - begun);
      sent.add(true);
      return answer.data.message;
    }
    if (answer.status === 429) {
      limited.add(1);
      return null;
    }
    const final = answer.status >= 400 && answer.status < 500;
    if (final || tried === BACK_OFF.length) {
      sent.add(false);
      return null;
    }
    sleep(BACK_OFF[tried]);
  }
}
