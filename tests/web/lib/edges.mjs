// Real edges, and where a page finds what they serve.

import { startDev, startEdge } from '../../node/lib/cluster.mjs';
import { tokenFor } from '../../node/lib/token.mjs';

import { startFiles } from './files.mjs';

export { startDev, startEdge, tokenFor };

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
