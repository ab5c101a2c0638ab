// Rules and runbooks by themselves: what promtool says of them, and when each alert fires.

import assert from 'node:assert/strict';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { temporary } from '../node/lib/process.mjs';
import { EVALUATION, NOTICED, WATCH, cases } from './cases.mjs';
import { RULES, RUNBOOKS, alerts, expression, groups } from './lib/alerts.mjs';
import { DASHBOARDS, promtool } from './lib/promtool.mjs';

const rules = path.join(DASHBOARDS, RULES);
const configuration = readFileSync(path.join(DASHBOARDS, 'prometheus.yml'), 'utf8');
const known = alerts();

test('promtool takes the configuration and the rules', () => {
  promtool('check', 'config', path.join(DASHBOARDS, 'prometheus.yml'));
  promtool('check', 'rules', '--lint=all', '--lint-fatal', rules);
  assert.equal(configured('evaluation_interval'), EVALUATION);
});

test('what an alert asks for was recorded just before, in its own group', () => {
  for (const { name: group, rules } of groups()) {
    const recorded = new Set();
    for (const rule of rules) {
      for (const [used] of expression(rule).matchAll(/\b[a-z_]+:[a-z0-9_]+:[a-z0-9_]+\b/g))
        assert.ok(recorded.has(used), `${group}: ${rule.name} asks for ${used}`);
      if (rule.kind === 'record') recorded.add(rule.name);
    }
  }
});

test('a page that a node is dead or stuck, or Redis away, comes within a minute, all taken together', (t) => {
  for (const [name, noticed] of NOTICED) {
    const { duration, severity } = known.find((alert) => alert.name === name);
    assert.equal(severity, 'page', name);
    // It is scraped just before; the scrape that finds it takes its time; and then an evaluation was just before.
    const pending = noticed + configured('scrape_interval') + configured('scrape_timeout') + EVALUATION;
    const latest = pending + Math.ceil(seconds(duration) / EVALUATION) * EVALUATION;
    t.diagnostic(`${name}: after ${latest} s at most`);
    assert.ok(latest <= 60, `${name} comes after ${latest} s`);
  }
});

test('each alert says for how long, how bad it is, where, how much, and what to do', () => {
  assert.ok(known.length >= 30, `${known.length} alerts`);
  for (const { name, text, duration, severity, summary, description, runbook } of known) {
    assert.match(duration ?? '', /^\d+[smh]$/, `${name} waits`);
    assert.match(severity ?? '', name === 'Watchdog' ? /^none$/ : /^(page|ticket)$/, name);
    assert.ok(summary, `${name} has a summary`);
    assert.match(description, /\{\{ \$value/, `${name} says how much`);
    assert.match(description, /\{\{ \$labels\.(instance|cluster) \}\}/, `${name} says where`);
    assert.equal(runbook, `${RUNBOOKS}/${name}.md`, name);
    assert.doesNotMatch(text, /vector\(|\bor 0\b|\b0 \*/, `${name} invents nothing`);
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
  for (const every of new Set(cases.map(({ every = EVALUATION }) => every))) {
    const those = cases.filter((one) => (one.every ?? EVALUATION) === every);
    const tests = those.flatMap((one) => [firing(one, every), ...(one.quiet ?? []).map((quiet) => silent(one, quiet))]);
    const file = path.join(temporary(), 'cases.yml');
    // JSON is YAML.
    writeFileSync(file, JSON.stringify({ rule_files: [rules], evaluation_interval: `${every}s`, tests }));
    promtool('test', 'rules', file);
  }
});

/**
 * Not firing one evaluation too early, and then firing, and nobody else but those that may. `stays`: so it is later, with
 * others by then.
 */
function firing({ alert, what = 'it fires', begins, series, also = [], stays, ...one }, every) {
  const name = `${alert}: ${what}`;
  const at = begins + seconds(one.for);
  const others = WATCH.filter((other) => other !== alert && !also.includes(other));
  const among = (none) => `ALERTS{alertstate="firing",alertname!~"${none.join('|')}"}`;
  const early = { expr: `${among([...also, ...others])} # ${name}, too early`, exp_samples: [] };
  const isExactly = (names) => ({
    expr: `group by (alertname) (${among(others)}) # ${name}`,
    exp_samples: names.map((alertname) => ({ labels: `{alertname="${alertname}"}`, value: 1 })),
  });
  return {
    name,
    interval: '5s',
    input_series: inputs(series),
    promql_expr_test: [
      ...(at >= every ? [{ ...early, eval_time: `${at - every}s` }] : []),
      { ...isExactly([alert, ...also]), eval_time: `${at}s` },
      ...(stays ? [{ ...isExactly([alert, ...stays.with]), eval_time: `${stays.until}s` }] : []),
    ],
  };
}

/** Nobody fires, however long one waits. */
function silent({ alert }, { what, series, until }) {
  const name = `not ${alert}: ${what}`;
  const others = WATCH.filter((other) => other !== alert);
  const ever = `count_over_time(ALERTS{alertstate="firing",alertname!~"${others.join('|')}"}[1d])`;
  const expr = `count by (alertname) (${ever}) # ${name}`;
  return {
    name,
    interval: '5s',
    input_series: inputs(series),
    promql_expr_test: [{ expr, eval_time: `${until}s`, exp_samples: [] }],
  };
}

const inputs = (series) => series.map(([name, values]) => ({ series: name, values: `${values}` }));

const seconds = (duration) => Number.parseInt(duration, 10) * { s: 1, m: 60, h: 3600 }[duration.at(-1)];

/** What the configuration says of `name`, in seconds. */
const configured = (name) => seconds(configuration.match(new RegExp(`^  ${name}: (\\S+)$`, 'm'))[1]);
