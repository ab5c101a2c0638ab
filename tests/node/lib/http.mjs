// HTTP as operators and balancers use it, and metrics as Prometheus reads them.

import { once } from 'node:events';
import http from 'node:http';

import { SOON, within } from './wait.mjs';

/** One request: `{ status, headers, body }`. Unlike `fetch` it lets us send any header. */
export async function request(url, { method = 'GET', headers = {} } = {}) {
  const asked = http.request(url, { method, headers, agent: false });
  asked.end();
  const answered = async () => {
    const [answer, upgraded] = await Promise.race([once(asked, 'response'), once(asked, 'upgrade')]);
    if (upgraded) {
      upgraded.destroy();
      return { status: 101, headers: answer.headers, body: '' };
    }
    let body = '';
    answer.setEncoding('utf8');
    for await (const text of answer) body += text;
    return { status: answer.statusCode, headers: answer.headers, body };
  };
  return within(SOON, `${method} ${url}`, answered());
}

/** The headers of a WebSocket handshake (RFC 6455, section 4.1). */
export const HANDSHAKE = {
  connection: 'Upgrade',
  upgrade: 'websocket',
  'sec-websocket-version': '13',
  'sec-websocket-key': 'dGhlIHNhbXBsZSBub25jZQ==',
};

/** The metrics of a node: `{ value(name, labels), sum(name), series }`. */
export async function metrics(node) {
  const { status, body } = await request(`${node.admin}/metrics`);
  if (status !== 200) throw new Error(`${node.admin}/metrics: ${status}`);
  const series = body.split('\n').filter((line) => line && !line.startsWith('#')).map(parsed);
  const named = (name) => series.filter((one) => one.name === name);
  return {
    text: body,
    series,
    value(name, labels = {}) {
      const fits = ({ labels: has }) => Object.entries(labels).every(([label, value]) => has[label] === value);
      const found = named(name).filter(fits);
      if (found.length !== 1) throw new Error(`${found.length} series are ${name} ${JSON.stringify(labels)}`);
      return found[0].value;
    },
    sum: (name) => named(name).reduce((sum, { value }) => sum + value, 0),
  };
}

function parsed(line) {
  const [, name, , labels = '', value] = line.match(/^([a-z0-9_]+)(\{(.*)\})? (\S+)$/) ?? [];
  if (!name) throw new Error(`no line of the Prometheus text format: ${line}`);
  const pairs = [...labels.matchAll(/([a-z_]+)="((?:[^"\\]|\\.)*)"/g)].map(([, label, text]) => [label, text]);
  return { name, labels: Object.fromEntries(pairs), value: Number(value) };
}
