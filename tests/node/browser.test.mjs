// A real browser, without any client of ours: a page on localhost trusts the minted certificate by its hash, with no flag and
// no warning, and speaks to its edge over WebTransport, by hand and by the npm package `centrifuge`.

import assert from 'node:assert/strict';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { chromium } from 'playwright-core';

import { CertificateFiles } from './lib/certificate.mjs';
import { SECRET, startDev, startEdge } from './lib/cluster.mjs';
import { metrics, request } from './lib/http.mjs';
import { ROOT, temporary } from './lib/process.mjs';
import { tokenFor } from './lib/token.mjs';
import { until } from './lib/wait.mjs';

const FLAGS = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

/** The package as pages have it, with `Centrifuge` for a global. */
const PACKAGE = path.join(ROOT, 'tests/node/node_modules/centrifuge/dist/centrifuge.js');

/** Longer than a busy machine takes. */
const LATE = 60_000;

let dev;
let browser;
before(async () => {
  dev = await startDev();
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  browser = await chromium.launchPersistentContext(temporary(), { executablePath, args: FLAGS });
});
after(async () => {
  await browser?.close();
  await dev?.stop();
});

/** A page of `edge`, at `host`, in which `user` is logged in over WebTransport; `line`, `say` and `ended` are left there. */
async function page(edge, user, host = 'localhost') {
  const opened = await browser.newPage();
  const { port } = new URL(edge.http);
  await opened.goto(`http://${host}:${port}/certificate-hash`);
  await opened.evaluate(async (name) => {
    const { algorithm, hashes, url } = await (await fetch('/certificate-hash')).json();
    const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    const transport = new WebTransport(url, {
      serverCertificateHashes: hashes.map((hash) => ({ algorithm, value: bytes(hash) })),
    });
    await transport.ready;
    const stream = await transport.createBidirectionalStream();
    const reader = stream.readable.pipeThrough(new TextDecoderStream()).getReader();
    const writer = stream.writable.getWriter();
    let rest = '';
    globalThis.line = async () => {
      while (!rest.includes('\n')) {
        const { value, done } = await reader.read();
        if (done) return 'the end';
        rest += value;
      }
      const [first] = rest.split('\n', 1);
      rest = rest.slice(first.length + 1);
      return first;
    };
    globalThis.say = (command) => writer.write(new TextEncoder().encode(`${JSON.stringify(command)}\n`));
    globalThis.ended = transport.closed.then(({ closeCode, reason }) => [closeCode, reason], String);
    const token = await (await fetch(`/dev/token?user=${name}`)).text();
    await say({ id: 1, connect: { token } });
    const reply = JSON.parse(await line());
    if (!reply.connect) throw new Error(JSON.stringify(reply));
  }, user);
  return opened;
}

const tell = (opened, to, data) =>
  opened.evaluate(
    async ([user, text]) => {
      await say({ id: 2, rpc: { method: 'send', data: { to: user, data: text } } });
      return JSON.parse(await line());
    },
    [to, data],
  );
const heard = async (opened) => JSON.parse(await opened.evaluate(() => line())).push.pub.data;

test('pages of two edges write to each other over WebTransport', { timeout: 120_000 }, async () => {
  const [first, second] = dev.edges;
  const alice = await page(first, 'alice');
  const bob = await page(second, 'bob', '127.0.0.1');
  const text = `${'x'.repeat(60_000)}😀`;
  assert.equal((await tell(alice, 'bob', text)).rpc.data.delivered, 1);
  assert.equal(await heard(bob), text);
  assert.equal((await tell(bob, 'alice', 'back')).rpc.data.delivered, 1);
  assert.equal(await heard(alice), 'back');
  assert.deepEqual([await sessions(first), await sessions(second)], [1, 1]);

  // Exactly 65,536 bytes without the newline; then one more.
  const around = JSON.stringify({ id: 2, rpc: { method: 'send', data: { to: 'bob', data: '' } } }).length;
  const most = 'x'.repeat(65_536 - around);
  assert.equal((await tell(alice, 'bob', most)).rpc.data.delivered, 1);
  assert.equal(await heard(bob), most);
  const last = await alice.evaluate(async (text) => {
    const command = { id: 2, rpc: { method: 'send', data: { to: 'bob', data: text } } };
    const [push] = await Promise.all([line(), say(command)]);
    return [push, await ended];
  }, `${most}x`);
  assert.deepEqual(last, ['{"push":{"disconnect":{"code":3501,"reason":"bad request"}}}', [3501, 'bad request']]);
  await bob.close();
  await nobodyLeft(first, second);
  await alice.close();
});

const sessions = async (edge) => (await metrics(edge)).value('edge_connections', { door: 'webtransport' });
const nobodyLeft = (...edges) =>
  until('nobody left', async () => (await Promise.all(edges.map(sessions))).every((count) => count === 0), LATE);

/**
 * A page of `edge` in which the package is connected as `user`, over WebTransport and nothing else; `client`, and `log` of
 * what it tells. To `edge`, or to another with the certificate of `hash`.
 */
