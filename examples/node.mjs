// A client of the gateway's WebSocket for Node.js 22 or newer, without any package. Node.js 20 needs --experimental-websocket.
//
//   node examples/node.mjs                                        everything below pi/, at http://localhost:8080 or GATEWAY_URL
//   node examples/node.mjs ws://192.168.1.20:8080/ws 'alarms/#' 'pi/+/battery'
//
// With a key in GATEWAY_TOKEN it shows that one. It prints what arrives. A line that is typed, such as `pi/3/led on`, is published.
// When the connection breaks it connects again, each time a little later, and goes on behind the last message seen.

import { createInterface } from 'node:readline';

const gateway = process.env.GATEWAY_URL ?? 'http://localhost:8080';
const [url = gateway.replace(/^http/, 'ws').replace(/\/$/, '') + '/ws', ...rest] = process.argv.slice(2);
const topics = rest.length ? rest : ['pi/#'];

const key = process.env.GATEWAY_TOKEN;

let socket;
let cursor; // where we are in the stream: what a resume starts from
let attempts = 0;
let reading = false;
let lastId = 0;
const waiting = new Map(); // publishes without an answer, by id

function connect() {
  socket = new WebSocket(url, 'gateway.v1');
  socket.onmessage = event => receive(JSON.parse(event.data));
  let over = false;
  const ended = event => {
    if (over) return;
    over = true;
    for (const what of waiting.values()) console.log(`unknown: ${what}: the connection ended before the answer`);
    waiting.clear();
    if (!worthAnotherTry(event.code)) {
      console.error(`closed with ${event.code} ${event.reason}`);
      process.exit(1);
    }
    // 0.5 s, 1 s, 2 s … 30 s, and by chance up to half of it less, so that many clients do not come back together.
    const delay = Math.min(30_000, 500 * 2 ** attempts++) * (1 - Math.random() / 2);
    console.error(`connection ended (${event.code}), again in ${(delay / 1000).toFixed(1)} s`);
    setTimeout(connect, delay);
  };
  socket.onclose = ended;
  // An onclose that follows says more. Node.js 22 has none when the connection could not be made.
  socket.onerror = () => setTimeout(ended, 0, { code: 1006, reason: 'no connection' });
}

// 4500 to 4999 and malformed frames are mistakes of this program: the same again would end the same way.
function worthAnotherTry(code) {
  return ![1002, 1003, 1007, 1008, 1009].includes(code) && !(code >= 4500 && code <= 4999);
}

function send(op) {
  socket.send(JSON.stringify(op));
}

function receive(frame) {
  switch (frame.type) {
    case 'welcome':
      attempts = 0;
      reading ||= (readLines(), true);
      if (key) send({ op: 'auth', id: 'auth', token: key });
      // All filters in one subscribe: a resume is for all of them together.
      send({ op: 'subscribe', id: 'start', topics, since: cursor });
      break;
    case 'ack':
      if (frame.id === 'auth') break; // we are frame.principal now
      for (const r of frame.results) if (!r.ok) console.error(`${r.topic} was refused: ${r.detail}`);
      cursor = frame.cursor;
      break;
    case 'message':
      cursor = frame.cursor ?? cursor; // retained copies have none
      console.log(frame.retain ? 'retained' : 'message', frame.topic, JSON.stringify(value(frame)), frame.skipped ? `(${frame.skipped} skipped)` : '');
      break;
    case 'gap':
      // What did not fit into our queue is still in the history: keep the cursor, and a resume brings it.
      if (frame.reason !== 'slow_consumer') cursor = frame.before;
      console.log(`gap: messages ${frame.certain ? 'are' : 'may be'} missing (${frame.reason})`);
      break;
    case 'broker':
      console.log(frame.connected ? 'the broker is back' : 'the gateway has lost its broker');
      break;
    case 'published':
      console.log(`published: ${waiting.get(frame.id)}: ${frame.delivery}`);
      waiting.delete(frame.id);
      break;
    case 'error':
      console.log(`refused: ${waiting.get(frame.id) ?? frame.id}: ${frame.problem.code}: ${frame.problem.detail}`);
      waiting.delete(frame.id);
      break;
  }
}

// value gives the payload: a JSON value, a text, or bytes.
function value(message) {
  return message.encoding === 'base64' ? Buffer.from(message.payload, 'base64') : message.payload;
}

function publish(topic, payload) {
  if (socket.readyState !== WebSocket.OPEN) {
    console.log(`not sent: ${topic} ${payload}: there is no connection`);
    return;
  }
  const id = ++lastId;
  waiting.set(id, `${topic} ${payload}`);
  send({ op: 'publish', id, topic, payload, qos: 1 });
}

function readLines() {
  createInterface({ input: process.stdin }).on('line', line => {
    const [, topic, payload] = /^(\S+)\s*(.*)$/.exec(line.trim()) ?? [];
    if (topic) publish(topic, payload);
  });
}

connect();
