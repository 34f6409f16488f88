// A raw client of both transports. It writes down all that comes back, under a name of what it belongs to.

import http from "node:http";
import WebSocket from "ws";

/** A server that is silent for so long when something has to come is written down as such. */
const PATIENCE = 4_000;
const agent = new http.Agent({ keepAlive: true, maxSockets: Infinity });

export function silence(promise, patience = PATIENCE) {
  let timer;
  const late = new Promise((resolve) => (timer = setTimeout(resolve, patience, "silence")));
  return Promise.race([promise, late]).finally(() => clearTimeout(timer));
}

/** One HTTP request: `sent` is the request, for whoever wants to break it off; `answer` never fails. */
export function request(url, { method = "GET", headers = {}, body, unfinished = false } = {}) {
  let sent;
  const answer = new Promise((resolve) => {
    sent = http.request(url, { method, headers, agent }, (response) => {
      const chunks = [];
      response.on("data", (chunk) => chunks.push(chunk));
      const done = (whole) => () => {
        const text = Buffer.concat(chunks).toString();
        const kind = response.headers["content-type"];
        resolve(whole ? { status: response.statusCode, text, kind } : { status: 0, text: "broken" });
      };
      response.on("end", done(true)).on("error", done(false)).on("close", done(false));
    });
    sent.on("error", () => resolve({ status: 0, text: "broken" }));
    sent.on("upgrade", (response, socket) => {
      socket.destroy();
      resolve({ status: response.statusCode, text: "" });
    });
    if (unfinished) sent.write(body);
    else sent.end(body);
  });
  return { sent, answer };
}

/** Binary values in the places of their placeholders: how they are numbered is nobody's business. */
function filled(value, attachments) {
  if (Array.isArray(value)) return value.map((one) => filled(one, attachments));
  if (value === null || typeof value !== "object") return value;
  if (value._placeholder === true) return { binary: attachments[value.num] ?? "nothing" };
  return Object.fromEntries(Object.entries(value).map(([key, one]) => [key, filled(one, attachments)]));
}

export class Client {
  /** `see(lane, what)` takes what is seen. */
  constructor(base, query, see, slot) {
    Object.assign(this, { base, query, see, slot });
    this.closed = false;
    this.transport = null;
    this.binary = null;
    this.markers = 0;
    this.waiting = new Set();
    this.autopong = true;
    this.pings = 0;
  }

  url(more = {}) {
    const sid = this.sid ? { sid: this.sid } : {};
    return `${this.base}?${new URLSearchParams({ EIO: 4, ...this.query, ...sid, ...more })}`;
  }

  /** Waits until something that came made it true, or the connection is closed. */
  async until(reached, patience) {
    if (this.closed || reached()) return;
    let check;
    const came = new Promise((resolve) => {
      check = () => (this.closed || reached()) && resolve();
      this.waiting.add(check);
    });
    if ((await silence(came, patience)) === "silence") this.note("silence");
    this.waiting.delete(check);
  }

  stir() {
    for (const check of [...this.waiting]) check();
  }

  note(what) {
    this.see(`${this.slot}`, what);
  }

  end(what) {
    if (this.closed) return;
    this.closed = true;
    this.note(what);
    this.stir();
  }

  async open(transport) {
    this.transport = transport;
    if (transport === "websocket") {
      await this.attach(new WebSocket(this.url({ transport }).replace("http", "ws")));
      await this.until(() => this.sid);
      return;
    }
    const { status, text } = await request(this.url({ transport })).answer;
    if (status !== 200) return this.end(`open ${status} ${text}`);
    for (const packet of text.split("\x1e")) this.packet(packet);
    this.pump();
  }

  /** The WebSocket is this client's transport from now on. */
  async attach(ws) {
    this.ws = ws;
    this.transport = "websocket";
    ws.on("message", (data, binary) => this.packet(binary ? data : data.toString()));
    ws.on("error", () => {});
    ws.on("close", (code) => this.end(`closed ${code}`));
    if (ws.readyState === WebSocket.CONNECTING) await new Promise((resolve) => ws.once("open", resolve).once("close", resolve));
  }

  /** There is always a poll, until told otherwise. */
  async pump() {
    this.pumping = true;
    let ended;
    this.pumped = new Promise((resolve) => (ended = resolve));
    while (this.pumping && !this.closed) {
      this.poll = request(this.url({ transport: "polling" }));
      const { status, text } = await this.poll.answer;
      if (this.cancelled) break;
      if (status !== 200) {
        this.quiet ? this.note(`poll ${status} ${text}`) : this.end(`poll ${status} ${text}`);
        break;
      }
      for (const packet of text.split("\x1e")) this.packet(packet.startsWith("b") ? Buffer.from(packet.slice(1), "base64") : packet);
      if (this.leaving) this.end("left");
    }
    this.pumping = false;
    ended();
  }

