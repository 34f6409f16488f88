// socket.io as its documentation has it: a client is in the room that it names, and what one says goes to a room. No token
// is verified, and nobody's membership is looked up.

import { createServer } from "node:http";
import { Server } from "socket.io";

const http = createServer();
const io = new Server(http, { transports: ["websocket"], maxHttpBufferSize: 1e8 });

io.on("connection", (socket) => {
  const { room } = socket.handshake.auth;
  if (room) {
    socket.join(room);
  }
  socket.on("say", (room, name, message) => io.to(room).emit(name, message));
});

http.listen(Number(process.env.PEER_PORT), "127.0.0.1", 4096);
