// 500 clients and no more: who comes too late is told so before anything else, and a place that is free is free.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { startDev } from './lib/cluster.mjs';
import { HANDSHAKE, metrics, request } from './lib/http.mjs';
import { Raw } from './lib/raw.mjs';
import { Terminal } from './lib/terminal.mjs';
import { until } from './lib/wait.mjs';

/** The default of --max-clients, which nothing here sets. */
const CLIENTS_MAX = 500;

/** Clients that connect at the same time. */
const AT_ONCE = 50;

let dev;
before(async () => (dev = await startDev()));
after(() => dev?.stop());

test('the 501st client gets 503, and a place that becomes free lets the next one in', { timeout: 60_000 }, async () => {
  const [edge, other] = dev.edges;
  const clients = [];
  while (clients.length < CLIENTS_MAX) {
    const users = Array.from({ length: AT_ONCE }, (_, at) => `user-${clients.length + at}`);
    clients.push(...(await Promise.all(users.map((user) => Raw.login(edge.url, user)))));
  }
  const ready = () => request(`${edge.admin}/ready`);
  const upgrade = () => request(`${edge.http}/connection/websocket`, { headers: HANDSHAKE });

  const refused = await upgrade();
  assert.equal(refused.status, 503);
  assert.ok(Number(refused.headers['retry-after']) >= 1, `Retry-After: ${refused.headers['retry-after']}`);
  assert.equal(refused.headers.upgrade, undefined, 'refused before the upgrade');
  const late = new Raw(edge.url);
  await assert.rejects(late.opened, /HTTP 503/);
  const unready = await until('the edge not to be ready', async () => {
    const answer = await ready();
    return answer.status === 503 && answer;
  });
  const { ready: isReady, reasons } = JSON.parse(unready.body);
  assert.equal(isReady, false);
  assert.match(reasons.join(), /full.*--max-clients/);
  const terminal = new Terminal(edge.line);
  await terminal.expect(/^err 503 /);
  await terminal.end();
  const full = await metrics(edge);
  assert.deepEqual([full.value('edge_clients'), full.value('edge_clients_max')], [CLIENTS_MAX, CLIENTS_MAX]);
  assert.ok(full.sum('edge_refusals_total') >= 3);

  // A full edge is no sick edge: it serves whom it has, and the other edge takes whom it has not.
  assert.equal((await request(`${edge.admin}/health`)).status, 200);
  assert.equal((await request(`${other.admin}/ready`)).status, 200);
  const elsewhere = await Raw.login(other.url, 'elsewhere');
  assert.equal(await elsewhere.tell('user-499', 'hi'), 1);
  assert.equal((await clients[499].publication()).data, 'hi');

  clients[0].close();
  const next = await until('a free place', async () => Raw.login(edge.url, 'next').catch(() => undefined));
  assert.equal(await elsewhere.tell('next', 'hi'), 1);
  assert.equal((await upgrade()).status, 503, 'full again');
  next.close();
  await until('the edge to be ready', async () => (await ready()).status === 200);
  assert.equal((await upgrade()).status, 101);

  for (const client of [...clients, elsewhere]) client.close();
  await until('all to be gone', async () => {
    const counted = await metrics(edge);
    return counted.value('edge_clients') === 0 && counted.sum('edge_connections') === 0;
  });
});

test('a terminal takes a place as a browser does', { timeout: 30_000 }, async () => {
  const small = await startDev({ 'max-clients': 1 });
  try {
    const [edge] = small.edges;
    const terminal = await Terminal.login(edge.line, 'alone');
    assert.equal((await request(`${edge.http}/connection/websocket`, { headers: HANDSHAKE })).status, 503);
    terminal.type('quit');
    await terminal.end();
    await until('the place', async () => Raw.login(edge.url, 'next').catch(() => undefined));
    await new Terminal(edge.line).expect(/^err 503 /);
  } finally {
    await small.stop();
  }
});