  packet(packet) {
    if (typeof packet !== "string") this.attachment(packet);
    else if (packet === "2") {
      this.pings += 1;
      if (this.autopong) this.send(["3"]);
    } else if (packet.startsWith("4")) this.message(packet.slice(1));
    else if (packet.startsWith("0")) {
      const { sid, ...rest } = JSON.parse(packet.slice(1));
      this.sid = sid;
      this.note(`0${JSON.stringify(rest)}`);
    } else if (packet === "6") {
      this.noops = (this.noops ?? 0) + 1;
      this.note("6");
      if (this.upgrading) this.pumping = false;
    } else if (packet === "1") {
      this.end("1");
    } else this.note(packet);
    this.stir();
  }

  message(text) {
    const [, kind, count, namespace = "/", id, json] = /^(\d)(?:(\d+)-)?(?:(\/[^,]*),)?(\d*)([^]*)$/.exec(text) ?? [];
    if (kind === undefined) return this.note(`4${text}`);
    if (namespace.startsWith("/~")) {
      this.answered = namespace;
      return;
    }
    let value = json && JSON.parse(json);
    if (kind === "0" && value?.sid) value = { sid: typeof value.sid };
    const head = `4${kind}${namespace},${id}`;
    if (!count || count === "0") return this.see(`${this.slot} ${namespace}`, head + (json ? JSON.stringify(value) : ""));
    this.binary = { head, namespace, value, count: Number(count), attachments: [] };
  }

  attachment(data) {
    if (!this.binary) return this.note(`binary ${data.toString("base64")}`);
    const { head, namespace, value, count, attachments } = this.binary;
    attachments.push(data.toString("base64"));
    if (attachments.length < count) return;
    this.binary = null;
    this.see(`${this.slot} ${namespace}`, head + JSON.stringify(filled(value, attachments)));
  }

  /** Packets, text or bytes; over polling in one payload. True if they were taken. */
  async send(packets) {
    if (this.closed) return false;
    if (this.transport === "websocket") {
      for (const packet of packets) this.ws.send(packet);
      return true;
    }
    const body = packets.map((one) => (typeof one === "string" ? one : `b${one.toString("base64")}`)).join("\x1e");
    return this.post(body);
  }

  async post(body, headers = { "content-type": "text/plain;charset=UTF-8" }) {
    const { status, text } = await request(this.url({ transport: "polling" }), { method: "POST", headers, body }).answer;
    if (status !== 200 || text !== "ok") this.note(`post ${status} ${text}`);
    return status === 200;
  }

  /** All that was sent before has been answered: a namespace that does not exist says so, twice, for
   * answers may overtake one another within a tick of the reference. Then the next poll is there. */
  async sync() {
    for (let round = 0; round < 2 && !this.closed; round += 1) {
      const name = `/~${(this.markers += 1)}`;
      const taken = await this.send([`40${name},`]);
      if (!taken) await this.gone();
      else await this.until(() => this.answered === name);
    }
    await this.settle();
  }

  /** The poll is parked: what was written before it on another connection has been answered since. */
  async settle() {
    if (this.closed || this.transport !== "polling") return;
    await request(`${this.base}?transport=none`).answer;
    await request(`${this.base}?transport=none`).answer;
  }

  /** A request was refused: the session ends, its poll too. */
  async gone() {
    await this.until(() => false, 1_000);
  }

  /** Waits until the server no longer knows the session of a client that broke off. */
  async forgotten() {
    const end = Date.now() + PATIENCE;
    for (;;) {
      // A method that neither a poll nor a post can overlap.
      const { text } = await request(this.url({ transport: "polling" }), { method: "PUT" }).answer;
      if (text.includes("Session ID unknown")) return this.end("forgotten");
      if (Date.now() > end) return this.end("remembered");
    }
  }

  /** Ends without anything to be seen. */
  async drop() {
    if (this.closed) return;
    this.closed = true;
    if (this.transport === "websocket") return this.ws.terminate();
    await request(this.url({ transport: "polling" }), { method: "POST", body: "1" }).answer;
    await silence(this.pumped ?? Promise.resolve(), 500);
    this.poll?.sent.destroy();
  }
}
