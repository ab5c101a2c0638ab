#!/usr/bin/env node
// Measures a cluster of several processes against the floor, and prints docs/performance.md's table as Markdown.
//
//   node tests/performance.mjs [--runs 5] [--warm-up 2s] [--duration 10s] [--clients 10000] [--hold 30s] [--others 0.2]
//
// Builds for release, then starts what README.md starts under "Run it for real": Redis, a relay and two edges, with
// certificates by `certs`; and the floor, `causeway bench floor`. Each load runs against the floor and at once afterwards
// against the cluster, so that whoever else is busy on this machine slows both alike; a ratio is one of such a pair, and
// what is told is the median. While others use more than 0.2 cores it waits, and what was measured while they did is
// measured again, both for a while only; what it could not avoid is told. Memory is measured on an edge that is started
// for it. Everything started here is ended here. The reports of all runs are left in target/performance.json.

import { writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import path from 'node:path';
import { parseArgs } from 'node:util';

import { SECRET } from './node/lib/cluster.mjs';
import { withFleet } from './node/lib/fleet.mjs';
import * as load from './node/lib/load.mjs';
import { LOADS, cpu, median, target } from './node/lib/load.mjs';
import { Child, ROOT, binary } from './node/lib/process.mjs';
import { pause } from './node/lib/wait.mjs';

const { values: settings } = parseArgs({
  options: {
    runs: { type: 'string', default: '5' },
    'warm-up': { type: 'string', default: '2s' },
    duration: { type: 'string', default: '10s' },
    clients: { type: 'string', default: '10000' },
    hold: { type: 'string', default: '30s' },
    others: { type: 'string', default: '0.2' },
  },
});

/** Milliseconds that a build may take. */
const BUILD_MAX = 1_800_000;

/** How often something is measured until others let us, and for how long they are waited for each time. */
const ATTEMPTS = 6;
const CALM_MAX = 180_000;

const p99 = (report) => report.latency.p99_us;

/** What is measured at both, and how many times the floor it may be; `good` is what a good floor costs, in µs. */
const RATIOS = [
  { what: 'CPU per delivered message, one in flight per sender', load: 'one', figure: cpu, limit: 3, goal: 2, good: 6.8 },
  { what: 'CPU per delivered message, 16 in flight per sender', load: 'sixteen', figure: cpu, limit: 5, goal: 2.5, good: 0.8 },
  { what: 'CPU per delivered message, 5,000 a second', load: 'rate', figure: cpu, limit: 5, goal: 3, good: 21 },
  { what: 'latency p99, 5,000 a second', load: 'rate', figure: p99, limit: 4, goal: 2 },
];

/** A floor that costs more than this many times a good one's is no yardstick. */
const BAD_FLOOR = 1.5;

async function main() {
  await build();
  const runs = Array.from({ length: Number(settings.runs) }, (_, at) => at + 1);
  const results = { floor: { one: [], sixteen: [], rate: [] }, cluster: { one: [], sixteen: [], rate: [] }, receipts: [], idle: [] };
  await withFleet({}, async (fleet) => {
    await fleet.start();
    const floor = await startFloor();
    for (const number of runs) {
      for (const [load, pace] of Object.entries(LOADS)) {
        const [yard, cost] = await undisturbed(async () => [
          await pairs(`${number}: the floor, ${load}`, ['--floor', floor.url, '--pid', floor.pid, ...pace]),
          await pairs(`${number}: the cluster, ${load}`, [...target(fleet), ...pace]),
        ]);
        results.floor[load].push(yard);
        results.cluster[load].push(cost);
      }
      const receipts = () => pairs(`${number}: the cluster, receipts`, [...target(fleet), '--receipts', ...LOADS.rate]);
      results.receipts.push(...(await undisturbed(async () => [await receipts()])));
    }
    await floor.child.kill();
  });
  for (const number of runs) results.idle.push(await idle(`${number}: idle`));
  const file = path.resolve(ROOT, process.env.CARGO_TARGET_DIR ?? 'target', 'performance.json');
  writeFileSync(file, JSON.stringify(results, null, 1));
  console.log(table(results));
}

async function build() {
  const child = new Child('cargo', ['build', '--release', '--locked', '--quiet']);
  const { code } = await child.end(BUILD_MAX);
  if (code !== 0) throw new Error(child.output);
}

async function startFloor() {
  const child = new Child(binary('causeway'), ['bench', 'floor', '--listen', '127.0.0.1:0']);
  const [, url] = await child.said('stdout', /^the floor listens on (ws:\S+)\n/);
  return { child, url, pid: `${child.process.pid}` };
}

const pairs = (what, args) => bench(what, [...load.pairs(settings), ...args]);

/** One edge, new, and its relay and Redis; only the edge's memory counts. */
function idle(what) {
  const clients = Number(settings.clients);
  return withFleet({ edges: 1, settings: { 'max-clients': clients + 100 } }, async (fleet) => {
    await fleet.start();
    const [edge] = fleet.edges;
    const args = ['--url', edge.url, '--secret', SECRET, '--pid', `${edge.child.process.pid}`];
    return bench(what, ['idle', '--clients', `${clients}`, '--hold', settings.hold, ...args]);
  });
}

async function bench(what, args) {
  const report = await load.bench(what, args);
  const figures = report.latency
    ? `${cpu(report).toFixed(2)} µs a message, p99 ${ms(p99(report))}`
    : `${report.rss_bytes_per_client.toFixed(0)} bytes a client`;
  console.error(`${what}: ${figures}; others had ${others(report).toFixed(2)} cores`);
  return report;
}

/** Measures until others were calm meanwhile; else, of all attempts, the one that they disturbed least. */
async function undisturbed(measure) {
  const attempts = [];
  while (attempts.length < ATTEMPTS) {
    await calm();
    const reports = await measure();
    const disturbed = Math.max(...reports.map(others));
    if (disturbed <= Number(settings.others)) return reports;
    attempts.push({ reports, disturbed });
  }
  return attempts.reduce((least, attempt) => (attempt.disturbed < least.disturbed ? attempt : least)).reports;
}

/** Waits until others use little, but not for ever. The servers idle meanwhile. */
async function calm() {
  const deadline = performance.now() + CALM_MAX;
  const busy = () => cpus().reduce((sum, { times: { user, nice, sys, irq } }) => sum + user + nice + sys + irq, 0);
  while (performance.now() < deadline) {
    const [before, since] = [busy(), performance.now()];
    await pause(2_000);
    if ((busy() - before) / (performance.now() - since) <= Number(settings.others)) return;
  }
}

/** What neither the generator nor the servers used, of this machine's cores. */
function others({ generator, processes, entry_seconds: seconds }) {
  const used = processes.map(({ cpu_cores, cpu_seconds }) => cpu_cores ?? cpu_seconds / seconds);
  return Math.max(0, generator.machine.busy_cores - generator.cpu_cores - used.reduce((sum, cores) => sum + cores, 0));
}

function table({ floor, cluster, receipts, idle }) {
  const lines = [
    '| 250 pairs across two edges, 100 bytes | floor | cluster | ratio (lowest–highest) | at most | aim |',
    '|---|---|---|---|---|---|',
  ];
  for (const { what, load, figure, limit, goal } of RATIOS) {
    const shown = figure === p99 ? ms : (micros) => `${micros.toFixed(2)} µs`;
    const [yard, cost] = [floor[load].map(figure), cluster[load].map(figure)];
    const ratios = cost.map((value, at) => value / yard[at]);
    lines.push(`| ${what} | ${shown(median(yard))} | ${shown(median(cost))} | ${verdict(ratios, limit, (ratio) => ratio.toFixed(2))} | ${limit} | ${goal} |`);
  }
  const answered = receipts.map(({ receipts: { p50_us } }) => p50_us);
  lines.push(`| receipts p50, 5,000 a second | | ${verdict(answered, 1000, ms)} | | 1 ms | 250 µs |`);
  const memory = idle.map(({ rss_bytes_per_client }) => rss_bytes_per_client);
  lines.push(`| resident memory per idle client, ${settings.clients} on one edge | | ${verdict(memory, 8192, (bytes) => `${(bytes / 1024).toFixed(1)} KiB`)} | | 8 KiB | 4 KiB |`);

  const all = [...Object.values(cluster).flat(), ...receipts];
  const sum = (field) => all.reduce((total, report) => total + report[field], 0);
  lines.push(`| of ${sum('expected').toLocaleString('en')} messages: lost, duplicated, out of order | | ${sum('lost')}, ${sum('duplicated')}, ${sum('out_of_order')} | | 0, 0, 0 | |`, '');

  for (const { what, load, good } of RATIOS.filter(({ good }) => good)) {
    const is = median(floor[load].map(cpu));
    lines.push(`- The floor, ${what.replace('CPU per delivered message, ', '')}: ${is.toFixed(2)} µs; a good one has ${good} µs: ${is > BAD_FLOOR * good ? '**a bad yardstick**' : 'good'}.`);
  }
  const runs = [...Object.values(floor).flat(), ...all];
  const limited = runs.filter(({ generator }) => generator.bottleneck.length > 0).length;
  const busy = runs.map(others);
  lines.push(
    `- ${availableParallelism()} cores; others used ${median(busy).toFixed(2)} of them in the median run and ${Math.max(...busy).toFixed(2)} in the worst.`,
    `- In ${limited} of ${runs.length} runs the generator says that it was the bottleneck.`,
    `- ${settings.runs} runs of ${settings.duration} each after ${settings['warm-up']} of warm-up; median of all.`,
  );
  return lines.join('\n');
}

/** The median, its range, and whether it is too much. */
function verdict(values, limit, shown) {
  const middle = median(values);
  const range = `(${shown(Math.min(...values))}–${shown(Math.max(...values))})`;
  return `${middle > limit ? '**missed:** ' : ''}${shown(middle)} ${range}`;
}

const ms = (micros) => `${(micros / 1000).toFixed(3)} ms`;

await main();
process.exit(0);
