// What metrics promise: every message ends in one counter, whatever goes wrong, and nobody who connects can make more
// series of them.

import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { test } from 'node:test';

import { SECRET } from './lib/cluster.mjs';
import { withFleet } from './lib/fleet.mjs';
import { HANDSHAKE, request } from './lib/http.mjs';
import { Opcode, Raw, Wire, frame, noise } from './lib/raw.mjs';
import { tokenFor } from './lib/token.mjs';
import { Traffic } from './lib/traffic.mjs';
import { pause, until } from './lib/wait.mjs';

/** Traffic before, between and after what goes wrong. */
const WHILE = 1000;

/** What the outcome of a message is called where it was sent and where it was counted. */
const OUTCOMES = ['delivered', 'offline', 'unknown', 'rejected'];

const sum = (numbers) => numbers.reduce((all, one) => all + one, 0);

test('each message that clients sent is in one counter of their edge, whatever goes wrong', { timeout: 120_000 }, (t) =>
  withTraffic({}, async (fleet, traffic) => {
    await pause(WHILE);
    fleet.relay.freeze();
    await pause(1.5 * WHILE);
    await fleet.relay.restart();
    await pause(WHILE);
    fleet.redis.hang();
    await pause(3 * WHILE);
    fleet.redis.goOn();
    fleet.edges[0].freeze();
    await pause(3 * WHILE);
    fleet.edges[0].thaw();
    await fleet.settled();
    await pause(WHILE);
    await traffic.quiet();

    const { sends, connections } = traffic.history;
    const verdicts = Object.fromEntries(OUTCOMES.map((kind) => [kind, 0]));
    for (const { verdicts: [verdict] } of sends) {
      if (verdict) verdicts[verdict.kind] += 1;
    }
    const all = await Promise.all(fleet.edges.map((edge) => edge.metrics()));
    for (const [at, counted] of all.entries()) {
      const received = counted.value('edge_messages_received_total');
      assert.equal(counted.value('edge_receipts_pending'), 0, `edge-${at + 1}`);
      assert.equal(received, counted.sum('edge_messages_total'), `edge-${at + 1}`);
      assert.equal(counted.value('edge_joins_total') - counted.value('edge_leaves_total'), counted.value('edge_channels'));
    }
    const total = (name, labels) => sum(all.map((counted) => counted.value(name, labels)));
    t.diagnostic(JSON.stringify({ sends: sends.length, ...verdicts }));
    assert.ok(OUTCOMES.slice(0, 3).every((kind) => verdicts[kind] > 0), 'enough went well, and enough went wrong');
    if (connections.every(({ byServer }) => !byServer)) {
      assert.equal(total('edge_messages_received_total'), sends.length);
      for (const outcome of OUTCOMES) assert.equal(total('edge_messages_total', { outcome }), verdicts[outcome], outcome);
    } else {
      // Whose connection ended may have heard nothing of what was counted.
      assert.ok(total('edge_messages_received_total') <= sends.length);
      for (const outcome of OUTCOMES) assert.ok(total('edge_messages_total', { outcome }) >= verdicts[outcome], outcome);
    }
    assert.ok(total('edge_canaries_total', { result: 'lost' }) > 0, 'a relay that is gone brings nothing back');
  }));

