// Writes docs/metrics.md from what a running edge and relay say of their own metrics: name, type, unit, labels, help. With
// `--check` it writes nothing, and fails where the page is not what it would write.
//
// Called by hand after a metric was added, `node tests/metrics.mjs`; by tests/run (tests/prometheus) with `--check`.

import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { startDev } from './node/lib/cluster.mjs';
import { request } from './node/lib/http.mjs';
import { ROOT } from './node/lib/process.mjs';

const PAGE = path.join(ROOT, 'docs/metrics.md');

/** What a name is about, by what follows the node's prefix; the first that fits. */
const GROUPS = [
  ['The process', /^process_/],
  ['The node', /_(ready|build_info|start_time_seconds|freezes_total)$/],
  [
    'Links',
    /_link_|_links_|_canar|_(heartbeats|handshakes_failed|retries)_total$|^relay_(edges|edges_lost|complete|newcomers_ended_total)$/,
  ],
  ['Event loop and stages', /_(loop|runtime|stage)_/],
  [
    'Routes, leases and memories',
    /_(leased|leases|routes|routes_pending|channels|route_writes_total|epochs_total|epochs_renewed_total|index_strays_total|lookups_total|memories_differ_total|joins_total|leaves_total|edges_reaped_total|routes_removed_total|sweeps_total|ghost_routes_total)$/,
  ],
  ['The store', /_store_/],
  ['Certificates', /_certificate_/],
  ['UDP sockets', /_udp_/],
  [
    'Clients and doors',
    /_(clients|clients_max|connections|accepts_total|refusals_total|newcomers_ended_total|disconnects_total|handshake_seconds|bytes_received_total|bytes_sent_total|frames_received_total|frames_sent_total|error_replies_total)$/,
  ],
  ['Messages', /_(messages|receipt|receipts|pushes|parked|answers|publications|copies)_|_receipts_pending$/],
];

/** Units that names end with. */
const UNITS = ['seconds', 'bytes'];

/** Labels of which a reader needs the kind of values, not the one that happened to be there. */
const OPEN = { version: 'the version that runs' };

/** Every metric of a node's `/metrics`: `{ name, type, help, labels }`, in order. */
export function described(text) {
  const metrics = new Map();
  for (const line of text.split('\n')) {
    const [, what, name, rest] = line.match(/^# (HELP|TYPE) (\S+) (.*)$/) ?? [];
    if (what) metrics.set(name, { name, labels: new Map(), ...metrics.get(name), [what.toLowerCase()]: rest });
  }
  for (const [, series, labels = ''] of text.matchAll(/^([a-z0-9_]+)(?:\{(.*)\})? \S+$/gm)) {
    const metric = metrics.get(series) ?? metrics.get(series.replace(/_(bucket|sum|count)$/, ''));
    for (const [, label, value] of labels.matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)) {
      if (label === 'le') continue;
      metric.labels.set(label, (metric.labels.get(label) ?? new Set()).add(value));
    }
  }
  return [...metrics.values()].sort((a, b) => (a.name < b.name ? -1 : 1));
}

function page(edge, relay) {
  const isShared = ({ name }) => name.startsWith('process_');
  return [
    '# Metrics',
    '',
    '<!-- Written by tests/metrics.mjs from what a running edge and relay say; change the help in the code, not this page. -->',
    '',
    'What edges and relays show at `/metrics` of their admin listeners, for Prometheus. Every series is there from the start,',
    'with 0 (those of a certificate, where there is that certificate); labels have the values named here and no others. Counters',
    'only grow, and begin anew with a restart. A histogram has `_bucket` with `le`, `_sum` and `_count`.',
    '',
    ...section(
      'Edge',
      edge.filter((metric) => !isShared(metric)),
    ),
    ...section(
      'Relay',
      relay.filter((metric) => !isShared(metric)),
    ),
    ...section('Both', edge.filter(isShared)),
  ].join('\n');
}

function section(title, metrics) {
  const groupOf = ({ name }) => {
    const group = GROUPS.find(([, pattern]) => pattern.test(name));
    if (!group) throw new Error(`${name} fits into no group of tests/metrics.mjs`);
    return group[0];
  };
  const groups = GROUPS.map(([group]) => [group, metrics.filter((metric) => groupOf(metric) === group)]).filter(
    ([, some]) => some.length > 0,
  );
  return [
    `## ${title}`,
    '',
    ...groups.flatMap(([group, some]) => [
      `### ${group}`,
      '',
      '| name | type | unit | labels | what |',
      '|---|---|---|---|---|',
      ...some.map(row),
      '',
    ]),
  ];
}

function row({ name, type, help, labels }) {
  if (!help) throw new Error(`${name} has no help`);
  const values = ([label, set]) => `\`${label}\`: ${OPEN[label] ?? [...set].sort().join(', ')}`;
  const unit = UNITS.find((one) => new RegExp(`_${one}(_total|_max)?$`).test(name)) ?? '';
  return `| \`${name}\` | ${type} | ${unit} | ${[...labels].map(values).join('; ')} | ${help.replaceAll('|', '\\|').replaceAll('\\n', ' ')} |`;
}

async function main() {
  const dev = await startDev();
  try {
    const texts = await Promise.all([dev.edges[0], dev.relay].map(async ({ admin }) => (await request(`${admin}/metrics`)).body));
    const written = page(...texts.map(described));
    if (!process.argv.includes('--check')) {
      writeFileSync(PAGE, written);
    } else if (readFileSync(PAGE, 'utf8') !== written) {
      console.error('docs/metrics.md is not what edge and relay say: node tests/metrics.mjs');
      process.exitCode = 1;
    }
  } finally {
    await dev.stop();
  }
}

await main();
