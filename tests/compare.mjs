#!/usr/bin/env node
// Compares two builds of Causeway under the same load: what each costs per delivered message.
//
//   node tests/compare.mjs TARGET_DIR TARGET_DIR [--runs 5] [--warm-up 1s] [--duration 5s]
//
// Each directory is a target/ in which `cargo build --release` was run. The builds take turns, each with a cluster of its
// own (Redis, a relay, two edges; 250 pairs across them, 100 bytes), so that whoever else is busy on this machine slows
// both alike; a ratio is one of two runs that followed each other, and what is told is the median of these ratios.

import { execFile } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { parseArgs, promisify } from 'node:util';

import { withFleet } from './node/lib/fleet.mjs';
import { LOADS, bench, cpu, median, pairs, target } from './node/lib/load.mjs';

const { values: settings, positionals: builds } = parseArgs({
  allowPositionals: true,
  options: {
    runs: { type: 'string', default: '5' },
    'warm-up': { type: 'string', default: '1s' },
    duration: { type: 'string', default: '5s' },
    measure: { type: 'boolean', default: false },
  },
});

/** Milliseconds that one build may take for all loads. */
const RUN_MAX = 600_000;

/** What the build named by CARGO_TARGET_DIR costs, in µs of CPU per delivered message, by load. */
async function measure() {
  return withFleet({}, async (fleet) => {
    await fleet.start();
    const costs = {};
    for (const [load, pace] of Object.entries(LOADS)) {
      costs[load] = cpu(await bench(load, [...pairs(settings), ...target(fleet), ...pace]));
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

if (settings.measure) {
  console.log(JSON.stringify(await measure()));
} else if (builds.length !== 2) {
  console.error('error: two target directories are compared; see the head of this file');
  process.exitCode = 2;
} else {
  const runs = [];
  for (let at = 1; at <= Number(settings.runs); at += 1) {
    runs.push([await costsOf(builds[0]), await costsOf(builds[1])]);
    console.error(`${at} of ${settings.runs} done`);
  }
  console.log('| load | first, µs | second, µs | second : first |\n|---|---|---|---|');
  for (const load of Object.keys(LOADS)) {
    const [first, second] = [0, 1].map((which) => median(runs.map((run) => run[which][load])));
    const ratio = median(runs.map(([one, other]) => other[load] / one[load]));
    console.log(`| ${load} | ${first.toFixed(2)} | ${second.toFixed(2)} | ${ratio.toFixed(3)} |`);
  }
}
