// What operators see and do: health, readiness, metrics, signals, ports.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import dgram from 'node:dgram';
import net from 'node:net';
import { describe, test } from 'node:test';

import { SECRET, startDev, startEdge } from './lib/cluster.mjs';
import { metrics, request } from './lib/http.mjs';
import { Child, binary, freePorts, run } from './lib/process.mjs';
import { Raw, Wire } from './lib/raw.mjs';
import { Terminal, hostAndPort } from './lib/terminal.mjs';
import { tokenFor } from './lib/token.mjs';
import { until } from './lib/wait.mjs';

/** Starts a cluster for one test and ends it afterwards, whatever the test does. */
async function withDev(settings, body) {
  const dev = await startDev(settings);
  try {
    return await body(dev);
  } finally {
    await dev.stop();
  }
}

async function withEdge(settings, body, options) {
  const edge = await startEdge(settings, options);
  try {
    return await body(edge);
  } finally {
    await edge.stop();
  }
}

describe('the admin listener', { concurrency: true, timeout: 60_000 }, () => {
  test('of all three nodes says that they are healthy and ready', () =>
    withDev({}, async ({ edges, relay }) => {
      for (const node of [...edges, relay]) {
        assert.equal((await request(`${node.admin}/health`)).status, 200, node.name);
        const { status, body, headers } = await request(`${node.admin}/ready`);
        assert.deepEqual([status, JSON.parse(body)], [200, { ready: true }], node.name);
        assert.match(headers['content-type'], /^application\/json/);
      }
    }));

  test('has nothing else, and takes no orders', () =>
    withEdge({}, async (edge) => {
      assert.equal((await request(`${edge.admin}/`)).status, 404);
      assert.equal((await request(`${edge.admin}/connection/websocket`)).status, 404);
      const refused = await request(`${edge.admin}/metrics`, { method: 'POST' });
      assert.deepEqual([refused.status, refused.headers.allow], [405, 'GET, HEAD']);
      assert.equal((await request(`${edge.admin}/metrics`, { headers: { x: 'x'.repeat(9 << 10) } })).status, 431);
    }));

  test('of a lone edge says that it is ready: without a relay there is no link to wait for', () =>
    withEdge({}, async (edge) => {
      await until('the edge to be ready', async () => (await request(`${edge.admin}/ready`)).status === 200);
      assert.match(edge.child.stderr, /local traffic only/);
    }));

  test('of a lone edge with a Redis says that it is ready, and the log that nobody needs that Redis', () =>
    withEdge({ store: 'redis://127.0.0.1:1' }, async (edge) => {
      await until('the edge to be ready', async () => (await request(`${edge.admin}/ready`)).status === 200);
      assert.match(edge.child.stderr, /--store is not used/);
      assert.doesNotMatch(edge.child.stderr, /redis is away/);
    }));

  test('shows metrics in the text format of Prometheus, with help and type for each', () =>
    withDev({}, async ({ edges, relay }) => {
      for (const [node, prefix] of [[edges[0], 'edge_'], [relay, 'relay_']]) {
        const { headers } = await request(`${node.admin}/metrics`);
        assert.match(headers['content-type'], /^text\/plain; version=0\.0\.4/);
        const { text, series } = await metrics(node);
        for (const { name } of series) {
          const family = name.replace(/_(bucket|sum|count)$/, '');
          assert.ok(name.startsWith(prefix) || name.startsWith('process_'), name);
          assert.match(text, new RegExp(`^# HELP (${name}|${family}) \\S`, 'm'));
          assert.match(text, new RegExp(`^# TYPE (${name}|${family}) (counter|gauge|histogram)$`, 'm'));
          if (new RegExp(`^# TYPE ${name} counter$`, 'm').test(text)) assert.match(name, /_total$/);
        }
        assert.equal(new Set(series.map(({ name, labels }) => `${name}${JSON.stringify(labels)}`)).size, series.length);
      }
    }));
});

