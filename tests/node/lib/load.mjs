// The load by which builds are judged: 250 pairs across two edges, 100 bytes, made and measured by `causeway bench`.

import { SECRET } from './cluster.mjs';
import { run } from './process.mjs';

/** Milliseconds that a run of the generator may take. */
const RUN_MAX = 600_000;

/** One message in flight of each sender, sixteen, and 5,000 a second of all of them. */
export const LOADS = {
  one: ['--window', '1'],
  sixteen: ['--window', '16'],
  rate: ['--rate', '5000'],
};

/** All edges of a fleet. All server processes are counted, Redis too. */
export function target(fleet) {
  const pids = [fleet.redis, ...fleet.servers].map(({ child }) => child.process.pid);
  return [...fleet.edges.flatMap(({ url }) => ['--url', url]), '--secret', SECRET, '--pid', pids.join()];
}

/** The pairs, for as long as `warm-up` and `duration` of `settings` say. */
export const pairs = (settings) => ['pairs', '--pairs', '250', '--size', '100', '--warm-up', settings['warm-up'], '--duration', settings.duration];

/** A run of `causeway bench`, as the report that it prints. */
export async function bench(what, args) {
  const { code, stdout, stderr } = await run('causeway', ['bench', ...args, '--json', '--quiet'], { milliseconds: RUN_MAX });
  if (code !== 0) throw new Error(`${what}: exit ${code}\n${stderr}${stdout}`);
  return JSON.parse(stdout);
}

/** µs of CPU that a delivered message cost. */
export const cpu = (report) => report.cpu_us_per_delivery;

/** The one in the middle, or between the two that are. */
export function median(values) {
  const sorted = values.toSorted((one, other) => one - other);
  const half = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[half] : (sorted[half - 1] + sorted[half]) / 2;
}
