// A robot fleet in 60 lines: robots that obey, an operator that commands them
// and hears what became of it, and a display that shows all of them. It ends
// when every robot is home.
//
//   node examples/fleet.mjs                the gateway is at http://localhost:8080, or GATEWAY_URL
//
// With a key in GATEWAY_TOKEN it shows that one. Node.js 22 or newer; older ones
// have no WebSocket and take one: npm install ws, and {WebSocket} below.
import { connect } from '../sdk/js/sdk.js';

const gw = connect({ url: process.env.GATEWAY_URL ?? 'http://localhost:8080', token: process.env.GATEWAY_TOKEN });
const robots = ['robot-1', 'robot-2', 'robot-3'];
gw.onstate = ({ state, reason }) => state !== 'open' && reason && console.error(state, reason);

// subscribed resolves when the gateway has granted the filter.
const subscribed = (filter, options) => new Promise((onReady, onError) => gw.subscribe(filter, { ...options, onReady, onError }));

// obey drives a robot. Whoever comes late finds its last report, retained.
function obey(name) {
  let x = 0;
  return subscribed(`fleet/${name}/command`, {
    onMessage: async ({ payload, retain }) => {
      if (retain) return; // an old command is none
      x = payload === 'home' ? 0 : x + 1;
      try {
        await gw.publish(`fleet/${name}/report`, { x }, { retain: true });
      } catch (e) {
        console.error(`${name}: the report may be lost: ${e.code}`);
      }
    },
    onGap: g => console.error(`${name}: commands are or may be missing: ${g.reason}`),
  });
}

// display shows every report as it comes.
const display = subscribed('fleet/+/report', {
  onMessage: ({ topic, payload, retain }) => retain || console.log(topic, 'x =', payload.x),
  onGap: g => console.log('reports are or may be missing:', g.reason),
});

await Promise.all([...robots.map(obey), display]);
for (const order of ['forward', 'forward', 'home']) {
  for (const name of robots) {
    try {
      await gw.request(`fleet/${name}/command`, order, { reply: `fleet/${name}/report`, timeout: '30s' });
    } catch (e) {
      console.error(`${name} does not obey: ${e.code}`);
    }
  }
}
gw.close();
