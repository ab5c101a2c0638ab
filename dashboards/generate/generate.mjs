// Writes the dashboards to ../grafana. With `--check` it writes nothing, and fails where they are not what it would write.
//
// Called by hand after a change, `npm run generate`; by tests/run with `--check`.

import { readFileSync, writeFileSync } from 'node:fs';

import clients from './clients.mjs';
import edge from './edge.mjs';
import overview from './overview.mjs';
import redis from './redis.mjs';
import relay from './relay.mjs';

const pages = { overview, edge, relay, redis, clients };
const isCheck = process.argv.includes('--check');

for (const [name, page] of Object.entries(pages)) {
  const file = new URL(`../grafana/${name}.json`, import.meta.url);
  const text = `${JSON.stringify(page, null, 2)}\n`;
  if (!isCheck) {
    writeFileSync(file, text);
  } else if (readOr(file) !== text) {
    console.error(`dashboards/grafana/${name}.json is not what dashboards/generate writes: npm run generate`);
    process.exitCode = 1;
  }
}

/**
 * What a file has; nothing where there is none.
 *
 * @param {URL} file
 */
function readOr(file) {
  try {
    return readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}
