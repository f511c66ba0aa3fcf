// Readers of server-sent events. All of them remember the last id and come back by themselves.

import { createRequire } from 'node:module';

import { EventSource } from 'eventsource';

import { cutOnce } from './gateway.mjs';

const require = createRequire(import.meta.url);
const { EventSourcePolyfill } = require('event-source-polyfill');

// What a browser has and fetch-event-source expects.
globalThis.window = globalThis;
globalThis.document = { hidden: false, addEventListener() {}, removeEventListener() {} };
const { fetchEventSource } = require('@microsoft/fetch-event-source');

const url = (addr, topic) => `http://${addr}/events?format=sse&topic=${encodeURIComponent(topic)}`;
const payload = event => JSON.parse(event.data).payload;

for (const [name, Class] of Object.entries({ eventsource: EventSource, 'event-source-polyfill': EventSourcePolyfill })) {
  await cutOnce(name, ({ addr, topic, got }) => {
    const source = new Class(url(addr, topic));
    source.onmessage = event => got(payload(event));
    return () => source.close();
  });
}

// It gives events of all names to one function: messages are those without one.
await cutOnce('fetch-event-source', ({ addr, topic, got }) => {
  const stop = new AbortController();
  fetchEventSource(url(addr, topic), {
    signal: stop.signal,
    openWhenHidden: true,
    onmessage: event => event.event === '' && got(payload(event)),
  });
  return () => stop.abort();
});
process.exit();
