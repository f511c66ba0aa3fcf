// What the parts share: the gateway that runs, and a proxy that cuts connections.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';

export const { GATEWAY: gateway, ADMIN: admin, BROKER: broker } = process.env;
const patience = 60_000;

// until waits for a condition.
export async function until(what, condition) {
  for (const end = Date.now() + patience; Date.now() < end; await new Promise(r => setTimeout(r, 20))) {
    if (await condition()) return;
  }
  throw new Error(`not within ${patience / 1000} s: ${what()}`);
}

export async function publish(topic, payload, qos = 1) {
  const res = await fetch(gateway + '/publish', {
    method: 'POST', headers: { 'Content-Type': 'application/json' }, body: JSON.stringify({ topic, payload: String(payload), encoding: 'text', qos }),
  });
  assert.equal(res.status, 200, await res.text());
}

// subscriptions is how many filters clients of the gateway hold.
export async function subscriptions() {
  const text = await (await fetch(admin + '/metrics')).text();
  return Number(/^gateway_subscriptions (\d+)/m.exec(text)[1]);
}

// documented is the code of docs/clients.md that has some words, for another topic than its pi/#.
export function documented(words, topic) {
  const text = readFileSync(new URL('../docs/clients.md', import.meta.url), 'utf8');
  const [, code] = [...text.matchAll(/^ *```\w+\n(.*?)^ *```$/gms)].find(([block]) => block.includes(words));
  return code.replace("'pi/#'", `'${topic}'`);
}

// startProxy passes bytes on to a target, host:port. While it is cut, it
// resets whoever comes.
export function startProxy(target) {
  const [host, port] = target.split(':');
  const open = new Set();
  let cut = false;
  const server = createServer(near => {
    if (cut) return near.resetAndDestroy();
    const far = connect(port, host);
    for (const [a, b] of [[near, far], [far, near]]) {
      open.add(a);
      a.on('error', () => {}).on('close', () => (open.delete(a), b.destroy()));
      a.pipe(b);
    }
  });
  const proxy = {
    cut() {
      cut = true;
      for (const socket of open) socket.resetAndDestroy();
    },
    heal() { cut = false; },
    close() {
      proxy.cut();
      server.close();
    },
  };
  return new Promise(resolve => server.listen(0, '127.0.0.1', () => resolve(Object.assign(proxy, { addr: `127.0.0.1:${server.address().port}` }))));
}

// cutOnce holds a client to this: what is published before, during and after a
// cut of its connection arrives once, in order. start gets the proxy's address,
// a topic and a function to call with every payload; it returns what ends the
// client. By default it is a client of the gateway; others bring their proxy,
// and say when they read and when they have gone.
export async function cutOnce(name, start, { proxy: theirs, qos, reads = async () => (await subscriptions()) === 1, gone = async () => (await subscriptions()) === 0 } = {}) {
  const topic = `interop/${name}`;
  const proxy = theirs ?? (await startProxy(new URL(gateway).host));
  const got = [];
  const all = Array.from({ length: 9 }, (_, i) => String(i + 1));
  const arrived = n => until(() => `${name} has ${n} messages; it has ${got}`, () => got.length >= n);
  const stop = await start({ addr: proxy.addr, topic, got: payload => got.push(String(payload)) });
  await until(() => `${name} reads`, reads);
  for (const i of all.slice(0, 3)) await publish(topic, i, qos);
  await arrived(3);
  proxy.cut();
  await until(() => `${name} has gone`, gone);
  for (const i of all.slice(3, 6)) await publish(topic, i, qos);
  proxy.heal();
  await arrived(6);
  for (const i of all.slice(6)) await publish(topic, i, qos);
  await arrived(9);
  await stop();
  proxy.close();
  await until(() => `${name} has ended`, gone);
  assert.deepEqual(got, all, name);
  console.log(`${name}: nothing lost, nothing twice`);
}
