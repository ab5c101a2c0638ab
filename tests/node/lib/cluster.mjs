// The servers under test, as an operator starts them: `causeway dev` (two edges and a relay) and a lone `edge`.

import { writeFileSync } from 'node:fs';
import path from 'node:path';

import { Child, binary, temporary } from './process.mjs';

const TWO = '127.0.0.1:0,127.0.0.1:0';

/** Every address of `causeway dev` left to the kernel. */
const ANYWHERE = {
  listen: TWO,
  'tls-listen': TWO,
  'line-listen': TWO,
  'admin-listen': TWO,
  'relay-listen': '127.0.0.1:0',
  'relay-admin-listen': '127.0.0.1:0',
};

/** How long a server may take to start. */
const START = 20_000;

const flags = (settings) => Object.entries(settings).flatMap(([name, value]) => [`--${name}`, `${value}`]);

/** Starts `causeway dev`, waits for its banner, and returns its nodes with their addresses. */
export async function startDev(settings = {}, options = {}) {
  const child = new Child(binary('causeway'), ['dev', ...flags({ ...ANYWHERE, ...settings })], options);
  try {
    await child.said('stdout', /Ctrl-C stops it/, START);
  } catch (error) {
    await child.kill();
    throw error;
  }
  return { child, ...nodes(child.stdout), stop: () => child.kill() };
}

/** What the banner says. */
export function nodes(banner) {
  const edge = (name) => {
    const pattern = new RegExp(
      `${name} +(ws://([^/]+)/\\S+) +line (\\S+) +http://(\\S+)/metrics\\n +(https://localhost:(\\d+)/\\S+)`,
    );
    const [, url, http, line, admin, webtransport, tls] = banner.match(pattern);
    return { name, url, http: `http://${http}`, https: `https://localhost:${tls}`, webtransport, line, admin: `http://${admin}` };
  };
  const [, links, admin] = banner.match(/relay-1 +links (\S+) \(UDP\) +http:\/\/(\S+)\/metrics/);
  const relay = { name: 'relay-1', links, admin: `http://${admin}` };
  return { edges: [edge('edge-1'), edge('edge-2')], relay };
}

/** The secret of the lone edges here. */
export const SECRET = 'a secret of the tests';

/** Starts an `edge` without a relay; its token secret comes from a file, unless `options.env` has it. */
export async function startEdge(settings = {}, options = {}) {
  const all = { listen: '127.0.0.1:0', 'line-listen': '127.0.0.1:0', 'admin-listen': '127.0.0.1:0', name: 'alone' };
  const hasSecret = Object.keys({ ...options.env }).some((name) => name.startsWith('CAUSEWAY_TOKEN'));
  const secret = hasSecret || options.keyless ? {} : { 'token-hmac-secret-file': secretFile() };
  const args = [...flags({ ...all, ...secret, ...settings }), '--log-format', 'json'];
  const child = new Child(binary('edge'), args, options);
  try {
    await child.said('stderr', /"line door open"/, START);
  } catch (error) {
    await child.kill();
    throw error;
  }
  const lines = child.stderr.trim().split('\n').map((line) => JSON.parse(line));
  const { websocket: url, admin } = lines.find((line) => line.message === 'listening');
  const { line } = lines.find((line) => line.message === 'line door open');
  const http = url.replace('ws://', 'http://').replace('/connection/websocket', '');
  const { websocket: wss, webtransport } = lines.find((line) => line.message === 'listening with TLS') ?? {};
  return { child, url, wss, webtransport, http, line, admin, stop: () => child.kill() };
}

export function secretFile(secret = SECRET) {
  const file = path.join(temporary(), 'secret');
  writeFileSync(file, `${secret}\n`);
  return file;
}