describe('metrics', { concurrency: true, timeout: 60_000 }, () => {
  test('tell the same story as the receipts, on both edges and the relay', () =>
    withDev({}, async ({ edges: [first, second], relay }) => {
      const [ann, near, far] = await Promise.all([
        Raw.login(first.url, 'ann'),
        Raw.login(first.url, 'near'),
        Raw.login(second.url, 'far'),
      ]);
      await near.ask({ subscribe: { channel: 'room' } });
      await far.ask({ subscribe: { channel: 'room' } });
      const before = await story(first, second, relay);

      for (let round = 0; round < 7; round += 1) assert.equal(await ann.tell('near', round), 1);
      for (let round = 0; round < 5; round += 1) assert.equal(await ann.tell('far', round), 1);
      for (let round = 0; round < 3; round += 1) assert.equal(await ann.tell('nobody', round), 0);
      for (let round = 0; round < 2; round += 1) assert.equal((await ann.ask({ rpc: { method: 'send', data: {} } })).error.code, 107);
      for (let round = 0; round < 4; round += 1) assert.deepEqual((await ann.ask({ publish: { channel: 'room', data: 1 } })).publish, {});
      assert.equal((await ann.ask({ publish: { channel: '$x', data: 1 } })).error.code, 103);
      for (let round = 0; round < 11; round += 1) await near.publication();
      for (let round = 0; round < 9; round += 1) await far.publication();

      const after = await story(first, second, relay);
      const grown = Object.fromEntries(Object.entries(after).map(([name, value]) => [name, value - before[name]]));
      assert.deepEqual(grown, {
        received: 22,
        accepted: 4,
        delivered: 12,
        offline: 3,
        rejected: 3,
        unknown: 0,
        receiptsDelivered: 12,
        receiptsOffline: 3,
        errors: 3,
        // Seven directed ones and four publications here; there five and four.
        pushesFirst: 11,
        pushesSecond: 9,
        // To far, to nobody, and into the room; what is for somebody here only does not leave the edge.
        sentToRelay: 12,
        cameToRelay: 12,
        forwarded: 9,
        unheld: 3,
        cameToSecond: 9,
        missing: 0,
        memoriesDiffer: 0,
      });
      for (const edge of [first, second]) {
        const now = await metrics(edge);
        assert.equal(now.value('edge_messages_received_total'), now.sum('edge_messages_total') + now.value('edge_receipts_pending'));
        assert.equal(now.value('edge_link_up'), 1);
      }
      for (const raw of [ann, near, far]) raw.close();
    }));

  test('count clients, channels and disconnects, up and down', () =>
    withDev({}, async ({ edges: [first, second], relay }) => {
      const here = await Raw.login(first.url, 'here');
      const there = await Raw.login(second.url, 'there');
      const terminal = await Terminal.login(first.line, 'there');
      await here.ask({ subscribe: { channel: 'room' } });
      await there.ask({ subscribe: { channel: 'room' } });
      const [one, two, hub] = await Promise.all([metrics(first), metrics(second), metrics(relay)]);
      assert.deepEqual([one.value('edge_clients'), two.value('edge_clients')], [2, 1]);
      assert.equal(one.value('edge_connections', { door: 'websocket' }), 1);
      assert.equal(one.value('edge_connections', { door: 'line' }), 1);
      assert.deepEqual([one.value('edge_channels'), two.value('edge_channels')], [3, 2], 'personal ones, and the room');
      assert.deepEqual([hub.value('relay_edges'), hub.value('relay_channels'), hub.value('relay_complete')], [2, 3, 1]);
      here.send('nonsense');
      await here.end();
      terminal.close();
      there.close();
      await until('all to be gone', async () => {
        const [one, two, hub] = await Promise.all([metrics(first), metrics(second), metrics(relay)]);
        const levels = [one, two].flatMap((edge) => [edge.value('edge_clients'), edge.sum('edge_connections'), edge.value('edge_channels')]);
        return [...levels, hub.value('relay_channels')].every((level) => level === 0);
      });
      assert.equal((await metrics(first)).value('edge_disconnects_total', { code: '3501' }), 1);
    }));

  test('have labels from closed sets only: no user, no channel, no address, and no more series than before', () =>
    withDev({}, async ({ edges: [first, second], relay }) => {
      const nodes = [first, second, relay];
      const count = async () => (await Promise.all(nodes.map(metrics))).map(({ series }) => series.length);
      const before = await count();
      for (let round = 0; round < 20; round += 1) {
        const raw = await Raw.login([first, second][round % 2].url, `zebra-user-${round}`);
        await raw.ask({ subscribe: { channel: `zebra-channel-${round}` } });
        raw.send(raw.command({ publish: { channel: `zebra-channel-${round}`, data: 'zebra' } }));
        // The answer, and the own publication.
        await raw.message();
        await raw.message();
        await raw.tell(`zebra-${round}"\n{}`, 1);
        await raw.ask({ rpc: { method: 'zebra' } });
        raw.close();
      }
      await request(`${first.http}/zebra`);
      assert.deepEqual(await count(), before);
      const allowed = new Set(['door', 'outcome', 'verdict', 'code', 'reason', 'version', 'le', 'answer', 'result', 'connection', 'kind', 'certificate', 'stage', 'operation', 'stream', 'socket']);
      for (const node of nodes) {
        const { text, series } = await metrics(node);
        assert.doesNotMatch(text, /zebra|127\.0\.0\.1/);
        for (const { name, labels } of series) {
          for (const label of Object.keys(labels)) assert.ok(allowed.has(label), `${name}: ${label}`);
        }
      }
    }));
});

