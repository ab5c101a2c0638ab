// Which way causeway.js goes: WebTransport (an aioquic server, lib/bridge.py) with a head start before WebSocket, and what
// happens when UDP is closed, swallowed, or dies. Times are printed; what is asserted of them has a wide margin.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { closedPort, startBridge, startSilence } from './lib/bridge.mjs';
import { startServer } from './lib/server.mjs';
import { suite, types, untilLog } from './lib/pages.mjs';

const withPage = suite();

/** Starts `client` in the page, and counts the WebTransport sessions that it begins in `client.sessions`. */
const start = (page, edge, options) =>
  page.evaluate(
    ({ edge, options }) => {
      const Original = (globalThis.OriginalWebTransport ??= globalThis.WebTransport);
      const sessions = [];
      globalThis.WebTransport = class extends Original {
        constructor(...args) {
          super(...args);
          sessions.push(performance.now());
        }
      };
      globalThis.client = watched(edge, options);
      client.sessions = sessions;
    },
    { edge, options },
  );

const ready = (page) => page.evaluate(() => client.ready().then(() => client.transport));
const sessions = (page) => page.evaluate(() => client.sessions.length);

/** Both ways work, and WebTransport gets all the time that it wants. */
const patient = { headStart: 3_600_000 };

/** Waits until `count` connections were made; returns the last one's transport, and ms from the event before it. */
async function connectedTimes(page, count) {
  const log = await untilLog(page, 'client', `(log) => log.filter(({ type }) => type === 'connected').length >= ${count}`);
  const at = log.findLastIndex(({ type }) => type === 'connected');
  return { log, transport: log[at].detail.transport, took: Math.round(log[at].at - log[at - 1].at) };
}

test('WebTransport is taken where it works', withPage(async ({ page, server, edge, hashes }) => {
  await start(page, edge, { certificateHashes: hashes, timings: patient });
  assert.equal(await ready(page), 'webtransport');
  assert.deepEqual(await page.evaluate(() => client.send('bob', 1)), { delivered: 1 });
  assert.equal(server.connections.length, 1);
  const { took } = await connectedTimes(page, 1);
  console.log(`WebTransport connected after ${took} ms`);
}, { bridge: true }));

test('where it works, but slowly, WebSocket serves until a quiet moment', withPage(async ({ page, server, edge, hashes }) => {
  await start(page, edge, { certificateHashes: hashes, timings: { headStart: 0 } });
  const { log } = await connectedTimes(page, 1);
  // Either may win without a head start; it is WebTransport in the end, and stays.
  const wins = log.at(-1).detail.transport;
  if (wins === 'websocket') assert.equal((await connectedTimes(page, 2)).transport, 'webtransport');
  assert.equal(await ready(page), 'webtransport');
  assert.ok(server.connections.length <= 3);
}, { bridge: true }));

test('UDP refused: WebSocket at once', withPage(async ({ page, server }) => {
  await start(page, { websocket: server.url, webtransport: await closedPort() });
  const { transport, took } = await connectedTimes(page, 1);
  console.log(`UDP refused: WebSocket connected after ${took} ms`);
  assert.equal(transport, 'websocket');
  assert.ok(took < 3000, `${took} ms`);
}));

test('UDP swallowed: WebSocket after the head start, not after the browser has given up', withPage(async ({ page, server }) => {
  const silence = await startSilence();
  try {
    await start(page, { websocket: server.url, webtransport: silence.url });
    const { transport, took } = await connectedTimes(page, 1);
    console.log(`UDP swallowed: WebSocket connected after ${took} ms (wanted: 300)`);
    assert.equal(transport, 'websocket');
    assert.ok(took < 3000, `${took} ms`);
  } finally {
    silence.stop();
  }
}));

