// Plays a script against one server. What comes of it is a list: of every step, what was seen where.

import WebSocket from "ws";
import { Client, request, silence } from "./client.mjs";

/** No step takes so long, unless something that has to come does not. */
const STEP = 12_000;
const bytes = (packet) => (typeof packet === "string" ? packet : Buffer.from(packet.base64, "base64"));

class Player {
  constructor(url, script) {
    this.base = `${url}/${script.engine}/`;
    this.script = script;
    this.clients = new Map();
    this.names = 0;
  }

  see = (lane, what) => {
    (this.seen[lane] ??= []).push(what);
  };

  async play() {
    const transcript = [];
    for (const step of this.script.steps) {
      this.seen = {};
      const client = this.clients.get(step.slot);
      const done = async () => {
        if (client || step.do === "open" || step.do === "http") await this[step.do](step, client);
        if (!step.loose) for (const other of this.clients.values()) await other.sync();
      };
      if ((await silence(done(), STEP)) === "silence") this.see("step", "never ended");
      transcript.push(this.seen);
      if (this.seen.step) break;
    }
    this.seen = {};
    for (const client of this.clients.values()) await client.drop();
    return transcript;
  }

  async open({ slot, transport }) {
    await this.clients.get(slot)?.drop();
    const name = `${slot}${(this.names += 1)}`;
    const client = new Client(this.base, { script: this.script.id, slot: name }, this.see, name);
    this.clients.set(slot, client);
    await client.open(transport);
  }

  /** Each packet by itself. */
  async send({ packets }, client) {
    for (const packet of packets) await client.send([bytes(packet)]);
  }

  /** All in one payload. */
  async batch({ packets }, client) {
    await client.send(packets.map(bytes));
  }

  async post({ body, kind }, client) {
    if (client.closed || client.transport !== "polling") return;
    const taken = await client.post(bytes(body), { "content-type": kind });
    if (!taken) await client.settle();
  }

  async http({ slot, method, query, headers, body }) {
    const sid = slot && this.clients.get(slot)?.sid;
    const all = new URLSearchParams({ script: this.script.id, ...query, ...(sid ? { sid } : {}) });
    const { sent, answer } = request(`${this.base}?${all}`, { method, headers, body });
    const answered = await silence(answer, 1_500);
    if (answered === "silence") {
      sent.destroy();
      return this.see("http", answered);
    }
    const { status, text, kind } = answered;
    const shown = text.replace(/"sid":"[^"]*"/, '"sid":""');
    this.see("http", `${status} ${kind ?? "-"} ${shown}`);
  }

  /** A WebSocket for a session that polls. */
  async upgrade({ manner }, client) {
    if (client.closed || client.transport !== "polling") return;
    const connect = () => new Promise((resolve) => {
      const ws = new WebSocket(client.url({ transport: "websocket" }).replace("http", "ws"));
      const came = [];
      const stirs = new Set();
      ws.on("message", (data) => { came.push(data.toString()); stirs.forEach((stir) => stir()); });
      ws.on("close", (code) => { came.push(`closed ${code}`); stirs.forEach((stir) => stir()); });
      ws.on("error", () => {});
      const next = () => silence(new Promise((found) => {
        const stir = () => came.length && (stirs.delete(stir), found(came.shift()));
        stirs.add(stir);
        stir();
      }));
      ws.on("open", () => resolve({ ws, next }));
      ws.on("unexpected-response", (_, response) => resolve({ refused: response.statusCode }));
    });
    const { ws, next, refused } = await connect();
    if (refused) return client.note(`upgrade ${refused}`);
    const first = { garbage: "hello", message: "4hello", unprobed: "5", close: "1" }[manner];
    ws.send(first ?? "2probe");
    client.note(`upgrade ${await next()}`);
    if (manner === "unprobed" && ws.readyState === WebSocket.OPEN) return ws.terminate();
    if (first) return;
    const polite = manner !== "hasty";
    client.quiet = !polite;
    client.upgrading = true;
    if (polite) await silence(client.pumped);
    if (manner === "twice") {
      const second = await connect();
      if (second.refused) client.note(`second ${second.refused}`);
      else client.note(`second ${await second.next()}`);
    }
    if (manner === "given up" || manner === "betrayed") {
      if (manner === "betrayed") ws.send("4hello");
      else ws.close();
      client.note(`then ${await next()}`.replace(/\d+$/, ""));
      client.upgrading = false;
      client.pump();
      return;
    }
    client.pumping = false;
    ws.removeAllListeners("message");
    ws.removeAllListeners("close");
    await client.attach(ws);
    ws.send("5");
    await silence(client.pumped);
  }

  async overlap({ what }, client) {
    if (client.closed || client.transport !== "polling") return;
    if (what === "poll") {
      const { status, text } = await request(client.url({ transport: "polling" })).answer;
      client.note(`second ${status} ${text}`);
      return client.gone();
    }
    const first = request(client.url({ transport: "polling" }), { method: "POST", headers: { "content-length": "10" }, body: "6", unfinished: true });
    await client.settle();
    const { status, text } = await request(client.url({ transport: "polling" }), { method: "POST", body: "6" }).answer;
    client.note(`second ${status} ${text}`);
    const answer = await silence(first.answer);
    client.note(`first ${answer.status} ${answer.text}`);
    first.sent.destroy();
    await client.gone();
  }

  async cancel({ what }, client) {
    if (client.closed) return;
    if (client.transport === "websocket") {
      client.ws.terminate();
      return client.until(() => false);
    }
    client.cancelled = true;
    if (what === "poll") client.poll.sent.destroy();
    else {
      const half = request(client.url({ transport: "polling" }), { method: "POST", headers: { "content-length": "10" }, body: "6", unfinished: true });
      await client.settle();
      half.sent.destroy();
      await half.answer;
    }
    await client.forgotten();
    client.poll.sent.destroy();
  }

  async leave({ how }, client) {
    if (client.closed) return;
    if (how === "close frame" && client.transport === "websocket") client.ws.close(1000);
    else {
      client.leaving = true;
      await client.send(["1"]);
    }
    await client.until(() => false);
  }

  async pings({ count }, client) {
    const before = client.pings;
    await client.until(() => client.pings >= before + count);
    if (!client.closed) client.note(`${count} pings`);
  }

  async mute(_, client) {
    client.autopong = false;
    await client.until(() => false, 8_000);
  }

  async linger({ packets }, client) {
    for (const packet of packets) await client.send([packet]);
    await silence(client.until(() => false, 9_000), 1_500);
    if (!client.closed) client.note("open");
  }
}

export function play(url, script) {
  return new Player(url, script).play();
}
