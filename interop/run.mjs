// Runs a built gateway with its built-in broker, and everything of this folder against it.
// Every part runs, even if one before it is red; the last lines say which were.
//
//   node interop/run.mjs            all parts
//   node interop/run.mjs sse sdk    those whose names have one of these words

import { spawn } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const here = fileURLToPath(new URL('.', import.meta.url));
const root = fileURLToPath(new URL('..', import.meta.url));
const spec = root + 'api/openapi.yaml';
const generated = here + 'generated/';
const bin = here + 'node_modules/.bin/';
const oapiCodegen = 'github.com/oapi-codegen/oapi-codegen/v2/cmd/oapi-codegen@v2.8.2';
const patience = 240_000;

const nodeOf = major => `${here}node_modules/node${major}-${process.arch}/bin`;
const env = { ...process.env, PATH: `${nodeOf(24)}:${process.env.PATH}` };

// run gives the end of a command; what it prints is shown only if it fails.
function run(command, args, options = {}) {
  return new Promise((resolve, reject) => {
    let said = '';
    const child = spawn(command, args, { cwd: here, env, detached: true, ...options });
    const timer = setTimeout(() => process.kill(-child.pid, 'SIGKILL'), patience); // and what it has started
    for (const stream of [child.stdout, child.stderr]) stream.on('data', data => (said += data));
    child.on('error', reject);
    child.on('close', (code, signal) => {
      clearTimeout(timer);
      code === 0 ? resolve() : reject(new Error(`${command} ${args.join(' ')}: ${signal ?? code}\n${said}`));
    });
  });
}

const node = (file, major = 24, ...options) => run(`${nodeOf(major)}/node`, [...options, file]);
const cli = (name, ...args) => run(`${nodeOf(24)}/node`, [bin + name, ...args]);

// typescript runs clients/NAME.ts with what was generated for it.
async function typescript(name) {
  const bundle = `${generated}${name}.mjs`;
  await cli('tsc', '-p', `clients/tsconfig.${name}.json`);
  await run(`${nodeOf(24)}/node`, [bin + 'esbuild', `clients/${name}.ts`, '--bundle', '--platform=node', '--format=esm', '--log-level=warning', `--outfile=${bundle}`]);
  await node(bundle);
}

const parts = {
  'client of oapi-codegen': async () => {
    mkdirSync(here + 'go/client', { recursive: true });
    await run('go', ['run', oapiCodegen, '-generate', 'types,client', '-package', 'client', '-o', here + 'go/client/client.go', spec], { cwd: root });
    await run('go', ['vet', './go/...']);
    await run('go', ['run', './go/generated']);
  },
  'client of openapi-typescript and openapi-fetch': async () => {
    await cli('openapi-typescript', spec, '-o', generated + 'openapi-fetch.d.ts');
    await typescript('openapi-fetch');
  },
  'client of orval': async () => {
    await cli('orval', '--config', 'clients/orval.config.mjs');
    await typescript('orval');
  },
  'client of hey-api': async () => {
    await cli('openapi-ts', '-i', spec, '-o', generated + 'hey-api', '--no-log-file');
    await typescript('hey-api');
  },
  'sse: eventsource, fetch-event-source, event-source-polyfill': () => node('sse.mjs'),
  'sse: r3labs/sse for Go': () => node('r3labs.mjs'),
  'websocket: ws, reconnecting-websocket': () => node('websocket.mjs'),
  'node-red: http, websocket and mqtt nodes': () => node('nodered.mjs'),
};
const majors = [20, 22, 24];
for (const major of majors) parts[`sdk.js on Node.js ${major}`] = () => node('sdk.mjs', major);

// They bring gateways of their own, and mostly wait: so all at once.
parts[`examples and README on Node.js ${majors.join(', ')}`] = async () => {
  await run('go', ['test', '-c', '-tags', 'interop', '-o', generated + 'documentation.test', './test'], { cwd: root });
  const runs = majors.map(major =>
    run(generated + 'documentation.test', ['-test.run', 'TestExampleNode|TestExampleFleets|TestDocumentationDoesWhatItSays/README.md'], {
      cwd: root + 'test', env: { ...env, CI: 'true', PATH: `${nodeOf(major)}:${process.env.PATH}` },
    }).catch(e => `Node.js ${major}: ${e.message}`));
  const failures = (await Promise.all(runs)).filter(Boolean);
  if (failures.length) throw new Error(failures.join('\n'));
};

parts['the console, by axe-core'] = () => run('go', ['test', '-count=1', '-run', 'TestConsoleFitsEveryScreen', './test'], {
  cwd: root, env: { ...env, AXE: here + 'node_modules/axe-core/axe.min.js' },
});

// startGateway gives a gateway on free ports, and tells the parts where it is.
async function startGateway() {
  const free = '127.0.0.1:0';
  const child = spawn(root + 'bin/gateway', [], {
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { PATH: process.env.PATH, GATEWAY_HTTP_ADDR: free, GATEWAY_ADMIN_ADDR: free, GATEWAY_EMBEDDED_ADDR: free, GATEWAY_LOG_FORMAT: 'json' },
  });
  const log = createInterface({ input: child.stderr });
  await new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('exit', code => reject(new Error(`the gateway ended with ${code}`)));
    log.on('line', line => {
      const { msg, http, admin, broker } = JSON.parse(line);
      if (msg === 'gateway listens') Object.assign(env, { GATEWAY: `http://${http}`, ADMIN: `http://${admin}`, BROKER: broker });
      if (msg === 'connected to the broker') resolve();
    });
  });
  return child;
}

rmSync(generated, { recursive: true, force: true });
mkdirSync(generated);
const wanted = process.argv.slice(2);
const red = [];
const gateway = await startGateway();
for (const [name, part] of Object.entries(parts)) {
  if (wanted.length && !wanted.some(word => name.includes(word))) continue;
  const began = Date.now();
  try {
    await part();
    console.log(`== ${name}: ${((Date.now() - began) / 1000).toFixed(1)} s`);
  } catch (e) {
    red.push(name);
    console.log(`== ${name}: red\n${e.message}`);
  }
}
gateway.kill();
console.log(red.length ? `red:\n  ${red.join('\n  ')}` : 'all parts are green');
process.exit(red.length ? 1 : 0);
