// The WebTransport door, from aioquic, which shares no code with it.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, before, test } from 'node:test';

import { CertificateFiles } from './lib/certificate.mjs';
import { SECRET, startDev, startEdge } from './lib/cluster.mjs';
import { metrics } from './lib/http.mjs';
import { Raw } from './lib/raw.mjs';
import { tokenFor } from './lib/token.mjs';
import { until } from './lib/wait.mjs';
import { Peer, halfOpen } from './lib/webtransport.mjs';

let dev;
before(async () => (dev = await startDev()));
after(() => dev?.stop());

const sessions = async (edge) => (await metrics(edge)).value('edge_connections', { door: 'webtransport' });
const gone = (edge, milliseconds) => until('nobody left', async () => (await sessions(edge)) === 0, milliseconds);

/** Exactly `bytes` bytes of a command that sends to `user`. */
function command(bytes, user, id = 7) {
  const text = (data) => JSON.stringify({ id, rpc: { method: 'send', data: { to: user, data } } });
  return text('x'.repeat(bytes - text('').length));
}

test('clients of two edges and of two transports reach each other', async () => {
  const [first, second] = dev.edges;
  const alice = await Peer.login(first.webtransport, 'alice');
  const bob = await Peer.login(second.webtransport, 'bob');
  const carol = await Raw.login(second.url, 'carol');
  assert.equal(await sessions(first), 1);
  assert.equal(await alice.tell('bob', 'over there'), 1);
  assert.equal((await bob.publication()).data, 'over there');
  assert.equal(await bob.tell('alice', { and: 'back' }), 1);
  assert.deepEqual((await alice.publication()).data, { and: 'back' });
  assert.equal(await carol.tell('alice', 'hi'), 1);
  assert.equal((await alice.publication()).info.user, 'carol');
  assert.equal(await alice.tell('carol', 'hi'), 1);
  assert.equal((await carol.publication()).info.user, 'alice');

  assert.deepEqual((await alice.ask({ subscribe: { channel: 'news' } })).subscribe, {});
  assert.deepEqual((await bob.ask({ subscribe: { channel: 'news' } })).subscribe, {});
  assert.deepEqual((await carol.ask({ publish: { channel: 'news', data: 1 } })).publish, {});
  for (const reader of [alice, bob]) assert.equal((await reader.publication()).channel, 'news');

  alice.order({ close: [0, ''] });
  bob.order({ finish: true });
  await alice.event('ended');
  await gone(first);
  await gone(second);
  carol.close();
  await Promise.all([alice.kill(), bob.kill()]);
});

test('a command of 65536 bytes passes; of 65537 it ends the session, and says so before', async () => {
  const [edge] = dev.edges;
  const alice = await Peer.login(edge.webtransport, 'verbose');
  const bob = await Raw.login(edge.url, 'reader');
  assert.equal(command(65_536, 'reader').length, 65_536);
  alice.write(`${command(65_536, 'reader')}\n`);
  assert.equal((await alice.message()).rpc.data.delivered, 1);
  assert.match((await bob.publication()).data, /^x{65000}/);

  // What came before it is still done.
  alice.write(`${JSON.stringify({ id: 8, ping: {} })}\n${command(65_537, 'reader')}\n`);
  assert.deepEqual((await alice.message()).ping, {});
  assert.deepEqual(await alice.message(), { push: { disconnect: { code: 3501, reason: 'bad request' } } });
  await alice.event('finished');
  assert.deepEqual((await alice.event('closed')).closed, [3501, 'bad request']);
  await alice.event('ended');
  await gone(edge);
  bob.close();
  await alice.kill();
});

test('bytes come in any pieces', async () => {
  const [edge] = dev.edges;
  const alice = await Peer.login(edge.webtransport, 'piecemeal');
  const text = Buffer.from(`${JSON.stringify({ id: 9, rpc: { method: 'send', data: { to: 'piecemeal', data: '😀ü' } } })}\n`);
  const middle = text.indexOf(Buffer.from('😀')) + 2;
  alice.write(text.subarray(0, middle));
  // Somebody else's whole visit gives the edge the time to read what came before.
  await visit(edge);
  alice.write(text.subarray(middle, middle + 1));
  await visit(edge);
  alice.write(text.subarray(middle + 1));
  assert.equal((await alice.publication()).data, '😀ü');
  assert.equal((await alice.message()).rpc.data.delivered, 1);
  alice.order({ drop: true });
  await gone(edge);
  await alice.kill();
});

async function visit(edge) {
  const visitor = await Peer.login(edge.webtransport, 'visitor');
  visitor.order({ drop: true });
  await visitor.event('ended');
  await visitor.kill();
}

test('a client that breaks the protocol, or never logs in, is told why', { timeout: 60_000 }, async () => {
  const [edge] = dev.edges;
  const broken = await Peer.open(edge.webtransport);
  broken.write('no JSON\n');
  assert.equal((await broken.message()).push.disconnect.code, 3501);
  assert.equal((await broken.event('finished')).finished, true);
  assert.deepEqual((await broken.event('closed')).closed, [3501, 'bad request']);

  const forged = await Peer.open(edge.webtransport);
  forged.write(`${JSON.stringify({ id: 1, connect: { token: tokenFor('mallory', {}, { secret: 'x' }) } })}\n`);
  assert.equal((await forged.message()).push.disconnect.code, 3500);

  // One opens no stream, the other says nothing on it; both have 10 s.
  const streamless = await Peer.open(edge.webtransport);
  const silent = await Peer.open(edge.webtransport);
  silent.write('');
  assert.deepEqual((await streamless.event('closed', 30_000)).closed, [3502, 'stale']);
  assert.equal((await silent.message()).push.disconnect.code, 3502);
  await gone(edge, 30_000);
  await Promise.all([broken, forged, streamless, silent].map((peer) => peer.kill()));
});