/** The counters that a message moves on its way. */
async function story(first, second, relay) {
  const [one, two, hub] = await Promise.all([metrics(first), metrics(second), metrics(relay)]);
  const messages = (outcome) => one.value('edge_messages_total', { outcome });
  const receipts = (verdict) => one.value('edge_receipts_total', { verdict });
  return {
    received: one.value('edge_messages_received_total'),
    accepted: messages('accepted'),
    delivered: messages('delivered'),
    offline: messages('offline'),
    rejected: messages('rejected'),
    unknown: messages('unknown'),
    receiptsDelivered: receipts('delivered'),
    receiptsOffline: receipts('offline'),
    errors: one.value('edge_error_replies_total'),
    pushesFirst: one.value('edge_pushes_total'),
    pushesSecond: two.value('edge_pushes_total'),
    sentToRelay: one.value('edge_link_publications_out_total'),
    cameToRelay: hub.value('relay_publications_total'),
    forwarded: hub.value('relay_copies_forwarded_total'),
    unheld: hub.value('relay_publications_unheld_total'),
    cameToSecond: two.value('edge_link_publications_in_total'),
    missing: hub.value('relay_publications_missing_total'),
    memoriesDiffer: one.value('edge_memories_differ_total'),
  };
}

describe('a process', { concurrency: true, timeout: 60_000 }, () => {
  for (const signal of ['SIGINT', 'SIGTERM']) {
    test(`that gets ${signal} tells its clients 3001 and exits with 0`, () =>
      withDev({}, async ({ child, edges }) => {
        const browsers = await Promise.all(edges.map((edge) => Raw.login(edge.url, 'leaver')));
        const strangers = await Promise.all(edges.map((edge) => Raw.open(edge.url)));
        const terminals = await Promise.all(edges.map((edge) => Terminal.login(edge.line, 'leaver')));
        child.signal(signal);
        for (const raw of [...browsers, ...strangers]) {
          assert.deepEqual(await raw.end(), { code: 3001, reason: 'shutdown' });
        }
        for (const terminal of terminals) {
          await terminal.expect('err 3001 shutdown');
          await terminal.end();
        }
        assert.deepEqual(await child.end(), { code: 0, signal: null });
        assert.doesNotMatch(child.stderr, /panic/);
      }));
  }

  test('that stops does not wait for ever for a client that does not close', () =>
    withDev({}, async ({ child, edges }) => {
      const deaf = await Wire.open(edges[0].url, 'deaf');
      child.signal('SIGINT');
      assert.equal((await deaf.closeFrame()).code, 3001);
      assert.equal((await child.end(20_000)).code, 0);
      deaf.close();
    }));

  test('that gets SIGINT twice exits at once, with a failure', () =>
    withDev({}, async ({ child, edges }) => {
      // It holds up the first one: it takes no notice of its close frame.
      const deaf = await Wire.open(edges[0].url, 'deaf');
      child.signal('SIGINT');
      assert.equal((await deaf.closeFrame()).code, 3001);
      const begun = performance.now();
      child.signal('SIGINT');
      assert.deepEqual(await child.end(), { code: 1, signal: null });
      assert.ok(performance.now() - begun < 3000, 'the first one alone would have taken 5 s');
      deaf.close();
    }));

  test('that was killed is started again on the same ports, and serves', async () => {
    const ports = await freePorts(8);
    const at = (...indices) => indices.map((index) => `127.0.0.1:${ports[index]}`).join(',');
    const settings = {
      listen: at(0, 1),
      'line-listen': at(2, 3),
      'admin-listen': at(4, 5),
      'relay-listen': at(6),
      'relay-admin-listen': at(7),
    };
    const first = await startDev(settings);
    const before = await Raw.login(first.edges[0].url, 'survivor');
    const terminal = await Terminal.login(first.edges[1].line, 'survivor');
    first.child.signal('SIGKILL');
    assert.equal((await first.child.end()).signal, 'SIGKILL');
    assert.equal((await before.end()).code, 1006);
    await terminal.end();
    await withDev(settings, async ({ edges, relay }) => {
      const [here, there] = await Promise.all(edges.map((edge, index) => Raw.login(edge.url, `again-${index}`)));
      assert.equal(await here.tell('again-1', 'hi'), 1);
      assert.equal((await there.publication()).data, 'hi');
      assert.equal(await here.tell('survivor', 'hi'), 0);
      assert.equal((await request(`${relay.admin}/health`)).status, 200);
    });
  });

  test('edge stops at SIGTERM with 0, and is told apart from a crash', () =>
    withEdge({}, async ({ child, url }) => {
      const raw = await Raw.login(url, 'guest', { token: tokenFor('guest', {}, { secret: SECRET }) });
      child.signal('SIGTERM');
      assert.equal((await raw.end()).code, 3001);
      assert.deepEqual(await child.end(), { code: 0, signal: null });
    }));

  test('never logs what clients send, nor tokens', () =>
    withDev({ 'log-level': 'info' }, async ({ child, edges }) => {
      const token = tokenFor('secretive');
      const raw = await Raw.login(edges[0].url, 'secretive', { token });
      await raw.tell('nobody', 'a-secret-message');
      raw.send('a-secret-mistake');
      await raw.end();
      const terminal = new Terminal(edges[1].line);
      assert.match(await terminal.ask('login eyJa-secret.token.x'), /^err 3500 /);
      child.signal('SIGTERM');
      await child.end();
      assert.doesNotMatch(child.output, /a-secret|secretive/);
      assert.ok(!child.output.includes(token));
    }));
});

