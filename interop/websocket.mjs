// WebSockets without an SDK, as docs/clients.md tells: remember the cursor of every frame, and subscribe with it again.

import ReconnectingWebSocket from 'reconnecting-websocket';
import { WebSocket } from 'ws';

import { cutOnce } from './gateway.mjs';

// reader makes what an application does with frames; send writes one.
function reader(topic, got) {
  let cursor;
  return (text, send) => {
    const frame = JSON.parse(text);
    switch (frame.type) {
      case 'welcome':
        send(JSON.stringify({ op: 'subscribe', topics: [topic], since: cursor }));
        break;
      case 'ack':
        cursor = frame.cursor;
        break;
      case 'gap':
        if (frame.reason !== 'slow_consumer') cursor = frame.before;
        break;
      case 'message':
        cursor = frame.cursor ?? cursor; // retained copies have none
        got(frame.payload);
    }
  };
}

// ws does not come back by itself.
await cutOnce('ws', ({ addr, topic, got }) => {
  const receive = reader(topic, got);
  let ended = false, socket;
  const connect = () => {
    socket = new WebSocket(`ws://${addr}/ws`, 'gateway.v1');
    socket.on('message', data => receive(String(data), text => socket.send(text)));
    socket.on('error', () => {}); // close follows
    socket.on('close', () => ended || setTimeout(connect, 500 * (0.5 + Math.random() / 2)));
  };
  connect();
  return () => {
    ended = true;
    socket.close();
  };
});

await cutOnce('reconnecting-websocket', ({ addr, topic, got }) => {
  const receive = reader(topic, got);
  const socket = new ReconnectingWebSocket(`ws://${addr}/ws`, 'gateway.v1', { WebSocket });
  socket.onmessage = event => receive(event.data, text => socket.send(text));
  return () => socket.close();
});
process.exit();
