// WebSockets without an SDK, with the code of docs/clients.md: remember the cursor of every frame, and subscribe with it again.

import ReconnectingWebSocket from 'reconnecting-websocket';
import { WebSocket } from 'ws';

import { cutOnce, documented } from './gateway.mjs';

// read runs the documented code, which prints topics and payloads.
const read = (socket, topic, got) => new Function('socket', 'console', documented('socket.onmessage', topic))(socket, { log: (_, payload) => got(payload) });

// ws does not come back by itself: each new socket gets what the application does with frames.
await cutOnce('ws', ({ addr, topic, got }) => {
  const application = { send: text => socket.send(text) };
  read(application, topic, got);
  let ended = false, socket;
  const connect = () => {
    socket = new WebSocket(`ws://${addr}/ws`, 'gateway.v1');
    socket.onmessage = event => application.onmessage(event);
    socket.onerror = () => {}; // onclose follows
    socket.onclose = () => ended || setTimeout(connect, 500 * (0.5 + Math.random() / 2));
  };
  connect();
  return () => {
    ended = true;
    socket.close();
  };
});

await cutOnce('reconnecting-websocket', ({ addr, topic, got }) => {
  const socket = new ReconnectingWebSocket(`ws://${addr}/ws`, 'gateway.v1', { WebSocket });
  read(socket, topic, got);
  return () => socket.close();
});
process.exit();
