// One publish, read, list, batch and error with what openapi-typescript makes of openapi.yaml, through openapi-fetch.

import assert from 'node:assert/strict';

import createClient from 'openapi-fetch';

import type { components, paths } from '../generated/openapi-fetch.d.ts';
import { type Is, type Known, typed } from './typed.ts';

type Message = components['schemas']['Message'];

const api = createClient<paths>({ baseUrl: process.env.GATEWAY });
const topic = 'interop/openapi-fetch/led';

const published = await api.POST('/publish', { body: { topic, payload: 'on' } });
assert.equal(published.data?.delivery, 'acknowledged');
typed<Known<NonNullable<typeof published.data>['delivery']>>();
typed<Known<NonNullable<typeof published.data>['qos']>>();

const read = await api.GET('/topics/{topic}', { params: { path: { topic } }, headers: { Accept: 'application/json' } });
const message = read.data as Message;
assert.equal(message.payload, 'on');
typed<Known<Message['encoding']>>();

const list = await api.GET('/topics', { params: { query: { filter: 'interop/openapi-fetch/#' } } });
assert.deepEqual(list.data?.map(m => m.type === 'message' && m.topic), [topic]);
typed<Is<NonNullable<typeof list.data>, components['schemas']['HistoryObject'][]>>();

const batch = await api.POST('/publish/batch', { body: [{ topic, payload: 'off', qos: 0 }, { topic: 'interop/+', payload: 'off' }] });
assert.deepEqual(batch.data?.map(r => 'status' in r && r.status), [202, 422]);

const refused = await api.POST('/publish', { body: { topic: 'interop/#', payload: 'on' } });
assert.equal(refused.error?.status, 422);
assert.equal(refused.error?.code, 'topic_wildcard');
typed<Known<NonNullable<typeof refused.error>['code']>>();
typed<Known<NonNullable<typeof refused.error>['status']>>();
