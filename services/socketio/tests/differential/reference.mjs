// The other side of the differential test: the application of `examples/differential.rs`, on npm socket.io.

import { createServer } from "node:http";
import { Server } from "socket.io";

const TOKEN = "open sesame";
const REASONS = {
  "client namespace disconnect": "client namespace",
  "server namespace disconnect": "server namespace",
  "ping timeout": "ping timeout",
};

/** By script. */
const journal = new Map();

function note(socket, what) {
  const { script = "", slot = "" } = socket.handshake.query;
  if (!journal.has(script)) journal.set(script, []);
  journal.get(script).push(`${slot} ${socket.nsp.name} ${what}`);
}

function connected(socket) {
  note(socket, "connected");
  socket.emit("auth", socket.handshake.auth);
  socket.on("disconnect", (reason) => note(socket, `disconnected ${REASONS[reason] ?? "connection"}`));
  socket.onAny((name, ...args) => event(socket, String(name), args));
}

function event(socket, name, args) {
  const ack = typeof args.at(-1) === "function" ? args.pop() : undefined;
  const text = (place) => (typeof args[place] === "string" ? args[place] : "");
  if (name === "journal") return ack?.(journal.get(text(0)) ?? []);
  note(socket, `event ${name} ${args.length}`);
  switch (name) {
    case "message":
      socket.emit("message-back", ...args);
      break;
    case "join":
      socket.join(text(0));
      break;
    case "leave":
      socket.leave(text(0));
      break;
    case "say":
      socket.nsp.to(text(0)).emit("said", text(0), args[1] ?? null);
      break;
    case "dismiss":
      socket.disconnect();
      break;
    case "shut":
      socket.conn.close();
      break;
    case "message-with-ack":
      break;
    default:
      return;
  }
  ack?.(...args);
}

const server = createServer();
for (const [path, pingInterval, pingTimeout, connectTimeout] of [
  ["/calm/", 25_000, 20_000, 45_000],
  ["/brisk/", 400, 1_500, 45_000],
  ["/idle/", 25_000, 20_000, 400],
]) {
  const io = new Server(server, {
    path,
    pingInterval,
    pingTimeout,
    connectTimeout,
    upgradeTimeout: 10_000,
    maxHttpBufferSize: 20_000,
    cors: { origin: "*" },
    serveClient: false,
    // Another engine on the same listener takes the upgrades of its own path.
    destroyUpgrade: false,
  });
  io.on("connection", connected);
  io.of("/custom").on("connection", connected);
  io.of("/private")
    .use((socket, next) => {
      if (socket.handshake.auth.token === TOKEN) return next();
      next(Object.assign(new Error("not authorised"), { data: { code: "TOKEN" } }));
    })
    .on("connection", connected);
}
server.listen(0, "127.0.0.1", () => console.log(`listening on port ${server.address().port}`));
