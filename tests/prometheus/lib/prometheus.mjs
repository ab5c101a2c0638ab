// A real Prometheus of our own, on a free port, with our rules, faster than usual.

import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import { request } from '../../node/lib/http.mjs';
import { Child, freePorts, temporary } from '../../node/lib/process.mjs';
import { until } from '../../node/lib/wait.mjs';
import { RULES } from './alerts.mjs';
import { DASHBOARDS, promtool } from './promtool.mjs';
import { shortened } from './shorten.mjs';

/** How often it scrapes and evaluates, in seconds. */
export const SCRAPE = 1;

/** How long it may take to start. */
const START = 30_000;

export class Prometheus {
  /** Scrapes `targets`, `{ job: [host:port] }`, as one cluster. */
  static async start(cluster, targets) {
    const directory = temporary();
    mkdirSync(path.join(directory, 'rules'));
    writeFileSync(path.join(directory, RULES), shortened(readFileSync(path.join(DASHBOARDS, RULES), 'utf8')));
    // JSON is YAML.
    const configuration = {
      global: { scrape_interval: `${SCRAPE}s`, scrape_timeout: `${SCRAPE}s`, evaluation_interval: `${SCRAPE}s` },
      rule_files: [RULES],
      scrape_configs: Object.entries(targets).map(([job_name, addresses]) => ({
        job_name,
        static_configs: [{ targets: addresses, labels: { cluster } }],
      })),
    };
    const file = path.join(directory, 'prometheus.yml');
    writeFileSync(file, JSON.stringify(configuration));
    promtool('check', 'config', file);
    const [port] = await freePorts(1);
    const flags = [
      `--config.file=${file}`,
      `--storage.tsdb.path=${directory}/data`,
      `--web.listen-address=127.0.0.1:${port}`,
      '--log.level=warn',
    ];
    const prometheus = new Prometheus(`http://127.0.0.1:${port}`, new Child('prometheus', flags));
    try {
      await until('Prometheus to be ready', () => prometheus.#isReady(), START);
      return prometheus;
    } catch (error) {
      await prometheus.end();
      throw new Error(`${error.message}\n${prometheus.child.output}`);
    }
  }

  constructor(url, child) {
    this.url = url;
    this.child = child;
  }

  async end() {
    await this.child.kill();
  }

  /** The series that a query gives now, or at `time` (seconds since 1970): `[{ labels, value }]`. */
  async query(expression, time) {
    const { result } = await this.#ask('query', { query: expression, ...(time && { time }) });
    return result.map(({ metric, value: [, value] }) => ({ labels: metric, value: Number(value) }));
  }

  /** What a query gave at each second: `[{ labels, points: [[seconds, value]] }]`. */
  async range(expression, from, to) {
    const { result } = await this.#ask('query_range', { query: expression, start: from, end: to, step: SCRAPE });
    return result.map(({ metric, values }) => ({ labels: metric, points: values.map(([at, value]) => [at, Number(value)]) }));
  }

  /** What was scraped of one series since a moment: `[[seconds, value]]`, in order. */
  async samples(selector, since) {
    const { result } = await this.#ask('query', { query: `${selector}[${Math.ceil(now() - since)}s]` });
    const all = result.flatMap(({ values }) => values.map(([at, value]) => [at, Number(value)]));
    return all.filter(([at]) => at >= since).toSorted(([a], [b]) => a - b);
  }

  /** What fires now: `[{ name, severity, labels, summary, description }]`. */
  async firing() {
    const { alerts } = await this.#ask('alerts', {});
    return alerts
      .filter(({ state }) => state === 'firing')
      .map(({ labels, annotations }) => ({ name: labels.alertname, severity: labels.severity, labels, ...annotations }));
  }

  /** Every rule with its health: `[{ name, query, health, lastError }]`. */
  async rules() {
    const { groups } = await this.#ask('rules', {});
    return groups.flatMap(({ rules }) => rules);
  }

  async #isReady() {
    if (this.child.isOver) throw new Error('Prometheus has ended');
    return (await request(`${this.url}/-/ready`).catch(() => ({ status: 0 }))).status === 200;
  }

  async #ask(what, parameters) {
    const { body } = await request(`${this.url}/api/v1/${what}?${new URLSearchParams(parameters)}`);
    const answer = JSON.parse(body);
    if (answer.status !== 'success') throw new Error(`${answer.error}: ${parameters.query}`);
    return answer.data;
  }
}

/** Seconds since 1970, as Prometheus counts. */
export const now = () => Date.now() / 1000;
