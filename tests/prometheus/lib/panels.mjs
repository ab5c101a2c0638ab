// The dashboards' panels, as Grafana reads them, and what their queries are when the variables are filled in.

import { readFileSync, readdirSync } from 'node:fs';
import path from 'node:path';

import { DASHBOARDS } from './promtool.mjs';
import { shortened } from './shorten.mjs';

const FOLDER = path.join(DASHBOARDS, 'grafana');

/** What Grafana makes of $__rate_interval where scrapes are a second apart, and two more for a busy machine. */
const RATE_INTERVAL = '6s';

/** Every dashboard: its file's name without `.json`, and what is in it. */
export function dashboards() {
  const files = readdirSync(FOLDER).filter((file) => file.endsWith('.json'));
  return files.map((file) => ({ name: path.parse(file).name, ...JSON.parse(readFileSync(path.join(FOLDER, file), 'utf8')) }));
}

/** Every panel that shows something: `{ page, title, queries, … }`, its queries for `cluster`, faster than usual. */
export function panels(cluster) {
  return dashboards().flatMap(({ name: page, panels }) =>
    panels
      // Those of a row that is closed at first stand in it.
      .flatMap((panel) => [panel, ...(panel.panels ?? [])])
      .filter(({ type }) => type !== 'row')
      .map((panel) => ({ ...panel, page, queries: panel.targets.map(({ expr }) => shortened(filledIn(expr, cluster))) })),
  );
}

function filledIn(expression, cluster) {
  const filled = expression
    .replaceAll('$__rate_interval', RATE_INTERVAL)
    .replaceAll('$cluster', cluster)
    .replaceAll('$instance', '.+');
  if (filled.includes('$')) throw new Error(`a variable that nobody fills in: ${filled}`);
  return filled;
}

/** The names of metrics and recorded rules in an expression. */
export function metricNames(expression) {
  const bare = expression
    .replaceAll(/"[^"]*"/g, '""')
    .replaceAll(/\b(?:by|on|without|ignoring|group_left|group_right) *\([^)]*\)/g, '');
  const names = bare
    .replaceAll(/\{[^}]*\}/g, '')
    .match(/\b(?:[a-z_]+:[a-z0-9_:]+|(?:edge|relay|process)_[a-z0-9_]+|up|ALERTS)\b/g);
  return [...new Set(names)];
}

/** The selectors in an expression, each with its labels. */
export function selectors(expression) {
  const bare = expression.replaceAll(/\b(?:by|on|without|ignoring|group_left|group_right) *\([^)]*\)/g, '');
  return bare.match(/\b(?:[a-z_]+:[a-z0-9_:]+|(?:edge|relay|process)_[a-z0-9_]+|up)\b(?:\{[^}]*\})?/g) ?? [];
}
