// What a relay tells operators: /api/edges and /api/users at its admin listener, and nowhere else.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { SECRET, startDev } from './lib/cluster.mjs';
import { withFleet } from './lib/fleet.mjs';
import { request } from './lib/http.mjs';
import { Raw } from './lib/raw.mjs';
import { Terminal } from './lib/terminal.mjs';
import { tokenFor } from './lib/token.mjs';
import { until } from './lib/wait.mjs';

/** A lost edge is reaped after 3.3 s, and a frozen one found out after 3.3 s. */
const A_WHILE = 30_000;

const ask = async (relay, path) => {
  const { status, headers, body } = await request(`${relay.admin}${path}`);
  return { status, headers, body, json: /json/.test(headers['content-type']) ? JSON.parse(body) : undefined };
};
const overview = async (relay) => (await ask(relay, '/api/edges')).json;
const whereIs = async (relay, user) => (await ask(relay, `/api/users/${encodeURIComponent(user)}`)).json;
const kinds = ({ events }, edge) => events.filter((event) => event.edge === edge).map(({ kind }) => kind);
const login = (edge, user) => Raw.login(edge.url, user, { token: tokenFor(user, {}, { secret: SECRET }) });

test('the cluster is told as JSON: edges, their clients, what goes over their links', { timeout: 120_000 }, async () => {
  const dev = await startDev({ 'max-clients': 40 });
  try {
    const { relay, edges } = dev;
    const begun = Date.now();
    const [alice, bob] = [await Raw.login(edges[0].url, 'alice'), await Raw.login(edges[1].url, 'bob')];
    for (let at = 0; at < 5; at += 1) assert.equal(await alice.tell('bob', `${at} ${'x'.repeat(200)}`), 1);
    const isCounted = async () => {
      const seen = await overview(relay);
      return seen.edges.every(({ status }) => status?.clients === 1) && seen.edges[0].status.received === 5 && seen;
    };
    const seen = await until('both edges to say how they do', isCounted);
    const [first, second] = seen.edges;
    assert.deepEqual([first.name, first.state, first.capacity], ['edge-1', 'linked', 40]);
    assert.deepEqual([second.name, second.state, second.version], ['edge-2', 'linked', seen.relay.version]);
    assert.deepEqual([first.in.publications, first.out.publications], [5, 0]);
    assert.deepEqual([second.in.publications, second.out.publications], [0, 5]);
    assert.ok(first.in.bytes > 1000 && first.in.bytes === second.out.bytes, JSON.stringify([first.in, second.out]));
    assert.equal(second.status.pushes, 5);
    assert.ok(first.status.is_ready && first.is_leased && first.is_synced && first.channels === 1, JSON.stringify(first));
    assert.ok(first.status.rtt_us > 0 && first.path.rtt_us > 0 && first.path.congestion_window_bytes > 0);
    assert.match(first.path.address, /^127\.0\.0\.1:\d+$/);
    assert.equal(first.path.lost_packets, 0);
    assert.ok(first.heard_ms_ago < 3000 && Math.abs(seen.now - Date.now()) < A_WHILE);
    assert.ok(first.since <= begun && first.since >= seen.relay.started, JSON.stringify(seen.relay));
    const { relay: about } = seen;
    assert.deepEqual([about.name, about.is_complete, about.is_store_up], ['relay-1', true, true]);
    assert.deepEqual([about.publications, about.forwarded, about.refused, about.missing], [5, 5, 0, 0]);
    for (const { name } of edges) assert.deepEqual(kinds(seen, name), ['linked']);
    bob.socket.close();
    await until('bob to be gone', async () => (await overview(relay)).edges[1].status.clients === 0);
  } finally {
    await dev.stop();
  }
});

test('a user is found on every edge, by every door, and who is nowhere is nowhere', { timeout: 120_000 }, async () => {
  const dev = await startDev();
  try {
    const { relay, edges } = dev;
    const begun = Date.now();
    const hostile = '<b>"bob"/../?x=%2F&é\u202e</b>';
    for (const user of ['bob', hostile, '..']) {
      await Raw.login(edges[0].url, user);
      await Raw.login(edges[1].url, user);
    }
    await Terminal.login(edges[1].line, 'bob');
    const found = await whereIs(relay, 'bob');
    assert.deepEqual([found.user, found.total, found.is_complete, found.did_not_answer], ['bob', 3, true, []]);
    const places = found.clients.map(({ edge, door }) => `${edge} ${door}`);
    assert.deepEqual(places, ['edge-1 websocket', 'edge-2 websocket', 'edge-2 line']);
    for (const { since } of found.clients) assert.ok(since >= begun - 1000 && since <= Date.now() + 1000, `${since}`);
    const other = await whereIs(relay, hostile);
    assert.deepEqual([other.user, other.clients.map(({ edge }) => edge)], [hostile, ['edge-1', 'edge-2']]);
    const nobody = await whereIs(relay, 'nobody');
    assert.deepEqual([nobody.total, nobody.clients, nobody.did_not_answer], [0, [], []]);
    // Browsers take "..", and "%2E%2E" too, for the way up.
    const dots = (await ask(relay, '/api/users/%23..')).json;
    assert.deepEqual([dots.user, dots.total], ['..', 2]);
    for (const user of ['', '%23', '%23%23bob', 'a%23b', 'a%2Cb', '%0a', '%ff', 'x'.repeat(201)]) {
      const { status, body } = await ask(relay, `/api/users/${user}`);
      assert.equal(status, 400, `${user}: ${body}`);
    }
  } finally {
    await dev.stop();
  }
});

