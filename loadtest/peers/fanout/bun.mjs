// Bun's WebSocket server as its documentation has it: a client subscribes to the topic that it names, and what one says is
// published as it is, whole.

const server = Bun.serve({
  port: Number(process.env.PEER_PORT),
  hostname: "127.0.0.1",
  fetch(request, server) {
    const room = new URL(request.url).searchParams.get("room");
    return server.upgrade(request, { data: { room } }) ? undefined : new Response("a WebSocket is wanted", { status: 426 });
  },
  websocket: {
    open(socket) {
      if (socket.data.room) {
        socket.subscribe(socket.data.room);
      }
    },
    message(_socket, text) {
      const end = text.indexOf("\n");
      server.publish(text.slice(0, end), text.slice(end + 1));
    },
  },
});