async function centrifuge(edge, user, { url, hash, token } = {}) {
  const opened = await browser.newPage();
  opened.setDefaultTimeout(LATE);
  await opened.goto(`${edge.http.replace('127.0.0.1', 'localhost')}/certificate-hash`);
  await opened.addScriptTag({ path: PACKAGE });
  const given = { user, url, hashes: hash && [hash], token };
  await opened.evaluate(async ({ user, token, ...given }) => {
    const told = await (await fetch('/certificate-hash')).json();
    const hashes = (given.hashes ?? told.hashes).map((hash) => Uint8Array.from(atob(hash), (letter) => letter.charCodeAt(0)));
    // The package has no option for them.
    globalThis.WebTransport = class extends WebTransport {
      constructor(url) {
        super(url, { serverCertificateHashes: hashes.map((value) => ({ algorithm: 'sha-256', value })) });
      }
    };
    globalThis.client = new Centrifuge([{ transport: 'webtransport', endpoint: given.url ?? told.url }], {
      token: token ?? (await (await fetch(`/dev/token?user=${user}`)).text()),
    });
    globalThis.log = [];
    client.on('publication', ({ channel, data, info }) => log.push({ channel, data, from: info.user }));
    for (const type of ['connecting', 'disconnected']) client.on(type, ({ code, reason }) => log.push({ type, code, reason }));
    client.connect();
    await client.ready(60_000);
    log.length = 0;
  }, given);
  return opened;
}

const logged = async (opened, what) => {
  await opened.waitForFunction((what) => log.some((each) => what in each), what);
  return opened.evaluate(() => log.at(-1));
};

test('the package `centrifuge` writes from page to page over WebTransport, and stays away when it is told to', { timeout: 240_000 }, async () => {
  const [first, second] = dev.edges;
  const [ada, bea] = [await centrifuge(first, 'ada'), await centrifuge(second, 'bea')];
  assert.deepEqual([await sessions(first), await sessions(second)], [1, 1]);
  const send = (opened, to, text) => opened.evaluate(async ([to, data]) => (await client.rpc('send', { to, data })).data, [to, text]);
  assert.deepEqual(await send(ada, 'bea', 'grüße 🌉'), { delivered: 1 });
  assert.deepEqual(await logged(bea, 'data'), { channel: '#bea', data: 'grüße 🌉', from: 'ada' });
  const long = '🌉'.repeat(15_000);
  assert.deepEqual(await send(bea, 'ada', long), { delivered: 1 });
  assert.deepEqual(await logged(ada, 'data'), { channel: '#ada', data: long, from: 'bea' });
  assert.deepEqual(await send(ada, 'nobody', 'x'), { delivered: 0 });

  await ada.evaluate(() => client.rpc('send', { to: 'bea', data: 'x'.repeat(66_000) }).catch(() => {}));
  assert.deepEqual(await logged(ada, 'code'), { type: 'disconnected', code: 3501, reason: 'bad request' });
  await nobodyLeft(first);
  assert.equal(await ada.evaluate(() => client.state), 'disconnected');
  await bea.evaluate(() => client.disconnect());
  await nobodyLeft(second);
  await Promise.all([ada.close(), bea.close()]);
});

test('the package `centrifuge` is told over WebTransport that an edge stops, and comes back to the next', { timeout: 240_000 }, async () => {
  const files = new CertificateFiles();
  const origin = dev.edges[0].http.replace('127.0.0.1', 'localhost');
  const start = (listen) => startEdge({ ...files.flags, 'allow-origin': origin, ...listen });
  let edge = await start();
  try {
    const given = { url: edge.webtransport, hash: files.hash, token: tokenFor('cleo', {}, { secret: SECRET }) };
    const cleo = await centrifuge(dev.edges[0], 'cleo', given);
    edge.child.signal('SIGTERM');
    await edge.child.end();
    assert.deepEqual(await logged(cleo, 'code'), { type: 'connecting', code: 3001, reason: 'shutdown' });
    edge = await start({ 'tls-listen': new URL(edge.webtransport).host });
    await cleo.waitForFunction(() => client.state === 'connected');
    await cleo.close();
    await nobodyLeft(edge);
  } finally {
    await edge.stop();
  }
});

test('a browser gets the client from every edge, and the chat page in development', { timeout: 60_000 }, async () => {
  const [edge] = dev.edges;
  const get = (path, headers) => request(`${edge.http}${path}`, { headers });
  const client = await get('/causeway.js');
  assert.equal(client.status, 200);
  assert.equal(client.headers['content-type'], 'text/javascript; charset=utf-8');
  assert.equal(client.headers['access-control-allow-origin'], '*');
  assert.equal((await get('/causeway.js', { 'if-none-match': client.headers.etag })).status, 304);
  const chat = await get('/');
  assert.equal(chat.status, 200);
  assert.match(chat.headers['content-security-policy'], /^default-src 'none'/);
  for (const path of ['/chat.js', '/chat.css', '/causeway.css', '/causeway.d.ts']) {
    assert.equal((await get(path)).status, 200, path);
  }

  // A page of another origin, with the integrity that the edge tells.
  const opened = await browser.newPage();
  await opened.goto(`${dev.edges[1].http}/certificate-hash`);
  const exported = await opened.evaluate(async (origin) => {
    const integrity = (await (await fetch(`${origin}/causeway.js.sri`)).text()).trim();
    const script = Object.assign(document.createElement('script'), { type: 'module', crossOrigin: '', integrity });
    script.src = `${origin}/causeway.js`;
    const loaded = new Promise((resolve, reject) => Object.assign(script, { onload: resolve, onerror: reject }));
    document.head.append(script);
    await loaded;
    return Object.keys(await import(script.src));
  }, edge.http);
  assert.ok(exported.length > 0);
  await opened.close();
});
