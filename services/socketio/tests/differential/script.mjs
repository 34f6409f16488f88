// Random scripts: one seed is one script.

/** Mulberry32: small, and the same everywhere. */
function random(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const NAMESPACES = ["/", "/custom", "/private", "/nowhere"];
const TEXTS = ["", "hello", "ünïcödé ☃ 🦀", '"quoted"\\', "a,b/c-d", "\u0000\u001f\u2028", "0", "x".repeat(300)];

/** Malformed, or strange: [packets of one message]. */
const SOCKET_IO = [
  "4", "4x", "47", "49", "4-1", "4 ", "42", "42[]", "42{}", '42"a"', "42[1]", '42[1,"a"]', "42[null]", "42[true]", "42[[]]", "42[{}]",
  '42["a"', '42["a",]', '42["a"]]', '42["a"] ', '42["a" , 1 ]', '42 ["a"]', '42["connect"]', '42["disconnect"]', '42["connect_error"]',
  '42["disconnecting"]', '42["newListener"]', '42["removeListener"]', '42["message",{"__proto__":1}]', '42["message",1e400]',
  '42["message",-0]', '42["message",1.0,1e3,12345678901234567890]', '42["message","\\ud800"]', '42["message","\t"]',
  '42["message",NaN]', '42/custom', '42/custom,', '42/custom["message"]', '42/nowhere,["a"]', '42/,["message",1]', '42//,["message",1]',
  '4212["message-with-ack",1]', '42007["message-with-ack",1]', '421x["a"]', '4218446744073709551616["message-with-ack"]',
  '421.5["message-with-ack"]', '421e3["message-with-ack"]', '42-1["message-with-ack"]', "43", "43[]", "431", "431[]", "431{}", '431["x"]', "43/nowhere,1[]", "430[1,",
  "44", '44{"message":"x"}', '44"x"', "44[1]", "44/nowhere,", "45", "45-", '450-["a"]', '451-', '451["a"]', '45x-["a"]', '45-1-["a"]',
  '451.5-["a"]', "461-", "461-1[]", '461-["a"]', "40", "40{}", "40[]", '40"x"', "401", "40null", "40{", '40{"token":1}', "40/custom", "40/custom,", "40/custom,[]",
  "40/private,", "40/nowhere,{}", "40/nowhere", "40/custom?a=1,", "40//", "40/,", "40,", "41", "41/custom,", "41/nowhere,", "41{}", '41"x"', "411",
];
const ENGINE_IO = ["", "7", "9", "x", " ", "hello", "3", "3probe", "6", "5", "0", '0{"sid":"x"}', "6x", "2", "2probe", "\u001e", "4\u001e", "b", "b4", "bAAE=", "b!!!", "é"];

class Writer {
  constructor(seed) {
    this.next = random(seed);
    this.seed = seed;
    this.steps = [];
    this.slots = new Map();
    this.acks = 0;
  }

  below(limit) {
    return Math.floor(this.next() * limit);
  }

  chance(share) {
    return this.next() < share;
  }

  pick(list) {
    return list[this.below(list.length)];
  }

  /** One of the names, each with its weight. */
  weighted(weights) {
    let place = this.below(Object.values(weights).reduce((sum, weight) => sum + weight));
    for (const [name, weight] of Object.entries(weights)) if ((place -= weight) < 0) return name;
  }

  step(what, slot, more = {}) {
    this.steps.push({ do: what, slot, ...more });
  }

  send(slot, ...packets) {
    this.step("send", slot, { packets });
  }

  open(slot, transport = this.pick(["polling", "websocket"])) {
    this.step("open", slot, { transport });
    this.slots.set(slot, { transport, joined: new Set() });
    if (this.chance(0.9)) this.connect(slot, "/");
  }

  connect(slot, namespace) {
    const state = this.slots.get(slot);
    if (state.joined.has(namespace)) return;
    const good = { token: "open sesame" };
    const auth = this.pick(namespace === "/private" ? [good, good, { token: "wrong" }, null] : [null, {}, { a: [1, "b"] }, { name: this.pick(TEXTS) }]);
    const json = auth ? JSON.stringify(auth) : "";
    this.send(slot, `40${namespace === "/" ? "" : `${namespace},`}${json}`);
    if (namespace !== "/nowhere" && (namespace !== "/private" || auth === good)) state.joined.add(namespace);
  }

  prefix(namespace) {
    return namespace === "/" ? "" : `${namespace},`;
  }

  value(depth = 0) {
    switch (this.below(depth > 2 ? 4 : 6)) {
      case 0: return this.below(1_000) - 500;
      case 1: return this.pick(TEXTS);
      case 2: return this.pick([null, true, false]);
      case 3: return this.next();
      case 4: return Array.from({ length: this.below(3) }, () => this.value(depth + 1));
      default: return { a: this.value(depth + 1), b: this.pick(TEXTS) };
    }
  }

  ack(share = 0.5) {
    return this.chance(share) ? `${(this.acks += 1 + this.below(3))}` : "";
  }

  event(slot, namespace) {
    const name = this.weighted({ message: 4, "message-with-ack": 4, unknown: 1 });
    const args = Array.from({ length: this.below(4) }, () => this.value());
    return `42${this.prefix(namespace)}${this.ack()}${JSON.stringify([name, ...args])}`;
  }

  /** A message with attachments, each an own packet. */
  binary(namespace) {
    const count = 1 + this.below(4);
    const attachments = Array.from({ length: count }, () => {
      const data = Buffer.from(Array.from({ length: this.below(40) }, () => this.below(256)));
      return { base64: data.toString("base64") };
    });
    const places = attachments.map((_, num) => ({ _placeholder: true, num }));
    const args = this.chance(0.5) ? places : [{ deep: places, text: this.pick(TEXTS) }];
    const name = this.pick(["message", "message-with-ack"]);
    return [`45${count}-${this.prefix(namespace)}${this.ack()}${JSON.stringify([name, ...args])}`, ...attachments];
  }

  /** What a client does that means well. */
  act(slot) {
    const state = this.slots.get(slot);
    const joined = [...state.joined];
    const namespace = joined.length ? this.pick(joined) : "/";
    const room = `room ${this.seed} ${this.below(2)}`;
    const call = (name, ...args) => this.send(slot, `42${this.prefix(namespace)}${this.ack(0.7)}${JSON.stringify([name, ...args])}`);
    if (!joined.length) return this.connect(slot, this.pick(NAMESPACES));
    const what = this.weighted({ event: 5, binary: 3, batch: 2, join: 3, leave: 1, say: 4, connect: 3, part: 1, dismiss: 1, shut: 1, "http": 1 });
    if (what === "event") this.send(slot, this.event(slot, namespace));
    else if (what === "binary") this.step("batch", slot, { packets: this.binary(namespace) });
    else if (what === "batch") this.step("batch", slot, { packets: Array.from({ length: 2 + this.below(25) }, () => this.event(slot, namespace)) });
    else if (what === "join" || what === "leave") call(what, room);
    else if (what === "say") call("say", room, this.pick(TEXTS));
    else if (what === "connect") this.connect(slot, this.pick(NAMESPACES));
    else if (what === "part") {
      this.send(slot, `41${this.prefix(namespace)}`);
      state.joined.delete(namespace);
    } else if (what === "dismiss") {
      this.send(slot, `42${this.prefix(namespace)}["dismiss"]`);
      state.joined.delete(namespace);
    } else if (what === "shut") {
      this.send(slot, `42${this.prefix(namespace)}["shut"]`);
      this.slots.delete(slot);
    } else this.http(slot);
  }

  /** What breaks a protocol, or looks as if it did. */
  offend(slot) {
    const state = this.slots.get(slot);
    const what = this.weighted({ packet: 8, mutated: 5, engine: 4, attachments: 3, oversize: 2, overlap: 3, cancel: 3, post: 2, http: 3, odd: 5 });
    if (what === "packet") this.send(slot, this.pick(SOCKET_IO));
    else if (what === "mutated") this.send(slot, this.mutated(slot));
    else if (what === "engine") this.send(slot, this.pick(ENGINE_IO));
    else if (what === "attachments") this.attachments(slot);
    else if (what === "oversize") this.send(slot, `42["message","${"x".repeat(19_980 + this.pick([0, 3, 4, 5, 6, 7, 8, 2_000]))}"]`);
    else if (what === "overlap") this.step("overlap", slot, { what: this.pick(["poll", "post"]) });
    else if (what === "cancel") this.step("cancel", slot, { what: this.pick(["poll", "post"]) });
    else if (what === "odd") this.odd(slot, state);
    else if (what === "post") {
      const kind = this.pick(["text/plain", "application/octet-stream", "application/json"]);
      const body = this.pick(["", "4", '42["message",1]', { base64: "gICA" }, "6\u001e6", "3"]);
      this.step("post", slot, { body, kind });
    } else return this.http(slot);
    // It may be gone now: the model does not say.
    if (this.chance(0.3)) this.slots.delete(slot);
    else if (state.transport === "polling" && this.chance(0.2)) this.step("http", slot, { method: "GET", query: { EIO: 4, transport: "websocket" } });
  }

  /** What chance alone would bring too seldom. */
  odd(slot, state) {
    const send = (packets) => this.step("batch", slot, { packets });
    switch (this.below(7)) {
      case 0: return this.send(slot, this.pick(['42 ["a"]', '42 ["message"]']));
      case 1: return this.send(slot, '4218446744073709551616["message-with-ack"]');
      case 2: return state.joined.has("/") ? undefined : this.send(slot, "4 ");
      case 3: return send(['451-["message"]', { base64: "AAEC" }]);
      case 4: {
        const places = Array.from({ length: 11 }, (_, num) => ({ _placeholder: true, num }));
        return send([`4511-${JSON.stringify(["message", ...places])}`, ...places.map(() => ({ base64: "AA==" }))]);
      }
      case 5: return this.step("post", slot, { body: this.pick(["3", '42["message",1]', "7"]), kind: "application/octet-stream" });
      default:
        this.send(slot, '42["dismiss"]');
        return this.send(slot, '42["message",1]');
    }
  }

  mutated(slot) {
    const joined = [...this.slots.get(slot).joined, "/"];
    const characters = [...this.event(slot, this.pick(joined))];
    for (let times = 1 + this.below(3); times > 0; times -= 1) {
      const place = 1 + this.below(characters.length);
      characters.splice(place, this.below(2), ...(this.chance(0.6) ? [this.pick([..."0123456789[]{}\",-/ax"])] : []));
    }
    return characters.join("");
  }

  attachments(slot) {
    const [head, ...rest] = this.binary("/");
    const manner = this.pick(["none before", "text between", "one too many", "placeholders", "many"]);
    const send = (packets, loose) => this.step("batch", slot, { packets, loose });
    if (manner === "none before") send([rest[0]]);
    else if (manner === "text between") send([head, '42["message"]']);
    else if (manner === "one too many") send([head, ...rest, rest[0]]);
    else if (manner === "placeholders") {
      const places = this.pick([[{ _placeholder: true, num: 1 }], [{ _placeholder: true, num: -1 }], [{ _placeholder: true, num: "0" }], [{ _placeholder: true }], []]);
      send([`451-${JSON.stringify(["message", ...places])}`, { base64: "AAEC" }]);
    } else {
      const count = this.pick([9, 10, 11, 12]);
      const places = Array.from({ length: count }, (_, num) => ({ _placeholder: true, num }));
      send([`45${count}-${JSON.stringify(["message", ...places])}`, ...places.map(() => ({ base64: "AA==" }))]);
    }
  }

  http(slot) {
    const method = this.weighted({ GET: 5, POST: 2, PUT: 2, DELETE: 2, PATCH: 1, HEAD: 1 });
    const query = { EIO: this.pick(["4", "4", "4", "3", "5", ""]), transport: this.pick(["polling", "polling", "websocket", "webtransport", "x", ""]) };
    for (const key of Object.keys(query)) if (!query[key] && this.chance(0.5)) delete query[key];
    const known = slot && ["PUT", "DELETE", "PATCH"].includes(method) && this.chance(0.5);
    if (!known && this.chance(0.4)) query.sid = this.pick(["x", "AAAAAAAAAAAAAAAAAAAA", "__proto__", "", "toString"]);
    // Otherwise well-formed: it is the method that is refused.
    if (known) Object.assign(query, { EIO: "4", transport: this.pick(["polling", "websocket"]) });
    this.step("http", known ? slot : undefined, { method, query, body: method === "POST" ? "6" : undefined });
  }

  calm() {
    const length = 5 + this.below(12);
    const offences = this.chance(0.65) ? 0.25 : 0;
    this.open("a");
    while (this.steps.length < length) {
      const slot = this.pick(["a", "a", "b"]);
      const state = this.slots.get(slot);
      if (!state) this.open(slot);
      else if (state.transport === "polling" && this.chance(0.12)) {
        const manner = this.weighted({ proper: 6, hasty: 1, twice: 2, "given up": 2, betrayed: 1, garbage: 1, message: 1, unprobed: 1, close: 1 });
        this.step("upgrade", slot, { manner });
        if (["proper", "hasty", "twice"].includes(manner)) state.transport = "websocket";
      } else if (this.chance(0.06)) {
        this.step("leave", slot, { how: this.pick(["packet", "close frame"]) });
        this.slots.delete(slot);
      } else if (this.chance(offences)) this.offend(slot);
      else this.act(slot);
    }
  }

  brisk() {
    this.open("a");
    this.act("a");
    if (this.chance(0.5)) this.step("pings", "a", { count: 1 + this.below(3) });
    if (this.slots.get("a")?.transport === "polling" && this.chance(0.4)) this.step("upgrade", "a", { manner: "proper" });
    if (this.chance(0.6)) this.step("pings", "a", { count: 1 });
    if (this.chance(0.4)) this.step("mute", "a", { loose: true });
    else this.send("a", this.pick(["2", "2x", "3", "3x"]));
  }

  /** All of it in one step: it is the time that counts here. */
  idle() {
    this.step("open", "a", { transport: this.pick(["polling", "websocket"]), loose: true });
    const packets = ["40/nowhere,", "40", "41"].filter(() => this.chance(0.5));
    if (!packets.includes("40")) packets.splice(0, 3, ...packets.filter((packet) => packet !== "41"));
    this.step("linger", "a", { packets, loose: true });
  }
}

export function scriptOf(seed) {
  const writer = new Writer(seed);
  const engine = writer.weighted({ calm: 90, brisk: 6, idle: 4 });
  writer[engine]();
  return { seed, id: `s${seed}`, engine, steps: writer.steps };
}