describe('a port that is taken', { concurrency: true, timeout: 60_000 }, () => {
  const two = '127.0.0.1:0,127.0.0.1:0';
  const anywhere = {
    listen: two,
    'line-listen': two,
    'admin-listen': two,
    'tls-listen': two,
    'relay-listen': '127.0.0.1:0',
    'relay-admin-listen': '127.0.0.1:0',
  };
  const cases = [
    ...['listen', 'line-listen', 'admin-listen'].flatMap((flag) => [
      ['causeway', anywhere, flag, (taken) => `${taken},127.0.0.1:0`],
      ['causeway', anywhere, flag, (taken) => `127.0.0.1:0,${taken}`],
    ]),
    ['causeway', anywhere, 'relay-listen', (taken) => taken],
    ['causeway', anywhere, 'relay-admin-listen', (taken) => taken],
    ...['listen', 'line-listen', 'admin-listen'].map((flag) => [
      'edge',
      { listen: '127.0.0.1:0', 'admin-listen': '127.0.0.1:0', name: 'e' },
      flag,
      (taken) => taken,
    ]),
  ];
  for (const [name, settings, flag, value] of cases) {
    test(`${name} --${flag} ${value('TAKEN')} is told with its flag, exit 1`, async () => {
      const { address, close } = await (flag === 'relay-listen' ? takeUdp() : takeTcp());
      try {
        const args = Object.entries({ ...settings, [flag]: value(address) }).flatMap(([key, text]) => [`--${key}`, text]);
        const { code, stderr } = await run(name, args);
        assert.equal(code, 1, stderr);
        assert.match(stderr, new RegExp(`cannot listen on ${address} .*in use; give another address with --${flag}\\n`));
      } finally {
        close();
      }
    });
  }

  test('by ourselves, a second causeway dev, is told too', () =>
    withDev({}, async ({ edges }) => {
      const { host, port } = hostAndPort(new URL(edges[0].http).host);
      const { code, stderr } = await run('causeway', ['--listen', `${host}:${port},127.0.0.1:0`]);
      assert.equal(code, 1);
      assert.match(stderr, /--listen|--relay-listen|--relay-admin-listen/);
    }));
});

