// What a user would write with Node.js: fastify in front of a pool of four
// MQTT.js clients. Arguments: port, MQTT URL.
import Fastify from 'fastify'
import mqtt from 'mqtt'

const [port, url] = process.argv.slice(2)
const pool = await Promise.all(Array.from({ length: 4 }, () => mqtt.connectAsync(url)))
let next = 0

const app = Fastify()
app.post('/publish', {
  schema: {
    body: {
      type: 'object',
      required: ['topic', 'payload'],
      properties: { topic: { type: 'string' }, payload: { type: 'string' }, qos: { type: 'integer' }, retain: { type: 'boolean' } },
    },
  },
}, async (request, reply) => {
  const { topic, payload, qos = 1, retain = false } = request.body
  const began = performance.now()
  await pool[next++ % pool.length].publishAsync(topic, payload, { qos, retain })
  reply.code(qos === 0 ? 202 : 200)
  return { topic, qos, delivery: qos === 0 ? 'sent' : 'acknowledged', took_ms: performance.now() - began }
})
await app.listen({ host: '127.0.0.1', port: Number(port) })
