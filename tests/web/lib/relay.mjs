// A relay's admin listener as a script has it: the console's own files, and clusters of any size that do what a test says.

import { readFileSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';

const WEB = path.join(import.meta.dirname, '../../../web');
const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css' };

/** Files as the relay serves them, with its policy. */
const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

function fileOf(pathname) {
  if (pathname === '/console') return 'console/console.html';
  if (pathname === '/console/causeway.css') return 'causeway.css';
  return /^\/console\/[a-z]+\.(js|css)$/.test(pathname) ? pathname.slice(1) : undefined;
}

/** Starts one; `answers.edges()` is what `/api/edges` says, `answers.user(name)` what `/api/users/…` does, sooner or later. */
export async function startRelay(answers) {
  const server = http.createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://x');
    const file = fileOf(pathname);
    if (file) {
      response.setHeader('content-type', `${TYPES[path.extname(file)]}; charset=utf-8`);
      response.setHeader('content-security-policy', POLICY);
      return response.end(readFileSync(path.join(WEB, file)));
    }
    const user = pathname.match(/^\/api\/users\/(.+)$/)?.[1];
    // By his personal channel, as the console asks.
    const answer = pathname === '/api/edges' ? answers.edges() : user && (await answers.user(decodeURIComponent(user).replace(/^#/, '')));
    if (!answer) {
      response.statusCode = 404;
      return response.end('not here\n');
    }
    response.setHeader('content-type', 'application/json');
    response.end(JSON.stringify(answer));
  });
  await new Promise((resolve) => server.listen(0, '127.0.0.1', resolve));
  const stop = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://127.0.0.1:${server.address().port}/console`, stop };
}

/** `n` edges with traffic that differs, and the relay between them; `edges()` is how it is now. */
export function cluster(n, { capacity = 500, name = (at) => `edge-${at + 1}` } = {}) {
  const began = Date.now() - 3_600_000;
  const states = Array.from({ length: n }, (_, at) => {
    // The golden angle: spread, and the same each time.
    const share = (at * 0.618034) % 1;
    return { name: name(at), share, clients: Math.round(share * capacity), perSecond: Math.round(2000 * share ** 3), lost: false, ready: true };
  });
  const events = [
    { at: began, kind: 'started', edge: null, text: '' },
    ...states.map((edge, at) => ({ at: began + at * 40, kind: 'linked', edge: edge.name, text: `epoch ${began + at}` })),
    { at: began + 5000, kind: 'complete', edge: null, text: '' },
  ];
  const edges = () => {
    const now = Date.now();
    const seconds = (now - began) / 1000;
    const count = (perSecond) => Math.floor(perSecond * (seconds + 2 * Math.sin(seconds / 7)));
    const linked = states.filter(({ lost }) => !lost);
    return {
      now,
      relay: {
        name: 'relay-1', version: '0.1.0', started: began, is_complete: linked.length === n, is_store_up: true, leases: n,
        channels: 12_345, publications: count(linked.reduce((sum, { perSecond }) => sum + perSecond, 0)),
        forwarded: count(linked.reduce((sum, { perSecond }) => sum + 1.4 * perSecond, 0)),
        unheld: 0, refused: 0, missing: 0, answers: 0, answers_lost: 0, joins: 0, leaves: 0, heartbeats: 0, admitted: n,
        closed: 0, reaped: 0, routes_removed: 0, renewed: 0, freezes: 0,
      },
      edges: states.map((edge, at) => ({
        name: edge.name, epoch: began + at, state: edge.lost ? 'lost' : 'linked', since: began + at * 40, heard_ms_ago: 300,
        version: '0.1.0', capacity, is_leased: true, is_synced: !edge.lost, channels: edge.clients * 3, queued_bytes: 0,
        in: { publications: count(edge.perSecond), bytes: 180 * count(edge.perSecond) },
        out: { publications: count(1.4 * edge.perSecond), bytes: 250 * count(edge.perSecond) },
        status: {
          ms_ago: now % 1000, clients: Math.min(capacity, Math.round(edge.clients * (1 + 0.05 * Math.sin(seconds / 5 + at)))),
          is_ready: edge.ready, rtt_us: Math.round(250 + 400 * edge.share + 40 * Math.sin(seconds / 3 + at)),
          received: Math.floor(3 * edge.perSecond * (now - (now % 1000) - began) / 1000), pushes: count(6 * edge.perSecond), unknown: 0,
        },
        path: edge.lost ? null : {
          address: `10.0.${at >> 8}.${at & 255}:${40_000 + at}`, rtt_us: 260, congestion_window_bytes: 208_000,
          lost_packets: Math.round(7 * edge.share), sent_packets: count(200), sent_bytes: count(100_000), received_bytes: count(80_000),
        },
      })),
      events,
    };
  };
  return { states, events, edges };
}
