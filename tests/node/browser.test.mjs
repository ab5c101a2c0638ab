// A real browser, without any client of ours: a page on localhost trusts the minted certificate by its hash, with no flag and
// no warning, and speaks to its edge over WebTransport.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { chromium } from 'playwright-core';

import { startDev } from './lib/cluster.mjs';
import { metrics, request } from './lib/http.mjs';
import { temporary } from './lib/process.mjs';
import { until } from './lib/wait.mjs';

const FLAGS = ['--no-sandbox', '--disable-gpu', '--no-first-run', '--disable-background-networking', '--disable-component-update', '--disable-sync'];

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
  const sessions = async (edge) => (await metrics(edge)).value('edge_connections', { door: 'webtransport' });
  assert.deepEqual([await sessions(first), await sessions(second)], [1, 1]);

  const last = await alice.evaluate(async () => {
    const [push] = await Promise.all([line(), say('no command')]);
    return [push, await ended];
  });
  assert.deepEqual(last, ['{"push":{"disconnect":{"code":3501,"reason":"bad request"}}}', [3501, 'bad request']]);
  await bob.close();
  await until('nobody left', async () => (await sessions(first)) + (await sessions(second)) === 0, 60_000);
  await alice.close();
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
