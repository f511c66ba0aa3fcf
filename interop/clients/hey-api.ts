// One publish, read, list, batch and error with the client that @hey-api/openapi-ts makes of openapi.yaml.

import assert from 'node:assert/strict';

import { getTopic, listTopics, publishBatch, publishMessage } from '../generated/hey-api/index.ts';
import { client } from '../generated/hey-api/client.gen.ts';
import type { HistoryObject, Message } from '../generated/hey-api/index.ts';
import { type Is, type Known, typed } from './typed.ts';

client.setConfig({ baseUrl: process.env.GATEWAY });
const topic = 'interop/hey-api/led';

const published = await publishMessage({ body: { topic, payload: 'on' } });
assert.equal(published.data?.delivery, 'acknowledged');
typed<Known<NonNullable<typeof published.data>['delivery']>>();

const read = await getTopic({ path: { topic }, headers: { Accept: 'application/json' } });
const message = read.data as Message;
assert.equal(message.payload, 'on');
typed<Known<Message['encoding']>>();

const list = await listTopics({ query: { filter: 'interop/hey-api/#' } });
assert.deepEqual(list.data?.map(m => m.type === 'message' && m.topic), [topic]);
typed<Is<NonNullable<typeof list.data>, HistoryObject[]>>();

const batch = await publishBatch({ body: [{ topic, payload: 'off', qos: 0 }, { topic: 'interop/+', payload: 'off' }] });
assert.deepEqual(batch.data?.map(r => r.status), [202, 422]);

const refused = await publishMessage({ body: { topic: 'interop/#', payload: 'on' } });
assert.equal(refused.error?.status, 422);
assert.equal(refused.error?.code, 'topic_wildcard');
typed<Known<NonNullable<typeof refused.error>['code']>>();
typed<Known<NonNullable<typeof refused.error>['status']>>();
