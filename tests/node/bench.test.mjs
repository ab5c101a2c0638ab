// causeway bench, each of its modes for a second: whether it counts right and says what it should. Never how fast it is.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { WebSocketServer } from 'ws';

import { SECRET, startDev, startEdge } from './lib/cluster.mjs';
import { Child, binary, run } from './lib/process.mjs';

const BRIEF = ['--warm-up', '200ms', '--duration', '1s'];

/** Runs to its end; its report. */
async function bench(...args) {
  const done = await run('causeway', ['bench', ...args, '--json', '--quiet'], { milliseconds: 30_000 });
  assert.equal(done.code, 0, done.stderr);
  assert.equal(done.stderr, '');
  return JSON.parse(done.stdout);
}

/** All that was sent came, once, in order; and something was sent. */
function isComplete(report) {
  const { sent, delivered, expected, lost, duplicated, out_of_order, strays, unsent, stalls, offline, refused, ended } = report;
  assert.ok(sent > 0);
  assert.equal(delivered, expected);
  assert.deepEqual({ lost, duplicated, out_of_order, strays, unsent, stalls, offline }, {
    ...{ lost: 0, duplicated: 0, out_of_order: 0, strays: 0, unsent: 0, stalls: 0, offline: 0 },
  });
  assert.deepEqual({ refused, ended }, { refused: {}, ended: {} });
}

function arePercentiles(told) {
  const { count, mean_us: mean, p50_us: p50, p90_us: p90, p99_us: p99, p999_us: p999, max_us: max } = told;
  assert.ok(count > 0 && mean > 0);
  assert.ok(p50 > 0 && p50 <= p90 && p90 <= p99 && p99 <= p999 && p999 <= max, JSON.stringify(told));
}

function isMeasured(report, pid) {
  const [process] = report.processes;
  assert.equal(report.processes.length, 1);
  assert.equal(process.pid, pid);
  assert.equal(process.name, 'causeway');
  assert.ok(process.cpu_seconds >= 0 && process.rss_bytes > 0);
  assert.ok(report.generator.cpu_cores > 0 && report.generator.machine.cores > 0);
  assert.ok(Array.isArray(report.generator.bottleneck));
}

describe('causeway bench', { timeout: 120_000 }, () => {
  let dev;
  let across;
  let here;
  before(async () => {
    dev = await startDev();
    const pid = ['--pid', `${dev.child.process.pid}`];
    here = ['--url', dev.edges[0].url, ...pid];
    across = [...here, '--url', dev.edges[1].url];
  });
  after(() => dev?.stop());

  for (const [what, args] of [
    ['one under way per sender', []],
    ['16 under way per sender', ['--window', '16']],
    ['at a rate', ['--rate', '500']],
  ]) {
    test(`pairs across two edges, ${what}`, async () => {
      const report = await bench('pairs', '--pairs', '20', ...BRIEF, ...across, ...args);
      isComplete(report);
      isMeasured(report, dev.child.process.pid);
      arePercentiles(report.latency);
      arePercentiles(report.accepted);
      assert.equal(report.receipts, null);
      assert.deepEqual([report.mode, report.senders, report.receivers, report.payload_bytes], ['pairs', 20, 20, 100]);
      assert.deepEqual(report.servers, dev.edges.map(({ url }) => url));
      assert.equal(report.is_floor, false);
      assert.equal(report.was_interrupted, false);
      assert.ok(report.cpu_us_per_delivery >= 0 && report.delivered_per_second > 0);
      if (report.rate) {
        arePercentiles(report.generator.lateness);
        assert.equal(report.sent, 600, 'as many as 1.2 s have of 500 a second, however slow this machine is');
      }
    });
  }

  test('pairs on one edge, with receipts', async () => {
    const report = await bench('pairs', '--pairs', '20', '--receipts', '--rate', '200', ...BRIEF, ...here);
    isComplete(report);
    arePercentiles(report.receipts);
    assert.equal(report.accepted, null);
  });

  test('pairs in channels, with payloads of another size', async () => {
    isComplete(await bench('pairs', '--pairs', '3', '--channel', 'room', '--size', '5000', ...BRIEF, ...across));
    isComplete(await bench('pairs', '--pairs', '3', '--size', '48', '--window', '3', ...BRIEF, ...across));
  });

  test('fan-out: each subscriber gets all of it', async () => {
    const args = ['--subscribers', '30', '--publishers', '2', ...BRIEF, ...across];
    for (const pace of [['--window', '2'], ['--rate', '100']]) {
      const report = await bench('fan-out', ...args, ...pace);
      isComplete(report);
      arePercentiles(report.latency);
      assert.equal(report.expected, report.sent * 30);
      assert.deepEqual([report.mode, report.senders, report.receivers], ['fan-out', 2, 30]);
    }
  });

  test('idle: memory before and with the clients', async () => {
    const report = await bench('idle', '--clients', '50', '--hold', '500ms', ...here);
    const [{ pid, name, cpu_seconds, rss_bytes_before, rss_bytes }] = report.processes;
    assert.deepEqual([report.mode, report.clients, report.entered, report.failed], ['idle', 50, 50, {}]);
    assert.deepEqual([pid, name], [dev.child.process.pid, 'causeway']);
    assert.ok(cpu_seconds >= 0 && rss_bytes_before > 0 && rss_bytes > 0);
    assert.equal(typeof report.rss_bytes_per_client, 'number');
    assert.ok(report.held_seconds >= 0.5 && report.entry_seconds > 0);
  });

  for (const [what, args] of [['all at once', ['--at-once', '100']], ['at a rate', ['--rate', '200']]]) {
    test(`connect: ${what}`, async () => {
      const report = await bench('connect', '--clients', '100', ...args, ...across);
      assert.deepEqual([report.mode, report.clients, report.entered, report.failed], ['connect', 100, 100, {}]);
      arePercentiles(report.opened_after);
      arePercentiles(report.entered_after);
      assert.equal(report.opened_after.count, 100);
      assert.ok(report.entered_per_second > 0 && report.cpu_us_per_entry >= 0);
    });
  }

  test('tells people in text, and shows its progress meanwhile', async () => {
    const { code, stdout, stderr } = await run('causeway', ['bench', 'pairs', '--pairs', '5', '--rate', '100', '--warm-up', '0s', '--duration', '1500ms', ...across]);
    assert.equal(code, 0);
    assert.match(stdout, /^pairs: 5 senders, 5 receivers, 100 bytes, 100 a second\n/);
    assert.match(stdout, /\n {2}account +0 lost {3}0 duplicated {3}0 out of order/);
    assert.match(stdout, /\n {2}latency +p50 [\d.]+ ms .* max [\d.]+ ms\n/);
    assert.match(stdout, new RegExp(`\\n +causeway \\(${dev.child.process.pid}\\) +[\\d.]+ % of a core`));
    assert.match(stderr, /^1 s, measuring: \d+ deliveries in the last second\n/);
  });

  test('an interrupted run ends at once, with a report of what there was', async () => {
    const args = ['pairs', '--pairs', '5', '--rate', '100', '--warm-up', '0s', '--duration', '1h', ...across, '--json'];
    const child = new Child(binary('causeway'), ['bench', ...args]);
    try {
      await child.said('stderr', /measuring/);
      child.signal('SIGINT');
      assert.deepEqual(await child.end(), { code: 0, signal: null });
      const report = JSON.parse(child.stdout);
      assert.equal(report.was_interrupted, true);
      isComplete(report);
    } finally {
      await child.kill();
    }
  });
});

