// One publish, read, list, batch and error with the client that orval makes of openapi.yaml.

import assert from 'node:assert/strict';

import { getTopic, listTopics, publishBatch, publishMessage } from '../generated/orval/client.ts';
import type { HistoryObject, Message } from '../generated/orval/model/index.ts';
import { type Is, type Known, typed } from './typed.ts';

const topic = 'interop/orval/led';

const published = await publishMessage({ topic, payload: 'on' });
assert(published.status === 200);
assert.equal(published.data.delivery, 'acknowledged');
typed<Known<typeof published.data.delivery>>();

const read = await getTopic(topic, { headers: { Accept: 'application/json' } });
const message = read.data as Message;
assert.equal(message.payload, 'on');
typed<Known<Message['encoding']>>();

const list = await listTopics({ filter: 'interop/orval/#' });
assert(list.status === 200);
assert.deepEqual(list.data.map(m => m.type === 'message' && m.topic), [topic]);
typed<Is<typeof list.data, HistoryObject[]>>();

const batch = await publishBatch([{ topic, payload: 'off', qos: 0 }, { topic: 'interop/+', payload: 'off' }]);
assert(batch.status === 207);
assert.deepEqual(batch.data.map(r => r.status), [202, 422]);

const refused = await publishMessage({ topic: 'interop/#', payload: 'on' });
assert(refused.status === 422);
assert.equal(refused.data.code, 'topic_wildcard');
typed<Known<typeof refused.data.code>>();
typed<Known<typeof refused.data.status>>();
