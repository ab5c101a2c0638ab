// promtool, as Debian's package prometheus has it.

import { execFileSync } from 'node:child_process';
import path from 'node:path';

import { ROOT } from '../../node/lib/process.mjs';

export const DASHBOARDS = path.join(ROOT, 'dashboards');

/** What it says; an error with all of it where it is not content. */
export function promtool(...args) {
  try {
    return execFileSync('promtool', args, { encoding: 'utf8', stdio: 'pipe', maxBuffer: 64 << 20 });
  } catch (error) {
    throw new Error(`promtool ${args.join(' ')}: ${error.stdout ?? ''}${error.stderr ?? error}`);
  }
}