describe('the floor', { timeout: 60_000 }, () => {
  let floor;
  let url;
  before(async () => {
    floor = new Child(binary('causeway'), ['bench', 'floor', '--listen', '127.0.0.1:0']);
    [, url] = await floor.said('stdout', /^the floor listens on (ws:\S+)\n/);
  });
  after(() => floor?.kill());

  test('passes on all messages of each pair, and is measured as a cluster is', async () => {
    for (const pace of [['--window', '1'], ['--window', '16'], ['--rate', '500']]) {
      const report = await bench('pairs', '--pairs', '20', '--floor', url, '--pid', `${floor.process.pid}`, ...BRIEF, ...pace);
      isComplete(report);
      isMeasured(report, floor.process.pid);
      arePercentiles(report.latency);
      assert.deepEqual([report.is_floor, report.accepted, report.receipts], [true, null, null]);
    }
  });

  test('ends when it is told to', async () => {
    floor.signal('SIGTERM');
    assert.deepEqual(await floor.end(), { code: 0, signal: null });
  });
});

/** A server of this protocol that does with each publication what `deliver(push, clients)` does. */
async function faulty(deliver) {
  const clients = new Map();
  const server = new WebSocketServer({ host: '127.0.0.1', port: 0 });
  server.on('connection', (socket) => {
    socket.on('message', (frame) => {
      for (const { id, connect, publish } of `${frame}`.trim().split('\n').map((line) => JSON.parse(line))) {
        if (connect) {
          const { sub } = JSON.parse(Buffer.from(connect.token.split('.')[1], 'base64url'));
          clients.set(`#${sub}`, socket);
          socket.send(JSON.stringify({ id, connect: { client: sub } }));
        } else if (publish) {
          socket.send(JSON.stringify({ publish: {}, id }));
          const push = JSON.stringify({ push: { channel: publish.channel, pub: { data: publish.data } } });
          deliver((to) => to.send(push), clients.get(publish.channel), [...clients.values()]);
        }
      }
    });
  });
  await new Promise((resolve) => server.once('listening', resolve));
  return { url: `ws://127.0.0.1:${server.address().port}`, end: () => server.clients.forEach((client) => client.terminate()) ?? server.close() };
}

