#!/usr/bin/env node
// Compares two builds of Causeway under the same load: what each costs per delivered message.
//
//   node tests/compare.mjs TARGET_DIR TARGET_DIR [--runs 5] [--warm-up 1s] [--duration 5s]
//
// Each directory is a target/ in which `cargo build --release` was run. The builds take turns, each with a cluster of its
// own (Redis, a relay, two edges; 250 pairs across them, 100 bytes), so that whoever else is busy on this machine slows
// both alike; a ratio is one of two runs that followed each other, and what is told is the median of these ratios.

import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';
import { execFile } from 'node:child_process';

const { values: settings, positionals: builds } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: '5' },
    'warm-up': { type: 'string', default: '1s' },
    duration: { type: 'string', default: '5s' },
    measure: { type: 'boolean', default: false },
  },
});

const LOADS = {
  'one in flight': ['--window', '1'],
  '16 in flight': ['--window', '16'],
  '5,000 a second': ['--rate', '5000'],
};

/** Milliseconds that one run may take. */
const RUN_MAX = 300_000;

/** What the build named by CARGO_TARGET_DIR costs, in µs of CPU per delivered message, by load. */
async function measure() {
  const { SECRET } = await import('./node/lib/cluster.mjs');
  const { withFleet } = await import('./node/lib/fleet.mjs');
  const { run } = await import('./node/lib/process.mjs');
  return withFleet({}, async (fleet) => {
    await fleet.start();
    const pids = [fleet.redis, ...fleet.servers].map(({ child }) => child.process.pid);
    const costs = {};
    for (const [load, args] of Object.entries(LOADS)) {
      const where = [...fleet.edges.flatMap(({ url }) => ['--url', url]), '--secret', SECRET, '--pid', pids.join()];
      const pairs = ['--pairs', '250', '--size', '100', '--warm-up', settings['warm-up'], '--duration', settings.duration];
      const { code, stdout, stderr } = await run('causeway', ['bench', 'pairs', ...pairs, ...args, ...where, '--json', '--quiet'], { milliseconds: RUN_MAX });
      if (code !== 0) throw new Error(`${load}: ${stderr}`);
      costs[load] = JSON.parse(stdout).cpu_us_per_delivery;
    }
    return costs;
  });
}

/** One run, in a process of its own: which binaries are used is settled when it starts. */
async function costsOf(build) {
  const args = [fileURLToPath(import.meta.url), '--measure', '--warm-up', settings['warm-up'], '--duration', settings.duration];
  const env = { ...process.env, CARGO_TARGET_DIR: build };
  const { stdout } = await promisify(execFile)(process.execPath, args, { env, timeout: RUN_MAX });
  return JSON.parse(stdout);
}

const median = (values) => values.toSorted((one, other) => one - other)[Math.floor(values.length / 2)];

if (settings.measure) {
  console.log(JSON.stringify(await measure()));
} else if (builds.length !== 2) {
  console.error('error: two target directories are compared; see the head of this file');
  process.exitCode = 2;
} else {
  const pairs = [];
  for (let at = 1; at <= Number(settings.runs); at += 1) {
    pairs.push([await costsOf(builds[0]), await costsOf(builds[1])]);
    console.error(`${at} of ${settings.runs} done`);
  }
  console.log('| load | first, µs | second, µs | second : first |\n|---|---|---|---|');
  for (const load of Object.keys(LOADS)) {
    const [first, second] = [0, 1].map((which) => median(pairs.map((pair) => pair[which][load])));
    const ratio = median(pairs.map(([one, other]) => other[load] / one[load]));
    console.log(`| ${load} | ${first.toFixed(2)} | ${second.toFixed(2)} | ${ratio.toFixed(3)} |`);
  }
}
