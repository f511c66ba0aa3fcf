// Node-RED without its editor: its http request, websocket and mqtt nodes.

import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

import { broker, cutOnce, gateway, publish, startProxy, until } from './gateway.mjs';
import { flow } from './nodered-flow.mjs';

const dir = fileURLToPath(new URL('generated/node-red/', import.meta.url));
const program = fileURLToPath(new URL('node_modules/node-red/red.js', import.meta.url));
mkdirSync(dir, { recursive: true });

// startNodeRED gives the address of a Node-RED that runs the flow.
async function startNodeRED(addresses) {
  const free = await startProxy('127.0.0.1:1');
  free.close();
  const port = free.addr.split(':')[1];
  writeFileSync(dir + 'flows.json', JSON.stringify(flow(addresses)));
  writeFileSync(dir + 'settings.cjs', `module.exports = { uiHost: '127.0.0.1', flowFile: 'flows.json', httpAdminRoot: false, webSocketReconnectTime: 500, mqttReconnectTime: 500, logging: { console: { level: 'info' } } };`);
  const child = spawn(process.execPath, [program, '--userDir', dir, '--settings', dir + 'settings.cjs', '--port', port], { stdio: ['ignore', 'inherit', 'inherit'] });
  process.on('exit', () => child.kill('SIGKILL'));
  const address = `http://127.0.0.1:${port}`;
  child.on('exit', code => process.exit(code || 1));
  await until(() => 'Node-RED answers', async () => (await fetch(address + '/got/start', { signal: AbortSignal.timeout(2000) }).catch(() => ({}))).ok);
  return address;
}

const post = (url, body) => fetch(url, { method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify(body) });

const proxies = { webSocket: await startProxy(new URL(gateway).host), mqtt: await startProxy(new URL(broker).host) };
const nodeRED = await startNodeRED({
  gateway, webSocket: `ws://${proxies.webSocket.addr}`, webSocketTopic: 'interop/node-red-websocket', mqtt: proxies.mqtt.addr, mqttTopic: 'interop/node-red-mqtt',
});
const kept = async name => (await fetch(`${nodeRED}/got/${name}`)).json();

const published = await post(nodeRED + '/publish', { topic: 'interop/node-red-http', payload: 21.5 });
assert.equal(published.status, 200);
assert.equal((await published.json()).delivery, 'acknowledged');
const read = await fetch(nodeRED + '/read?topic=interop/node-red-http');
assert.equal((await read.json()).payload, 21.5);
assert.equal((await post(nodeRED + '/publish', { topic: 'interop/#', payload: 1 })).status, 422);
console.log('http request: publishes, reads, and is told what is wrong');

// follow passes on what the flow keeps.
const follow = name => ({ got }) => {
  let ended = false, seen = 0;
  const poll = async () => {
    const all = await kept(name);
    for (const payload of all.slice(seen)) if (payload !== 'ready') got(payload);
    seen = all.length;
    if (!ended) setTimeout(poll, 20);
  };
  poll();
  return () => (ended = true);
};

await cutOnce('node-red-websocket', follow('websocket'), { proxy: proxies.webSocket });
await cutOnce('node-red-mqtt', follow('mqtt'), {
  proxy: proxies.mqtt,
  qos: 2,
  reads: async () => (await publish('interop/node-red-mqtt', 'ready', 2), (await kept('mqtt')).length > 0),
  gone: () => true,
});

proxies.mqtt.heal();
process.exit();