async function takeTcp() {
  const server = net.createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  return { address: `127.0.0.1:${server.address().port}`, close: () => server.close() };
}

async function takeUdp() {
  const socket = dgram.createSocket('udp4').bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return { address: `127.0.0.1:${socket.address().port}`, close: () => socket.close() };
}

describe('the banner of causeway dev', { timeout: 60_000 }, () => {
  test('has terminal lines and a token address that work as they are printed', () =>
    withDev({}, async ({ child }) => {
      const lines = child.stdout.match(/^ *\(echo login (\w+); cat\) \| nc \S+ \d+$/gm).map((line) => line.trim());
      assert.equal(lines.length, 2);
      const [alice, bob] = lines.map((line) => new Child('/bin/sh', ['-c', line]));
      await Promise.all([alice.said('stdout', /ok logged in as alice\n/), bob.said('stdout', /ok logged in as bob\n/)]);
      const [, advice] = child.stdout.match(/^and then: +(.+)$/m);
      alice.process.stdin.write(`${advice}\n`);
      await bob.said('stdout', /^msg alice hello\n/m);
      const [, curl] = child.stdout.match(/(curl '.+')/);
      const asked = new Child('/bin/sh', ['-c', `${curl} --silent --show-error`]);
      await asked.end();
      const edge = child.stdout.match(/(ws:\S+)/)[1];
      const raw = await Raw.login(edge, 'alice', { token: asked.stdout });
      raw.close();
      for (const terminal of [alice, bob]) {
        terminal.process.stdin.end('quit\n');
        assert.equal((await terminal.end()).code, 0);
      }
    }));

  test('comes when the cluster is ready, and says nothing twice', () =>
    withDev({}, async ({ child, edges }) => {
      const [here, there] = await Promise.all(edges.map((edge, at) => Raw.login(edge.url, `early-${at}`)));
      assert.equal(await here.tell('early-1', 1), 1);
      assert.equal((await there.publication()).data, 1);
      assert.equal(child.stderr, '', 'nothing to worry about');
    }));

  test('may have IPv6 loopback addresses in it', async (context) => {
    if (!(await hasIpv6())) return context.skip('this machine has no IPv6');
    const two = '[::1]:0,[::1]:0';
    const six = { listen: two, 'line-listen': two, 'admin-listen': two, 'relay-listen': '[::1]:0', 'relay-admin-listen': '[::1]:0' };
    return withDev(six, async ({ child, edges }) => {
      assert.match(edges[0].url, /^ws:\/\/\[::1\]:\d+\//);
      const [here, there] = await Promise.all(edges.map((edge, at) => Raw.login(edge.url, `six-${at}`)));
      assert.equal(await here.tell('six-1', 1), 1);
      assert.equal((await there.publication()).data, 1);
      assert.match(child.stdout, /\| nc ::1 \d+$/m);
    });
  });
});

async function hasIpv6() {
  const server = net.createServer();
  try {
    await once(server.listen(0, '::1'), 'listening');
    return true;
  } catch {
    return false;
  } finally {
    server.close();
  }
}

test('the tests leave nothing running', async () => {
  const child = new Child(binary('edge'), ['--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0', '--name', 'e']);
  await child.said('stderr', /listening/);
  await child.kill();
  assert.throws(() => process.kill(child.process.pid, 0), /ESRCH/);
});
