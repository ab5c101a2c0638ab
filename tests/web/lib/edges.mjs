// Real edges, and where a page finds what they serve.

import path from 'node:path';

import { SECRET, startDev, startEdge } from '../../node/lib/cluster.mjs';
import { run, temporary } from '../../node/lib/process.mjs';
import { tokenFor } from '../../node/lib/token.mjs';

import { makeCertificate } from './bridge.mjs';
import { startFiles } from './files.mjs';

export { startDev };

/** A token for a lone edge. */
export const token = (user) => tokenFor(user, {}, { secret: SECRET });

/** Whether edges can have TLS, and WebTransport with it. */
export const edgesHaveTls = async () => (await run('edge', ['--help'])).stdout.includes('--tls-listen');

/** An edge by itself, for pages of `origin`; with `tls`, `endpoint` has WebTransport, and `hash` is its certificate's. */
export async function startLone(origin, { tls }) {
  if (!tls) {
    const edge = await startEdge({ 'allow-origin': origin });
    return { ...edge, endpoint: { websocket: edge.url }, hashes: [] };
  }
  const folder = temporary();
  const [certificate, key] = [path.join(folder, 'tls.pem'), path.join(folder, 'tls.key')];
  const hash = makeCertificate(certificate, key);
  const flags = { 'tls-listen': '127.0.0.1:0', 'tls-cert': certificate, 'tls-key': key };
  const edge = await startEdge({ 'allow-origin': origin, ...flags });
  const lines = edge.child.stderr.trim().split('\n').map((line) => JSON.parse(line));
  const { webtransport } = lines.find(({ webtransport }) => webtransport);
  return { ...edge, endpoint: { websocket: edge.url, webtransport }, hashes: [hash] };
}

const there = async (url) => (await fetch(url)).ok;

/**
 * Where the chat page of `edge` is. An edge that does not serve it itself has its API, its WebSocket and its certificate's
 * hash passed on by a server of ours.
 */
export async function startSite(edge) {
  const host = edge.http.replace('http://', '');
  if (await there(`${edge.http}/chat.js`)) return { url: edge.http, stop: () => {} };
  console.log(`${edge.name} serves no pages; a server of the tests does`);
  return startFiles({}, { edge: host });
}

/** Whether `edge` offers WebTransport; says so. */
export async function hasWebTransport(edge) {
  const has = await there(`${edge.http}/certificate-hash`);
  console.log(`${edge.name ?? edge.http} ${has ? 'offers' : 'does not offer'} WebTransport`);
  return has;
}
