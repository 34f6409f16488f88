// One process of the peer: rooms of socket.io over Redis, as its documentation sets them up. No token is verified and nobody's
// membership is looked up: a client is in the room that it names.

import { createServer } from "node:http";
import { createAdapter } from "@socket.io/redis-streams-adapter";
import { createClient } from "redis";
import { Server } from "socket.io";

const redis = createClient({ url: process.env.PEER_REDIS_URL });
redis.on("error", (error) => console.error(error.message));
await redis.connect();

const http = createServer((request, response) => {
  const url = new URL(request.url, "http://peer");
  if (request.method === "POST" && url.pathname === "/say") {
    const content = url.searchParams.get("content");
    io.to(url.searchParams.get("room")).emit("message", { number: Number(url.searchParams.get("number")), content });
  }
  response.writeHead(200, { "Content-Length": "2" }).end("ok");
});

const io = new Server(http, {
  adapter: createAdapter(redis),
  connectionStateRecovery: { maxDisconnectionDuration: 120_000, skipMiddlewares: true },
  transports: ["websocket"],
});

io.on("connection", (socket) => {
  if (!socket.recovered) {
    socket.join(socket.handshake.auth.room);
  }
});

http.listen(Number(process.env.PEER_PORT), "127.0.0.1", 4096);
