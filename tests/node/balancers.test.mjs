// Who a client is behind a balancer: what trusted ones say is believed, and what anybody else says is not.

import assert from 'node:assert/strict';
import { once } from 'node:events';
import net from 'node:net';
import { test } from 'node:test';
import tls from 'node:tls';

import { CertificateFiles } from './lib/certificate.mjs';
import { startEdge } from './lib/cluster.mjs';
import { HANDSHAKE } from './lib/http.mjs';
import { run } from './lib/process.mjs';
import { hostAndPort } from './lib/terminal.mjs';
import { Inbox } from './lib/wait.mjs';

/** A header of the PROXY protocol, version 2, for a TCP connection from `source`. */
function introduction(source) {
  const bytes = (address) => Buffer.from(address.split('.').map(Number));
  const ports = Buffer.from('d43101bb', 'hex');
  const rest = Buffer.concat([bytes(source), bytes('198.51.100.1'), ports]);
  return Buffer.concat([Buffer.from('0d0a0d0a000d0a515549540a2111000c', 'hex'), rest]);
}

/** What a connection that begins with `early` gets for a WebSocket handshake: a status line, or the end. */
async function statusLine(url, { early, headers = {} } = {}) {
  const { protocol, host } = new URL(url);
  const socket = net.connect(hostAndPort(host));
  await once(socket, 'connect');
  if (early) socket.write(early);
  const stream = protocol === 'wss:' ? tls.connect({ socket, rejectUnauthorized: false }) : socket;
  const answers = new Inbox();
  stream.on('data', (bytes) => answers.push(bytes.toString('latin1')));
  for (const each of [stream, socket]) each.on('error', () => {}).on('close', () => answers.end('it ended'));
  const lines = Object.entries({ host, ...HANDSHAKE, ...headers }).map(([name, value]) => `${name}: ${value}\r\n`);
  stream.write(`GET /connection/websocket HTTP/1.1\r\n${lines.join('')}\r\n`);
  const answer = await answers.next('an answer').catch(() => 'the end');
  socket.destroy();
  return answer.split('\r\n')[0];
}

const SWITCHING = 'HTTP/1.1 101 Switching Protocols';

/** Whom an edge takes its last client for. */
async function lastClient(edge, count) {
  await edge.child.said('stderr', new RegExp(`(a client comes in[^]*){${count}}`));
  const lines = edge.child.stderr.split('\n').filter((line) => line.includes('a client comes in'));
  return JSON.parse(lines.at(-1)).address;
}

const logged = { 'log-level': 'info,edge=debug' };

test('X-Forwarded-For is believed of a trusted balancer, from its end', async () => {
  const edge = await startEdge({ ...logged, 'trusted-proxy': '127.0.0.0/8' });
  try {
    const headers = { 'x-forwarded-for': '1.1.1.1, 192.0.2.7, 127.0.0.9' };
    assert.equal(await statusLine(edge.url, { headers }), SWITCHING);
    assert.equal(await lastClient(edge, 1), '192.0.2.7');
    assert.equal(await statusLine(edge.url), SWITCHING);
    assert.equal(await lastClient(edge, 2), '127.0.0.1');
  } finally {
    await edge.stop();
  }
});

test('nobody else is believed', async () => {
  const edge = await startEdge({ ...logged, 'trusted-proxy': '10.0.0.0/8' });
  try {
    assert.equal(await statusLine(edge.url, { headers: { 'x-forwarded-for': '192.0.2.7' } }), SWITCHING);
    assert.equal(await lastClient(edge, 1), '127.0.0.1');
    assert.notEqual(await statusLine(edge.url, { early: introduction('192.0.2.7') }), SWITCHING);
  } finally {
    await edge.stop();
  }
});

test('with --proxy-protocol each connection of a balancer says first whom it is for', { timeout: 60_000 }, async () => {
  const flags = { 'trusted-proxy': '127.0.0.1', ...new CertificateFiles().flags };
  const edge = await startEdge({ ...logged, ...flags }, { env: { CAUSEWAY_PROXY_PROTOCOL: 'true' } });
  try {
    const early = introduction('192.0.2.7');
    assert.equal(await statusLine(edge.url, { early }), SWITCHING);
    assert.equal(await lastClient(edge, 1), '192.0.2.7');
    assert.equal(await statusLine(edge.wss, { early }), SWITCHING);
    assert.equal(await lastClient(edge, 2), '192.0.2.7');
    // One balancer behind another.
    const far = { early: introduction('127.0.0.1'), headers: { 'x-forwarded-for': '192.0.2.8' } };
    assert.equal(await statusLine(edge.url, far), SWITCHING);
    assert.equal(await lastClient(edge, 3), '192.0.2.8');
    assert.equal(await statusLine(edge.url), 'the end', 'without a header');
    assert.notEqual(await statusLine(edge.url, { early: early.subarray(0, 20) }), SWITCHING, 'with half of one');
  } finally {
    await edge.stop();
  }
});

test('a network that is none, or a header of nobody, is a mistake in the configuration', async () => {
  const secret = ['--token-hmac-secret', 'x', '--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0'];
  const wrong = await run('edge', [...secret, '--trusted-proxy', '10.1.2.3/8']);
  assert.equal(wrong.code, 2, wrong.stderr);
  assert.match(wrong.stderr, /10\.0\.0\.0\/8 is the network/);
  const alone = await run('edge', [...secret, '--proxy-protocol']);
  assert.equal(alone.code, 78, alone.stderr);
  assert.match(alone.stderr, /--trusted-proxy/);
});