test('of a user with many connections, some are told, and how many there are', { timeout: 120_000 }, async () => {
  const dev = await startDev();
  try {
    await Promise.all(Array.from({ length: 40 }, () => Raw.login(dev.edges[0].url, 'bob')));
    const { total, clients } = await whereIs(dev.relay, 'bob');
    assert.deepEqual([total, clients.length], [40, 32]);
  } finally {
    await dev.stop();
  }
});

test('an edge that is killed is lost, then reaped, and back as another', { timeout: 180_000 }, () =>
  withFleet({}, async (fleet) => {
    await fleet.start();
    const { relay, edges } = fleet;
    await login(edges[1], 'bob');
    await edges[1].kill();
    // It is lost for 0.3 s only, which somebody who asks may miss; the events have it for sure.
    const isReaped = async () => kinds(await overview(relay), 'edge-2').includes('reaped');
    await until('edge-2 to be reaped', isReaped, A_WHILE);
    await edges[1].start();
    await fleet.settled();
    const seen = await overview(relay);
    assert.deepEqual(kinds(seen, 'edge-2'), ['linked', 'lost', 'reaped', 'linked']);
    assert.ok(seen.events.some(({ kind }) => kind === 'started') && seen.events.some(({ kind }) => kind === 'complete'));
    await fleet.redis.kill();
    await until('the store to be away', async () => !(await overview(relay)).relay.is_store_up, A_WHILE);
    await fleet.redis.start();
    await until('the store to be back', async () => (await overview(relay)).events.at(-1).kind !== 'store away' && (await overview(relay)).relay.is_store_up, A_WHILE);
  }));

test('an edge that stands still did not answer; a relay that does is not waited for', { timeout: 180_000 }, () =>
  withFleet({}, async (fleet) => {
    await fleet.start();
    const { relay, edges } = fleet;
    await login(edges[0], 'bob');
    await login(edges[1], 'bob');
    edges[1].freeze();
    const found = await whereIs(relay, 'bob');
    assert.deepEqual([found.clients.map(({ edge }) => edge), found.did_not_answer], [['edge-1'], ['edge-2']]);
    edges[1].thaw();
    await until('edge-2 to answer', async () => (await whereIs(relay, 'bob')).clients.length === 2, A_WHILE);
    assert.ok((await overview(relay)).edges.every(({ state }) => state === 'linked'));
  }));

describe('the console', { timeout: 120_000 }, () => {
  test('is at the admin listener of a relay and nowhere else, and takes no orders', async () => {
    const dev = await startDev();
    try {
      const { relay, edges } = dev;
      const page = await ask(relay, '/console');
      assert.equal(page.status, 200);
      assert.match(page.headers['content-type'], /^text\/html/);
      const policy = page.headers['content-security-policy'];
      assert.match(policy, /^default-src 'none'; script-src 'self'; style-src 'self';/);
      assert.match(policy, /frame-ancestors 'none'$/);
      assert.equal(page.headers['referrer-policy'], 'no-referrer');
      for (const [, file] of page.body.matchAll(/(?:src|href)="(console\/[^"]+)"/g)) {
        const { status, headers } = await ask(relay, `/${file}`);
        assert.deepEqual([status, headers['x-content-type-options']], [200, 'nosniff'], file);
      }
      const again = await request(`${relay.admin}/console`, { headers: { 'if-none-match': page.headers.etag } });
      assert.equal(again.status, 304);
      for (const path of ['/console', '/console/console.js', '/api/edges', '/api/users/bob']) {
        const refused = await request(`${relay.admin}${path}`, { method: 'POST' });
        assert.deepEqual([refused.status, refused.headers.allow], [405, 'GET, HEAD'], path);
        assert.equal((await request(`${relay.admin}${path}`, { method: 'HEAD' })).body, '', path);
        for (const place of edges.flatMap(({ admin, http }) => [admin, http])) {
          assert.equal((await request(`${place}${path}`)).status, 404, `${place}${path}`);
        }
      }
      // A page that lets its own name mean this address.
      for (const path of ['/console', '/console/console.js', '/api/edges', '/api/users/bob']) {
        const { status, body } = await request(`${relay.admin}${path}`, { headers: { host: 'evil.example:9000' } });
        assert.ok(status === 421 && /--admin-host NAME/.test(body), `${path}: ${status} ${body}`);
      }
      assert.equal((await request(`${relay.admin}/metrics`, { headers: { host: 'evil.example' } })).status, 200);
      const edgesAsJson = await ask(relay, '/api/edges');
      assert.equal(edgesAsJson.headers['cache-control'], 'no-store');
      for (const path of ['/console/', '/console/chat.js', '/api', '/api/users', '/']) {
        const { status, body } = await ask(relay, path);
        assert.ok(status === 404 && /\/console/.test(body), `${path}: ${status} ${body}`);
      }
    } finally {
      await dev.stop();
    }
  });
});
