// Runs the ```sh blocks of README.md in order, so that the page stays true.
//
// A block that starts the cluster (`cargo run`) runs in the background until the page ends. Others must end by themselves
// with success. `<!-- test: skip REASON -->` above a block leaves it out; `<!-- test: interactive -->` says that each of
// its lines is a terminal's: the first types `send bob hello`, and the second must show it.
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const BLOCK_MS_MAX = 300_000;
const SERVER_MS_MAX = 900_000;
const TERMINAL_MS_MAX = 20_000;

const children = new Set();

function blocks(page) {
  const pattern = /(?:<!-- test: (\w+)[^>]*-->\s*\n)?```sh\n([\s\S]*?)```/g;
  return [...page.matchAll(pattern)].map(([, directive, text]) => ({ directive, text }));
}

function start(command) {
  const child = spawn('bash', ['-euo', 'pipefail', '-c', command], { cwd: root, detached: true });
  const run = { child, output: '', waiters: [] };
  const take = (chunk) => {
    run.output += chunk;
    run.waiters.forEach((look) => look());
  };
  child.stdout.on('data', take);
  child.stderr.on('data', take);
  run.ended = new Promise((resolve) => child.on('close', (code, signal) => resolve(code ?? signal)));
  run.ended.then(() => {
    run.isOver = true;
    children.delete(run);
    run.waiters.forEach((look) => look());
  });
  children.add(run);
  return run;
}

function shows(run, text, milliseconds) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => reject(new Error(`no "${text}" within ${milliseconds} ms:\n${run.output}`)), milliseconds);
    const look = () => {
      if (run.output.includes(text)) {
        clearTimeout(timer);
        resolve();
      } else if (run.isOver) {
        clearTimeout(timer);
        reject(new Error(`ended without "${text}":\n${run.output}`));
      }
    };
    run.waiters.push(look);
    look();
  });
}

// Each command leads a process group of its own, which ends with it.
function end(run, signal) {
  if (run.isOver) return;
  try {
    process.kill(-run.child.pid, signal);
  } catch (error) {
    if (error.code !== 'ESRCH') throw error;
  }
}

async function plain(text) {
  const run = start(text);
  const timer = setTimeout(() => end(run, 'SIGKILL'), BLOCK_MS_MAX);
  const code = await run.ended;
  clearTimeout(timer);
  if (code !== 0) throw new Error(`ended with ${code}:\n${run.output}`);
}

async function interactive(text) {
  const [first, second] = text.trim().split('\n').map(start);
  await shows(first, 'ok logged in', TERMINAL_MS_MAX);
  await shows(second, 'ok logged in', TERMINAL_MS_MAX);
  first.child.stdin.write('send bob hello\n');
  await shows(second, 'msg alice hello', TERMINAL_MS_MAX);
  await shows(first, 'ok delivered 1', TERMINAL_MS_MAX);
  for (const run of [first, second]) end(run, 'SIGTERM');
}

const page = blocks(readFileSync(`${root}/README.md`, 'utf8'));
let passed = 0;
let skipped = 0;
try {
  if (!page.some(({ text }) => text.includes('tests/run'))) throw new Error('README.md does not say tests/run');
  let server;
  for (const { directive, text } of page) {
    const title = text.trim().split('\n')[0];
    if (directive === 'skip') {
      skipped += 1;
      continue;
    }
    console.log(`README: ${title}`);
    if (text.includes('cargo run')) {
      server = start(text);
      await shows(server, 'Ctrl-C stops it', SERVER_MS_MAX);
    } else if (directive === 'interactive') {
      await interactive(text);
    } else {
      await plain(text);
    }
    passed += 1;
  }
  if (!server) throw new Error('README.md starts no cluster');
  end(server, 'SIGINT');
  const code = await server.ended;
  if (code !== 0) throw new Error(`after Ctrl-C the cluster ended with ${code}:\n${server.output}`);
  console.log(`${passed} passed, 0 failed, ${skipped} skipped`);
} catch (error) {
  console.error(`README: ${error.message}`);
  process.exitCode = 1;
} finally {
  for (const run of children) end(run, 'SIGKILL');
}