test('foreign pages, other paths, and whoever comes too late are refused with a status', async () => {
  const edge = await startEdge({ ...new CertificateFiles().flags, 'max-clients': 1 });
  try {
    const refused = async (url, headers) => {
      const peer = new Peer(url, { headers });
      const { refused: status } = await peer.event('refused', 30_000);
      await peer.kill();
      return status;
    };
    assert.equal(await refused(edge.webtransport, { origin: 'https://evil.org' }), 403);
    assert.equal(await refused(edge.webtransport.replace('webtransport', 'elsewhere')), 404);
    const options = { headers: { origin: 'https://127.0.0.1' }, token: tokenFor('first', {}, { secret: SECRET }) };
    const first = await Peer.login(edge.webtransport, 'first', options);
    assert.equal(await refused(edge.webtransport), 503);
    const counted = await metrics(edge);
    assert.equal(counted.value('edge_refusals_total', { door: 'webtransport', reason: 'origin' }), 1);
    assert.equal(counted.value('edge_refusals_total', { door: 'webtransport', reason: 'full' }), 1);
    first.order({ drop: true });
    await gone(edge);
    const next = await Peer.login(edge.webtransport, 'next', { token: tokenFor('next', {}, { secret: SECRET }) });
    await Promise.all([first.kill(), next.kill()]);
  } finally {
    await edge.stop();
  }
});

test('an edge that stops says so at once', async () => {
  const edge = await startEdge(new CertificateFiles().flags);
  const peers = [];
  try {
    for (const user of ['one', 'two']) {
      peers.push(await Peer.login(edge.webtransport, user, { token: tokenFor(user, {}, { secret: SECRET }) }));
    }
    edge.child.signal('SIGTERM');
    for (const peer of peers) {
      assert.deepEqual(await peer.message(), { push: { disconnect: { code: 3001, reason: 'shutdown' } } });
      await peer.event('finished');
      assert.deepEqual((await peer.event('closed')).closed, [3001, 'shutdown']);
      await peer.event('ended');
    }
    assert.equal((await edge.child.end()).code, 0);
  } finally {
    await Promise.all(peers.map((peer) => peer.kill()));
    await edge.stop();
  }
});

test('handshakes that nobody goes on with keep nobody out, and most of them cost nothing', { timeout: 90_000 }, async (t) => {
  const edge = await startEdge(new CertificateFiles().flags);
  const begun = halfOpen(edge.webtransport, 2000);
  try {
    const [text] = await begun.said('stdout', /\{.*\}/, 60_000);
    const answered = JSON.parse(text);
    t.diagnostic(`of 2000 handshakes ${answered.retry} had to prove their address first`);
    // Up to 64 are under way at once, and each is given up after 5 s.
    assert.ok(answered.retry > 500, text);
    const came = performance.now();
    const client = await Peer.login(edge.webtransport, 'good', { token: tokenFor('good', {}, { secret: SECRET }) });
    t.diagnostic(`a good client is in after ${Math.round(performance.now() - came)} ms, its program's start included`);
    const kilobytes = Number(/VmRSS:\s+(\d+)/.exec(readFileSync(`/proc/${edge.child.process.pid}/status`, 'utf8'))[1]);
    t.diagnostic(`the edge has ${Math.round(kilobytes / 1024)} MiB`);
    assert.ok(kilobytes < 200 * 1024, `${kilobytes} KiB`);
    await client.kill();
  } finally {
    await begun.kill();
    await edge.stop();
  }
});

test('a client that is dead is noticed, and one that does not read is let go', { timeout: 120_000 }, async () => {
  const pings = { 'ping-interval': '2s', 'pong-timeout': '1s' };
  const edge = await startEdge({ ...new CertificateFiles().flags, ...pings });
  const login = (user) => Peer.login(edge.webtransport, user, { token: tokenFor(user, {}, { secret: SECRET }) });
  try {
    const dead = await login('dead');
    await dead.kill();
    await gone(edge, 60_000);
    assert.equal((await metrics(edge)).value('edge_disconnects_total', { code: '3012' }), 1);

    const patient = await startEdge(new CertificateFiles().flags);
    try {
      const token = (user) => ({ token: tokenFor(user, {}, { secret: SECRET }) });
      const asleep = await Peer.login(patient.webtransport, 'asleep', token('asleep'));
      const sender = await Raw.login(patient.url, 'sender', token('sender'));
      asleep.child.signal('SIGSTOP');
      const slow = async () => (await metrics(patient)).value('edge_disconnects_total', { code: '3008' }) === 1;
      // 64 KiB wait in QUIC and 256 in the outbox: not a fifth of this is taken.
      let taken = 0;
      for (let sent = 0; sent < 30; sent += 1) {
        const delivered = await sender.tell('asleep', 'x'.repeat(60_000));
        if (delivered !== 1) break;
        taken += 1;
      }
      assert.ok(taken >= 4 && taken <= 7, `${taken} messages of 60 kB were taken`);
      await until('the slow client to be let go', slow, 30_000);
      await gone(patient, 60_000);
      sender.close();
      await asleep.kill();
    } finally {
      await patient.stop();
    }
  } finally {
    await edge.stop();
  }
});
