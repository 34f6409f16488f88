// As much of Socket.IO 5 as a chat needs, over k6's WebSockets: the default namespace, events, acks, heartbeats.

import { WebSocket } from 'k6/experimental/websockets';
import { clearTimeout, setTimeout } from 'k6/timers';
import { url } from './settings.js';

/** How long a handshake and its CONNECT may take together. */
const PATIENCE = 20_000;
/**
 * How long an open WebSocket may wait for its first packet. One in some thousand never gets it: k6 1.1 reads before it takes
 * the WebSocket for open, and drops what it reads until then.
 */
const FIRST_PACKET = 5000;
/** The state of a WebSocket that is open. */
const OPEN = 1;

/**
 * Opens a connection. `on` has `connect()`, `refused(error)`, `event(name, argument)` and `close()`; the last is called
 * once, whatever ended it.
 */
export function open(token, on, base = url) {
  const socket = new WebSocket(`${base.replace(/^http/, 'ws')}/socket.io/?EIO=4&transport=websocket`);
  const acks = new Map();
  let [next, silence, interval, last, ended] = [0, null, 0, 0, false];

  const end = () => {
    if (ended) return;
    ended = true;
    clearTimeout(silence);
    acks.clear();
    on.close();
  };
  const close = () => {
    try {
      socket.close();
    } catch (_) {
      // It has not been open yet, or is no more.
    }
    end();
  };
  // One timer a connection, not one a packet: that would cost a big room more than its messages do.
  const watch = () => {
    const left = last + interval - Date.now();
    if (left > 0) silence = setTimeout(watch, left);
    else close();
  };
  const watchFor = (limit) => {
    [last, interval] = [Date.now(), limit];
    clearTimeout(silence);
    watch();
  };

  function packet(text) {
    if (text[1] === '0') on.connect();
    else if (text[1] === '4') on.refused(JSON.parse(text.slice(2)));
    else if (text[1] === '1') close();
    else if (text[1] === '2') {
      const [name, argument] = JSON.parse(text.slice(2));
      on.event(name, argument);
    } else if (text[1] === '3') {
      const digits = /^43(\d+)/.exec(text);
      const answer = digits && acks.get(Number(digits[1]));
      if (answer) {
        acks.delete(Number(digits[1]));
        answer(JSON.parse(text.slice(digits[0].length))[0]);
      }
    }
  }

  watchFor(PATIENCE);
  socket.onopen = () => watchFor(FIRST_PACKET);
  socket.onmessage = ({ data }) => {
    if (ended) return;
    last = Date.now();
    if (data[0] === '0') {
      const { pingInterval, pingTimeout } = JSON.parse(data.slice(1));
      watchFor(pingInterval + pingTimeout);
      socket.send(`40${JSON.stringify({ token })}`);
    } else if (data === '2') socket.send('3');
    else if (data[0] === '4') packet(data);
  };
  socket.onclose = end;
  socket.onerror = close;

  return {
    close,
    emit(name, argument, ack) {
      // One that is being closed takes nothing, though it has not ended yet.
      if (ended || socket.readyState !== OPEN) return;
      let id = '';
      if (ack) {
        id = next;
        next += 1;
        acks.set(id, ack);
      }
      socket.send(`42${id}${JSON.stringify([name, argument])}`);
    },
  };
}
