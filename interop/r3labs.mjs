// r3labs/sse, a Go package, in a process of its own that prints what it gets.

import { execFileSync, spawn } from 'node:child_process';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

import { cutOnce } from './gateway.mjs';

const program = fileURLToPath(new URL('generated/sse', import.meta.url));
execFileSync('go', ['build', '-o', program, './go/sse'], { cwd: fileURLToPath(new URL('.', import.meta.url)) });
await cutOnce('r3labs', ({ addr, topic, got }) => {
  const child = spawn(program, [`http://${addr}/events?format=sse&topic=${encodeURIComponent(topic)}`], { stdio: ['ignore', 'pipe', 'inherit'] });
  createInterface({ input: child.stdout }).on('line', got);
  return () => child.kill();
});