test('what leaves edges is what comes to the relay and to other edges', { timeout: 60_000 }, (t) =>
  withTraffic({ edges: 3 }, async (fleet, traffic) => {
    await pause(2 * WHILE);
    await traffic.quiet();
    const total = (all, name) => sum(all.map((counted) => counted.sum(name)));
    // The last answers are on the way when the last verdict is not.
    await until('the sums to balance', async () => {
      const relay = await fleet.relay.metrics();
      const edges = await Promise.all(fleet.edges.map((edge) => edge.metrics()));
      const [left, came, answered] = ['edge_link_publications_out_total', 'edge_link_publications_in_total', 'edge_answers_total'].map((name) => total(edges, name));
      t.diagnostic(JSON.stringify({ left, came, answered }));
      return (
        left > 0 &&
        left === relay.value('relay_publications_total') &&
        came === relay.value('relay_copies_forwarded_total') &&
        answered === relay.value('relay_answers_total') &&
        [...['relay_copies_refused_total', 'relay_publications_missing_total', 'relay_answers_lost_total']].every((name) => relay.value(name) === 0)
      );
    });
    const receipts = await fleet.edges[0].metrics();
    assert.ok(receipts.value('edge_receipt_seconds_count', { verdict: 'delivered' }) > 0);
    assert.ok(receipts.value('edge_stage_seconds_count', { stage: 'in' }) > 0, 'one in 64 is timed');
    assert.ok(receipts.value('edge_canaries_total', { result: 'returned' }) > 0);
    assert.equal(receipts.value('edge_canaries_total', { result: 'lost' }), 0);
  }));

test('an edge without its relay is ready where nobody has one, and says what is missing', { timeout: 60_000 }, () =>
  withTraffic({}, async (fleet) => {
    await fleet.relay.kill();
    const [edge] = fleet.edges;
    const said = await until('the edge to say that it has no link', async () => {
      const { status, body } = await request(`${edge.admin}/ready`);
      return body.includes('missing') && { status, ...JSON.parse(body) };
    });
    assert.deepEqual(said, { status: 200, ready: true, missing: ['no link to the relay: clients of this edge reach each other'] });
    assert.equal((await edge.metrics()).value('edge_ready'), 1);
    assert.equal((await edge.metrics()).value('edge_link_smoothed_rtt_seconds'), 0);
  }));

test('whatever clients send, there are no more series than before anybody came', { timeout: 60_000 }, () =>
  withFleet({}, async (fleet) => {
    await fleet.start();
    const [edge] = fleet.edges;
    const names = async (server) => (await server.metrics()).series.map(({ name, labels }) => `${name} ${JSON.stringify(labels)}`).sort();
    const before = await Promise.all([edge, fleet.relay].map(names));

    for (const user of ['eve', 'a"b\\c', 'ünïcödé', 'x'.repeat(200), '{door="web"}']) {
      const client = await Raw.login(edge.url, user, { token: tokenFor(user, {}, { secret: SECRET }) });
      for (const channel of ['news', 'a"} 1', 'x'.repeat(255), '$private', '#bob']) await client.ask({ subscribe: { channel } });
      await client.ask({ rpc: { method: `m"${user}`, data: { to: user, data: 1 } } });
      await client.tell(user === 'eve' ? 'nobody' : 'eve', user);
      client.close();
    }
    await assert.rejects(Raw.login(edge.url, 'nobody', { token: 'no token' }));
    for (const path of ['/', '/connection/websocket', '/"}', `/${'x'.repeat(2000)}`]) {
      await request(`${edge.http}${path}`, { headers: { ...HANDSHAKE, origin: 'http://evil.example' } });
    }
    await request(`${edge.admin}/metrics"}`);
    for (const address of [new URL(edge.http).host, edge.line]) await shout(address, noise(1, 4096));
    const wire = await Wire.open(edge.url);
    wire.write(frame(noise(2, 100), { opcode: Opcode.binary }));
    await wire.end();

    await until('the last of it to be counted', async () => (await edge.metrics()).sum('edge_refusals_total') > 0);
    assert.deepEqual(await Promise.all([edge, fleet.relay].map(names)), before);
    assert.ok(before[0].length < 1000 && before[1].length < 500, `${before.map(({ length }) => length)} series`);
  }));

/** Bytes to a listener, and its end. */
function shout(address, bytes) {
  const [host, port] = address.split(':');
  return new Promise((resolve) => {
    const socket = connect(Number(port), host, () => socket.end(bytes));
    socket.on('error', resolve).on('close', resolve).resume();
  });
}

async function withTraffic(options, body) {
  await withFleet(options, async (fleet) => {
    const traffic = new Traffic(fleet);
    try {
      await fleet.start();
      await traffic.begin();
      await body(fleet, traffic);
    } finally {
      await traffic.end();
    }
  });
}
