// docs/metrics.md is what a running edge and relay say of their metrics.

import { execFileSync } from 'node:child_process';
import path from 'node:path';
import { test } from 'node:test';

import { ROOT } from '../node/lib/process.mjs';

test('docs/metrics.md is what edge and relay say', { timeout: 60_000 }, () => {
  execFileSync('node', [path.join(ROOT, 'tests/metrics.mjs'), '--check'], { stdio: 'inherit' });
});
