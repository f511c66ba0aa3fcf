// sdk.js outside of browsers: reading over a cut, publishing while there is no connection, and an end that leaves nothing behind.
// Node.js 20 has no WebSocket, and gets that of ws.

import assert from 'node:assert/strict';

import { WebSocket } from 'ws';

import { connect } from '../sdk/js/sdk.js';
import { cutOnce, gateway, publish, startProxy, subscriptions, until } from './gateway.mjs';

const name = `sdk-${process.versions.node}`;
// Nothing but the socket's own events brings it back.
const options = addr => ({ url: `http://${addr}`, heartbeat: 600_000, ...(!globalThis.WebSocket && { WebSocket }) });

await cutOnce(name, ({ addr, topic, got }) => {
  const gw = connect(options(addr));
  gw.subscribe(topic, { onMessage: m => got(m.payload), onGap: g => got(`gap ${g.reason}`) });
  return () => gw.close();
});

// Subscriptions that began at different places resume each from its own.
const proxy = await startProxy(new URL(gateway).host);
const gw = connect(options(proxy.addr));
let lost = 0;
gw.onstate = ({ state }) => (lost += state === 'waiting');
const logs = { 'all/#': [], 'all/2': [] };
const watch = filter =>
  new Promise(onReady => gw.subscribe(`interop/${name}/${filter}`, { onReady, onMessage: m => logs[filter].push(m.payload), onGap: g => logs[filter].push(g.reason) }));
const topic = n => `interop/${name}/all/${n}`;
await watch('all/#');
await publish(topic(1), 1);
await until(() => 'the first message', () => logs['all/#'].length === 1);
const second = (async () => {
  const all = [];
  for await (const m of gw.messages(`interop/${name}/all/2`)) {
    all.push(m.payload);
    if (all.length === 3) return all;
  }
})();
await watch('all/2');
await until(() => 'both filters', async () => (await subscriptions()) === 2);
await publish(topic(2), 2);
await until(() => `the second message; there is ${JSON.stringify(logs)}`, () => logs['all/2'].length === 1);

proxy.cut();
await until(() => 'it has tried again', () => lost >= 3);
await assert.rejects(gw.publish(topic(2), 4), { code: 'not_connected', retryable: true });
const queued = gw.publish(topic(2), 4, { queue: true });
await publish(topic(2), 3);
await until(() => 'the gateway notices', async () => (await subscriptions()) === 0);
proxy.heal();
assert.equal((await queued).delivery, 'acknowledged');
assert.deepEqual(await second, [2, 3, 4]);
await until(() => `all messages; there is ${JSON.stringify(logs)}`, () => logs['all/#'].length >= 4 && logs['all/2'].length >= 3);
assert.deepEqual(logs, { 'all/#': [1, 2, 3, 4], 'all/2': [2, 3, 4] });

assert.equal((await gw.publish(topic('bytes'), new Uint8Array([255, 0]))).status, 200);
assert.deepEqual((await gw.get(topic('bytes'))).payload, new Uint8Array([255, 0]));
assert.equal((await gw.request(topic('set'), 'on', { reply: topic('set') })).payload, 'on');
await assert.rejects(gw.publish('interop/#', 'on'), { status: 422, code: 'topic_wildcard' });
gw.close();
proxy.close();
console.log(`${name}: all as promised`);
// The process ends by itself: no timer and no connection is left.
