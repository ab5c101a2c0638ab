// The dashboards by themselves: they are what their generator writes, and every panel says what it shows.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { ROOT } from '../node/lib/process.mjs';
import { RUNBOOKS } from './lib/alerts.mjs';
import { dashboards, panels } from './lib/panels.mjs';

const GENERATOR = path.join(ROOT, 'dashboards/generate');

test('the dashboards are what the generator writes, and its types are right', () => {
  execFileSync(path.join(GENERATOR, 'node_modules/.bin/tsc'), ['--noEmit', '-p', GENERATOR], { stdio: 'inherit' });
  execFileSync('node', [path.join(GENERATOR, 'generate.mjs'), '--check'], { stdio: 'inherit' });
});

test('each dashboard has its variables, a way to the others, and questions as its rows', () => {
  assert.deepEqual(
    dashboards()
      .map(({ name }) => name)
      .toSorted(),
    ['clients', 'edge', 'overview', 'redis', 'relay'],
  );
  for (const { name, uid, links, templating, panels } of dashboards()) {
    assert.equal(uid, `causeway-${name}`);
    assert.deepEqual(
      templating.list.map((variable) => variable.name),
      ['datasource', 'cluster', 'instance', ...(name === 'overview' ? ['runbooks'] : [])],
      name,
    );
    assert.ok(
      links.some(({ includeVars, keepTime }) => includeVars && keepTime),
      `${name} takes its variables along`,
    );
    const ids = panels.flatMap((panel) => [panel, ...(panel.panels ?? [])]).map(({ id }) => id);
    assert.equal(new Set(ids).size, ids.length, `${name}: a panel's id is its own`);
  }
});

test('Grafana asks the Prometheus of the README, and knows how often it scrapes', () => {
  const read = (file) => readFileSync(path.join(ROOT, file), 'utf8');
  const source = read('dashboards/grafana/provisioning/datasources/prometheus.yml');
  const [, address] = source.match(/url: http:\/\/(\S+)/);
  assert.match(read('README.md'), new RegExp(`--web.listen-address=${address}`));
  const [, interval] = source.match(/timeInterval: (\S+)/);
  assert.match(read('dashboards/prometheus.yml'), new RegExp(`scrape_interval: ${interval}\n`));
  assert.match(read('dashboards/grafana/provisioning/dashboards/causeway.yml'), /path: \$CAUSEWAY_DASHBOARDS/);
});

test('each panel says what it shows, in which unit, of which source, and invents nothing', () => {
  const seen = new Set();
  for (const { page, title, description, fieldConfig, datasource, gridPos, queries, targets, links = [] } of panels('c')) {
    const where = `${page}: ${title}`;
    assert.ok(!seen.has(where), `${where} is there once`);
    seen.add(where);
    assert.ok(title && description, where);
    assert.ok(fieldConfig.defaults.unit, `${where} has a unit`);
    assert.deepEqual(datasource, { type: 'prometheus', uid: '${datasource}' }, where);
    assert.ok(gridPos.x + gridPos.w <= 24, `${where} fits`);
    assert.ok(queries.length > 0, where);
    for (const { expr } of targets) {
      assert.doesNotMatch(expr, /vector\(|\bor 0\b|\b0 \*/, where);
      assert.doesNotMatch(expr, /(?<!\w)rate\([^[]*\[(?!\$__rate_interval\])/, `${where}: Grafana knows the window of a rate`);
      assert.match(expr, /cluster="\$cluster"/, `${where} is of one cluster`);
    }
    for (const { url } of links) assert.match(url, /^\/d\/causeway-\w+\?.*cluster.*__url_time_range/, where);
  }
});

test('what fires leads to its runbook, wherever the variable says that these are', () => {
  const { templating, panels: all } = dashboards().find(({ name }) => name === 'overview');
  assert.equal(templating.list.find(({ name }) => name === 'runbooks').query, RUNBOOKS);
  const [{ fieldConfig }] = all.filter(({ title }) => title === 'What fires');
  const links = fieldConfig.overrides.flatMap(({ properties }) => properties.flatMap(({ id, value }) => (id === 'links' ? value : [])));
  assert.deepEqual(
    links.map(({ url }) => url),
    ['${runbooks:raw}/${__value.raw}.md'],
  );
});

test('a long page begins with two rows that are open', () => {
  for (const { name, panels: all } of dashboards()) {
    const open = all.filter(({ type }) => type === 'row').map(({ collapsed }) => !collapsed);
    const isLong = name === 'edge' || name === 'relay';
    assert.deepEqual(
      open,
      open.map((_, at) => !isLong || at < 2),
      name,
    );
  }
});
