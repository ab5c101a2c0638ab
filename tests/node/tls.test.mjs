// The public door with TLS: WebSocket behind it, and its certificate, which is replaced while clients are connected.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import { copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import net from 'node:net';
import { after, before, test } from 'node:test';
import tls from 'node:tls';

import { CertificateFiles } from './lib/certificate.mjs';
import { SECRET, startDev, startEdge } from './lib/cluster.mjs';
import { metrics } from './lib/http.mjs';
import { run } from './lib/process.mjs';
import { Raw } from './lib/raw.mjs';
import { hostAndPort } from './lib/terminal.mjs';
import { tokenFor } from './lib/token.mjs';
import { until } from './lib/wait.mjs';

/** Files are looked at every 10 s. */
const A_LOOK = 40_000;

const files = new CertificateFiles();
let edge;
before(async () => (edge = await startEdge(files.flags)));
after(() => edge?.stop());

const login = (user, ca = files.pem) => Raw.login(edge.wss, user, { token: tokenFor(user, {}, { secret: SECRET }), ca });
const certificate = { certificate: 'public' };

/** What the door shows in a handshake now. */
async function shown() {
  const { host, port } = hostAndPort(new URL(edge.wss).host);
  const socket = tls.connect({ host, port, rejectUnauthorized: false });
  await once(socket, 'secureConnect');
  const { fingerprint256 } = socket.getPeerCertificate();
  socket.destroy();
  return fingerprint256;
}

test('a client behind TLS and one without reach each other, and browsers may use both', async () => {
  const secure = await login('secure');
  const plain = await Raw.login(edge.url, 'plain', { token: tokenFor('plain', {}, { secret: SECRET }) });
  assert.equal(await secure.tell('plain', 'hi'), 1);
  assert.equal((await plain.publication()).data, 'hi');
  const long = 'x'.repeat(60_000);
  assert.equal(await plain.tell('secure', long), 1);
  assert.equal((await secure.publication()).data, long);
  const foreign = new Raw(edge.wss, { ca: files.pem, origin: 'https://evil.org' });
  await assert.rejects(foreign.opened, /HTTP 403/);
  secure.close();
  plain.close();
});

test('a new pair is shown from the next handshake on, and nobody is dropped', { timeout: 120_000 }, async () => {
  const old = files.pem;
  const client = await login('early');
  assert.equal(await shown(), files.x509.fingerprint256);
  const expiry = async () => (await metrics(edge)).value('edge_certificate_not_after_time_seconds', certificate);
  assert.equal(await expiry(), Date.parse(files.x509.validTo) / 1000);
  const changes = async () => (await metrics(edge)).value('edge_certificate_changes_total', certificate);
  assert.equal(await changes(), 0);

  files.renew();
  await until('the new pair', async () => (await changes()) === 1, A_LOOK);

  assert.equal(await shown(), files.x509.fingerprint256);
  assert.equal(await expiry(), Date.parse(files.x509.validTo) / 1000);
  await assert.rejects(login('stale', old), /self.signed certificate/i);
  const next = await login('late');
  assert.equal(await next.tell('early', 'still here?'), 1);
  assert.equal((await client.publication()).data, 'still here?');
  client.close();
  next.close();
});

test('a pair that is none changes nothing but a metric', { timeout: 120_000 }, async () => {
  const good = files.x509.fingerprint256;
  const goodKey = readFileSync(files.key, 'utf8');
  const refused = async () => (await metrics(edge)).value('edge_certificate_refused', certificate);
  assert.equal(await refused(), 0);

  copyFileSync(files.make('foreign').key, files.key);
  await until('the refusal', async () => (await refused()) === 1, A_LOOK);
  await edge.child.said('stderr', /not the private key of the first certificate/);
  assert.equal(await shown(), good);
  const client = await login('anyhow');
  client.close();

  writeFileSync(files.key, goodKey);
  await until('the end of the refusal', async () => (await refused()) === 0, A_LOOK);
  assert.equal(await shown(), good);
});

test('connections that say nothing are let go, and keep nobody out meanwhile', { timeout: 60_000 }, async () => {
  const address = hostAndPort(new URL(edge.wss).host);
  const silent = Array.from({ length: 300 }, () => net.connect(address));
  const over = silent.map((socket) => new Promise((resolve) => socket.on('close', resolve)));
  for (const socket of silent) socket.on('error', () => {}).resume();
  await Promise.all(silent.map((socket) => once(socket, 'connect')));
  // Half of them begin a handshake: the head of a record, and never its body.
  for (const socket of silent.slice(150)) socket.write(Buffer.from('16030102000100', 'hex'));
  const client = await login('patient');
  assert.equal(await client.tell('nobody', 'hi'), 0);
  await Promise.all(over);
  client.close();
});

test('who does not speak TLS is told so, and holds nothing', async () => {
  const socket = net.connect(hostAndPort(new URL(edge.wss).host));
  const over = once(socket, 'close');
  socket.on('error', () => {}).resume();
  socket.write('GET / HTTP/1.1\r\nHost: localhost\r\n\r\n');
  await over;
});

test('an edge does not start with a pair that is none, nor with half of the flags', async () => {
  const foreign = files.make('other').key;
  const secret = ['--token-hmac-secret', 'x', '--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0'];
  const cases = [
    [['--tls-listen', '127.0.0.1:0'], /needs --tls-cert and --tls-key/],
    [['--tls-cert', files.cert], /give --tls-listen too/],
    [['--tls-listen', '127.0.0.1:0', '--tls-cert', files.cert, '--tls-key', foreign], /not the private key/],
    [['--tls-listen', '127.0.0.1:0', '--tls-cert', '/nowhere', '--tls-key', foreign], /\/nowhere: cannot be read/],
  ];
  for (const [flags, reason] of cases) {
    const { code, stderr } = await run('edge', [...secret, ...flags]);
    assert.equal(code, 78, stderr);
    assert.match(stderr, reason);
  }
});

test('a cluster for trying out is on localhost by both families, and says how browsers trust it', async () => {
  const dev = await startDev();
  try {
    const [first] = dev.edges;
    const port = new URL(first.webtransport).port;
    const told = await (await fetch(`${first.http}/certificate-hash`)).json();
    assert.equal(told.algorithm, 'sha-256');
    assert.equal(told.url, `https://127.0.0.1:${port}/connection/webtransport`);
    const socket = tls.connect({ host: 'localhost', port, rejectUnauthorized: false });
    await once(socket, 'secureConnect');
    const der = socket.getPeerCertificate(true).raw;
    socket.destroy();
    const hash = Buffer.from(await crypto.subtle.digest('SHA-256', der)).toString('base64');
    assert.equal(told.hashes[0], hash);
    assert.equal(told.hashes.length, 2, 'and its successor');
    const client = await Raw.login(`wss://localhost:${port}/connection/websocket`, 'local', { rejectUnauthorized: false });
    client.close();
  } finally {
    await dev.stop();
  }
});