test('UDP dies: back on WebSocket, and on WebTransport when it lives again', withPage(async ({ page, server, bridge, edge, hashes }) => {
  await start(page, edge, { certificateHashes: hashes, timings: { ...patient, restMin: 2000, restMax: 4000, open: 2000 } });
  assert.equal(await ready(page), 'webtransport');
  const begun = performance.now();
  bridge.freeze();
  const { log } = await connectedTimes(page, 2);
  console.log(`UDP died: WebSocket connected after ${Math.round(performance.now() - begun)} ms (wanted: 5,000)`);
  assert.equal(log.at(-1).detail.transport, 'websocket');
  assert.ok(performance.now() - begun < 15_000);
  bridge.thaw();
  await page.waitForFunction(() => client.transport === 'webtransport', undefined, { timeout: 60_000 });
  assert.deepEqual(await page.evaluate(() => client.send('bob', 1)), { delivered: 1 });
  assert.equal(server.open.length, 1);
}, { bridge: true }));

test('an edge that is killed is left for another', withPage(async ({ page, server, bridge, edge, hashes }) => {
  const other = await startServer();
  const otherBridge = await startBridge(other);
  try {
    const edges = [edge, { websocket: other.url, webtransport: otherBridge.url }];
    await start(page, edges, { certificateHashes: [...hashes, otherBridge.hash], timings: patient });
    assert.equal(await ready(page), 'webtransport');
    const begun = performance.now();
    await bridge.stop();
    await server.stop();
    await other.connected(1);
    await ready(page);
    console.log(`edge killed: connected elsewhere after ${Math.round(performance.now() - begun)} ms (wanted: 5,000)`);
    assert.ok(performance.now() - begun < 20_000);
  } finally {
    await otherBridge.stop();
    await other.stop();
  }
}, { bridge: true }));

test('WebTransport is tried while it rests, where WebSocket does not work', withPage(async ({ page, server, bridge, hashes }) => {
  const closed = (await closedPort()).replace(/^https(.*)webtransport/, 'ws$1websocket');
  await page.evaluate((url) => {
    sessionStorage.setItem(`causeway:webtransport:${url}`, JSON.stringify({ wait: 3_600_000, until: Date.now() + 3_600_000 }));
  }, bridge.url);
  await start(page, { websocket: closed, webtransport: bridge.url }, { certificateHashes: hashes });
  assert.equal(await ready(page), 'webtransport');
  assert.equal(server.connections.length, 1);
}, { bridge: true }));

test('WebTransport that fails is not tried wildly', withPage(async ({ page, server }) => {
  await start(page, { websocket: server.url, webtransport: await closedPort() }, { timings: { restMin: 500, restMax: 8000 } });
  await ready(page);
  await page.waitForTimeout(6000);
  const tried = await sessions(page);
  console.log(`WebTransport tried ${tried} times in 6 s, resting 0.5 s at first`);
  assert.ok(tried >= 2 && tried <= 8, `${tried}`);
  assert.equal(server.connections.length, 1, 'WebSocket is not disturbed');
}));

test('its failure is remembered by the tab', withPage(async ({ page, server, files }) => {
  const edge = { websocket: server.url, webtransport: await closedPort() };
  await start(page, edge);
  await ready(page);
  await page.waitForFunction(() => sessionStorage.length > 0);
  await page.evaluate(() => client.disconnect());
  await page.goto(`${files.url}/blank`);
  await page.evaluate(async (edge) => {
    const { Client } = await import('/causeway.js');
    const sessions = [];
    globalThis.WebTransport = class {
      constructor() {
        sessions.push(1);
        throw new Error('not now');
      }
    };
    globalThis.client = new Client(edge);
    client.sessions = sessions;
    client.connect();
  }, edge);
  assert.equal(await ready(page), 'websocket');
  assert.equal(await sessions(page), 0);
}));