describe('what a server does wrong is counted exactly', { concurrency: true, timeout: 60_000 }, () => {
  const ARGS = ['--pairs', '2', '--rate', '100', '--warm-up', '0s', '--duration', '1s'];

  async function account(deliver) {
    const server = await faulty(deliver);
    try {
      return await bench('pairs', ...ARGS, '--url', server.url);
    } finally {
      server.end();
    }
  }

  const one = (n) => {
    let count = 0;
    return () => count++ % n === 0;
  };

  test('lost', async () => {
    const isOne = one(10);
    const report = await account((push, to) => isOne() || push(to));
    assert.deepEqual([report.sent, report.delivered, report.lost, report.duplicated, report.out_of_order], [100, 90, 10, 0, 0]);
  });

  test('duplicated', async () => {
    const isOne = one(10);
    const report = await account((push, to) => {
      push(to);
      if (isOne()) push(to);
    });
    assert.deepEqual([report.sent, report.delivered, report.lost, report.duplicated, report.out_of_order], [100, 100, 0, 10, 0]);
  });

  test('out of order', async () => {
    const held = new Map();
    const report = await account((push, to) => {
      // The first of each pair's messages waits for its second.
      const before = held.get(to);
      held.set(to, before === undefined ? () => push(to) : () => {});
      if (before === undefined) return;
      push(to);
      before();
    });
    assert.deepEqual([report.sent, report.delivered, report.lost, report.duplicated, report.out_of_order], [100, 100, 0, 0, 2]);
  });

  test('given to somebody else', async () => {
    const isOne = one(10);
    const report = await account((push, to, all) => push(isOne() ? all.find((other) => other !== to) : to));
    assert.deepEqual([report.sent, report.delivered, report.lost, report.strays], [100, 90, 10, 10]);
  });

  test('a connection that it ends', async () => {
    const server = await faulty((push, to) => to.close(3008, 'slow'));
    try {
      const { code, stdout } = await run('causeway', ['bench', 'pairs', ...ARGS, '--url', server.url, '--json'], { milliseconds: 30_000 });
      assert.equal(code, 1);
      const report = JSON.parse(stdout);
      assert.deepEqual(report.ended, { 'it closed the connection with 3008 "slow"': 2 });
      assert.equal(report.lost, report.sent);
    } finally {
      server.end();
    }
  });
});

describe('what cannot be measured is told with what was wrong', { concurrency: true, timeout: 60_000 }, () => {
  async function fails(code, told, ...args) {
    const done = await run('causeway', ['bench', ...args], { milliseconds: 30_000 });
    assert.equal(done.code, code, done.stdout + done.stderr);
    assert.match(done.stderr, told);
    assert.equal(done.stdout, '');
  }

  test('usage', async () => {
    await fails(2, /Usage: causeway bench/, 'fly');
    await fails(2, /'http:\/\/127.0.0.1' for '--url .*does not begin with ws:\/\//, 'pairs', '--url', 'http://127.0.0.1');
    await fails(2, /'wss:\/\/edge.example' for '--url .*TLS/, 'pairs', '--url', 'wss://edge.example');
    for (const [flag, value] of [['pairs', '0'], ['window', '0'], ['window', '4097'], ['rate', '0'], ['size', '47'], ['size', '60001'], ['duration', '0s'], ['duration', '25h']]) {
      await fails(2, new RegExp(`'${value}' for '--${flag} `), 'pairs', `--${flag}`, value);
    }
    await fails(2, /--window.*cannot be used with.*--rate/, 'pairs', '--window', '2', '--rate', '2');
    await fails(2, /--floor.*cannot be used with.*--receipts/, 'pairs', '--floor', 'ws://127.0.0.1:1', '--receipts');
  });

  test('a process that is not there', () => fails(1, /cannot measure the process 4194305/, 'pairs', '--pid', '4194305'));

  test('nobody at an address', () => fails(1, /2 of 2 clients did not get in; 2 times ws:\/\/127.0.0.1:1\/x: connection refused/, 'pairs', '--pairs', '1', '--url', 'ws://127.0.0.1:1/x'));

  test('more clients than open files', () => fails(1, /1000000 clients need 1000032 open files.*at most \d+ fit/, 'idle', '--clients', '1000000', '--url', 'ws://127.0.0.1:1'));

  test('a wrong secret, a wrong path, a full edge', async () => {
    const edge = await startEdge({ 'max-clients': 3 });
    const secret = ['--secret', SECRET];
    try {
      await fails(1, /3500 "invalid token"; is --secret the one of the edges\?/, 'pairs', '--pairs', '1', '--url', edge.url);
      await fails(1, /no WebSocket server of this path.*404/, 'pairs', '--pairs', '1', ...secret, '--url', edge.url.replace('websocket', 'x'));
      // The fourth is told 503 where the others have logged in by then, and has one of them make room where not.
      await fails(1, /1 of 4 clients did not get in; .*(503|ended without a word)/, 'pairs', '--pairs', '2', ...secret, '--url', edge.url);
    } finally {
      await edge.stop();
    }
  });

  test('clients that fail in a storm are counted, and it ends with 1', async () => {
    const edge = await startEdge({ 'max-clients': 3 });
    try {
      const { code, stdout } = await run('causeway', ['bench', 'connect', '--clients', '5', '--secret', SECRET, '--url', edge.url, '--json']);
      assert.equal(code, 1);
      const { entered, failed } = JSON.parse(stdout);
      assert.equal(entered, 3);
      assert.equal(Object.values(failed).reduce((sum, count) => sum + count), 2);
    } finally {
      await edge.stop();
    }
  });
});
