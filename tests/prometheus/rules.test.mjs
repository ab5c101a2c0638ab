// Rules and runbooks by themselves: what promtool says of them, and when each alert fires.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { temporary } from '../node/lib/process.mjs';
import { EVALUATION, cases } from './cases.mjs';
import { alerts } from './lib/alerts.mjs';
import { DASHBOARDS, promtool } from './lib/promtool.mjs';

const rules = ['recording.yml', 'alerts.yml'].map((file) => path.join(DASHBOARDS, 'rules', file));
const known = alerts();

test('promtool takes the configuration and the rules', () => {
  promtool('check', 'config', path.join(DASHBOARDS, 'prometheus.yml'));
  promtool('check', 'rules', '--lint=all', '--lint-fatal', ...rules);
  assert.match(readFileSync(path.join(DASHBOARDS, 'prometheus.yml'), 'utf8'), new RegExp(`evaluation_interval: ${EVALUATION}s`));
});

test('each alert says for how long, how bad it is, where, how much, and what to do', () => {
  assert.ok(known.length >= 30, `${known.length} alerts`);
  for (const { name, text, duration, severity, summary, description, runbook } of known) {
    assert.match(duration ?? '', /^\d+[smh]$/, `${name} waits`);
    assert.match(severity ?? '', /^(page|ticket)$/, name);
    assert.ok(summary, `${name} has a summary`);
    assert.match(description, /\{\{ \$value/, `${name} says how much`);
    assert.match(description, /\{\{ \$labels\.(instance|cluster) \}\}/, `${name} says where`);
    assert.equal(runbook, `dashboards/runbooks/${name}.md`, name);
    assert.doesNotMatch(text, /or vector\(/, `${name} invents nothing`);
  }
});

test('each alert has a runbook, which says what it means, how to confirm it, and what to do', () => {
  const runbooks = readdirSync(path.join(DASHBOARDS, 'runbooks'));
  assert.deepEqual(runbooks.toSorted(), known.map(({ name }) => `${name}.md`).toSorted());
  for (const file of runbooks) {
    const text = readFileSync(path.join(DASHBOARDS, 'runbooks', file), 'utf8');
    assert.ok(text.startsWith(`# ${path.parse(file).name}\n`), `${file} has its name`);
    assert.deepEqual(
      [...text.matchAll(/^## (.*)$/gm)].map(([, heading]) => heading),
      ['What it means', 'How to confirm', 'What to do'],
      file,
    );
    for (const [, link] of text.matchAll(/\]\((\w+\.md)\)/g)) assert.ok(runbooks.includes(link), `${file} leads to ${link}`);
  }
});

test('each alert fires when it must, after its true time, and not when it must not', () => {
  for (const { name, duration } of known) {
    const own = cases.filter(({ alert }) => alert === name);
    assert.ok(own.length > 0, `${name} is played`);
    for (const one of own) assert.equal(one.for, duration, `${name} waits as long as its case says`);
    const isPlayed = own.some(({ quiet = [] }) => quiet.length > 0) || own.some(({ also = [] }) => also.length > 0);
    assert.ok(isPlayed, `${name} is played where it must not fire`);
  }
  const file = path.join(temporary(), 'cases.yml');
  const played = cases.flatMap((one) => [firing(one), ...(one.quiet ?? []).map((quiet) => silent(one, quiet))]);
  // JSON is YAML.
  writeFileSync(
    file,
    JSON.stringify({ rule_files: rules, evaluation_interval: `${EVALUATION}s`, group_eval_order: groupNames(), tests: played }),
  );
  promtool('test', 'rules', file);
});

/** Not firing one evaluation too early, and then firing, and nobody else but those that may. */
function firing({ alert, what = 'it fires', begins, series, also = [], ...one }) {
  const name = `${alert}: ${what}`;
  const at = begins + seconds(one.for);
  const early = { expr: `ALERTS{alertstate="firing",alertname!~"${also.join('|')}"} # ${name}, too early`, exp_samples: [] };
  const names = [alert, ...also].map((alertname) => ({ labels: `{alertname="${alertname}"}`, value: 1 }));
  const then = { expr: `group by (alertname) (ALERTS{alertstate="firing"}) # ${name}`, exp_samples: names };
  return {
    name,
    interval: '5s',
    input_series: inputs(series),
    promql_expr_test: [
      { ...early, eval_time: `${at - EVALUATION}s` },
      { ...then, eval_time: `${at}s` },
    ],
  };
}

/** Nobody fires, however long one waits. */
function silent({ alert }, { what, series, until }) {
  const name = `not ${alert}: ${what}`;
  const expr = `count by (alertname) (count_over_time(ALERTS{alertstate="firing"}[1d])) # ${name}`;
  return {
    name,
    interval: '5s',
    input_series: inputs(series),
    promql_expr_test: [{ expr, eval_time: `${until}s`, exp_samples: [] }],
  };
}

const inputs = (series) => series.map(([name, values]) => ({ series: name, values: `${values}` }));

const seconds = (duration) => Number.parseInt(duration, 10) * { s: 1, m: 60, h: 3600 }[duration.at(-1)];

/** All groups of both files, recorded ones first. */
function groupNames() {
  return rules.flatMap((file) => [...readFileSync(file, 'utf8').matchAll(/^ {2}- name: (.*)$/gm)].map(([, name]) => name));
}