test('where only one transport is wanted, there is no other', withPage(async ({ page, server, edge, hashes }) => {
  await start(page, edge, { certificateHashes: hashes, transports: ['websocket'] });
  assert.equal(await ready(page), 'websocket');
  assert.equal(await sessions(page), 0);
  await page.evaluate(() => {
    client.disconnect();
    client.transports = ['webtransport'];
    client.connect();
  });
  assert.equal(await ready(page), 'webtransport');
  assert.equal(server.connections.filter(({ transport }) => transport === 'websocket').length, 1);
}, { bridge: true }));

test('in development an edge says where its WebTransport is', withPage(async ({ page, server, bridge, files }) => {
  files.answers['/certificate-hash'] = { algorithm: 'sha-256', hashes: [btoa('x'.repeat(32)), bridge.hash], url: bridge.url };
  await start(page, files.url, { timings: patient });
  assert.equal(await ready(page), 'webtransport');
  assert.equal(server.connections.length, 1);
  files.answers['/certificate-hash'] = undefined;
}, { bridge: true }));

for (const [how, end] of [
  ['by the push', (connection) => connection.push({ disconnect: { code: 3500, reason: 'because' } })],
  ["by the session's code alone", (connection) => connection.wire.close(3500, 'because')],
]) {
  test(`an end for good is one on WebTransport, ${how}`, withPage(async ({ page, server, edge, hashes }) => {
    await start(page, edge, { certificateHashes: hashes, timings: patient });
    await ready(page);
    end(server.last);
    const log = await untilLog(page, 'client', (log) => log.at(-1).type === 'disconnected');
    assert.deepEqual(log.at(-1).detail, { code: 3500, reason: 'because' });
    assert.equal(server.connections.length, 1);
  }, { bridge: true }));
}

for (const [how, end] of [
  ['by the push', (connection) => connection.disconnect(3001, 'shutdown')],
  ["by the stream's end", (connection) => connection.wire.finish()],
  ["by the session's end", (connection) => connection.kill()],
]) {
  test(`another end is not, ${how}`, withPage(async ({ page, server, edge, hashes }) => {
    await start(page, edge, { certificateHashes: hashes, timings: patient });
    await ready(page);
    end(server.last);
    await server.connected(2);
    assert.equal(await ready(page), 'webtransport');
  }, { bridge: true }));
}

test('chunks may end anywhere', withPage(async ({ page, server, edge, hashes }) => {
  await start(page, edge, { certificateHashes: hashes, timings: patient });
  await ready(page);
  const said = 'Grüße 🌉 übers Wasser 橋';
  const line = Buffer.from(`${JSON.stringify({ push: { channel: '#alice', pub: { data: said } } })}\n`);
  for (const byte of line) {
    server.last.wire.raw(Buffer.from([byte]));
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const long = '橋'.repeat(20_000);
  server.last.push({ channel: '#alice', pub: { data: long } });
  const log = await untilLog(page, 'client', (log) => log.filter(({ type }) => type === 'message').length === 2);
  assert.deepEqual(log.slice(-2).map(({ detail }) => detail.data), [said, long]);
}, { bridge: true }));

test('a large message goes out whole', withPage(async ({ page, server, edge, hashes }) => {
  await start(page, edge, { certificateHashes: hashes, timings: patient });
  await ready(page);
  await page.evaluate(() => client.publish('room', '🌉'.repeat(15_000)));
  assert.equal(server.last.of('publish')[0].data, '🌉'.repeat(15_000));
}, { bridge: true }));

test('a session that an edge takes and does not serve is not stayed with', withPage(async ({ page, server, edge, hashes }) => {
  server.answers.connect = (_, { transport }) => (transport === 'websocket' ? { client: 'c', version: 'Causeway test' } : undefined);
  await start(page, edge, { certificateHashes: hashes, timings: { ...patient, open: 1000, headStart: 3000 } });
  await page.waitForFunction(() => client.transport === 'websocket', undefined, { timeout: 30_000 });
  const log = await page.evaluate(() => client.log);
  assert.equal(types(log).filter((type) => type === 'connected').length, 1);
}, { bridge: true }));
