// The flow for Node-RED. What its readers got is at /got/NAME.

import { documented } from './gateway.mjs';

const tab = { id: 'tab', type: 'tab', label: 'interop' };
const to = (...ids) => [ids];
const func = (id, code, wires) => ({ id, type: 'function', z: 'tab', name: id, func: code, outputs: wires.length, wires });
const httpIn = (id, method, url, next) => ({ id, type: 'http in', z: 'tab', url, method, wires: to(next) });
const answer = { id: 'answer', type: 'http response', z: 'tab', wires: [] };
const keep = name => `global.set('${name}', [...(global.get('${name}') || []), msg.payload]); return null;`;

export const flow = addresses => nodes(addresses).map(node => (node.z ? { x: 0, y: 0, ...node } : node)); // without a place they would be settings of others

const nodes = ({ gateway, webSocket, webSocketTopic, mqtt, mqttTopic }) => [
  tab, answer,

  // What was got.
  httpIn('got', 'get', '/got/:name', 'got-all'),
  func('got-all', 'msg.payload = global.get(msg.req.params.name) || []; return msg;', to('answer')),

  // The http request node publishes, and reads the newest value.
  httpIn('publish', 'post', '/publish', 'publish-request'),
  func('publish-request', `msg.headers = { 'content-type': 'application/json' }; return msg;`, to('publish-send')),
  { id: 'publish-send', type: 'http request', z: 'tab', method: 'POST', ret: 'obj', url: `${gateway}/publish`, wires: to('answer') },
  httpIn('read', 'get', '/read', 'read-request'),
  func('read-request', `msg.headers = { accept: 'application/json' }; msg.url = '${gateway}/topics/' + msg.payload.topic; return msg;`, to('read-send')),
  { id: 'read-send', type: 'http request', z: 'tab', method: 'GET', ret: 'obj', wires: to('answer') },

  // The websocket nodes read: the function node is that of docs/clients.md.
  { id: 'socket', type: 'websocket-client', path: `${webSocket}/ws`, tls: '', wholemsg: 'false', hb: '0', subprotocol: 'gateway.v1' },
  { id: 'socket-in', type: 'websocket in', z: 'tab', client: 'socket', wires: to('frame') },
  func('frame', documented('msg.payload', webSocketTopic), [['socket-out'], ['socket-got']]),
  { id: 'socket-out', type: 'websocket out', z: 'tab', client: 'socket', wires: [] },
  func('socket-got', keep('websocket'), to()),

  // The mqtt nodes at the same broker: with QoS 2 and a session of its own, the broker keeps what is missed, and repeats nothing.
  {
    id: 'broker', type: 'mqtt-broker', broker: mqtt.split(':')[0], port: mqtt.split(':')[1], clientid: 'interop-node-red', autoConnect: true, protocolVersion: '4',
    keepalive: '60', cleansession: false,
  },
  { id: 'mqtt-in', type: 'mqtt in', z: 'tab', topic: mqttTopic, qos: '2', datatype: 'utf8', broker: 'broker', inputs: 0, wires: to('mqtt-got') },
  func('mqtt-got', keep('mqtt'), to()),
  httpIn('mqtt-publish', 'post', '/mqtt', 'mqtt-message'),
  func('mqtt-message', 'return [{ topic: msg.payload.topic, payload: msg.payload.payload, qos: 1 }, { ...msg, payload: {} }];', [['mqtt-out'], ['answer']]),
  { id: 'mqtt-out', type: 'mqtt out', z: 'tab', broker: 'broker', wires: [] },
];
