// Serves web/ as an edge does, with the same headers, for tests that need no edge.

import { createReadStream, existsSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';

export const WEB = path.join(import.meta.dirname, '../../../web');

/** The chat page's policy, as web/README.md has it. */
export const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; connect-src 'self' ws: wss: https:; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };

/** `answers` are more paths: text, or an object for JSON, or a function that returns either; `undefined` is 404. */
export async function startFiles(answers = {}) {
  const server = http.createServer((request, response) => {
    const { pathname } = new URL(request.url, 'http://x');
    const answer = typeof answers[pathname] === 'function' ? answers[pathname](request) : answers[pathname];
    if (answer !== undefined) {
      response.setHeader('content-type', typeof answer === 'string' ? 'text/plain' : 'application/json');
      response.setHeader('access-control-allow-origin', '*');
      response.end(typeof answer === 'string' ? answer : JSON.stringify(answer));
      return;
    }
    const file = path.join(WEB, pathname === '/' ? 'chat.html' : path.basename(pathname));
    if (!existsSync(file)) {
      response.statusCode = 404;
      response.end('not here\n');
      return;
    }
    response.setHeader('content-type', `${TYPES[path.extname(file)] ?? 'text/plain'}; charset=utf-8`);
    response.setHeader('content-security-policy', POLICY);
    response.setHeader('x-content-type-options', 'nosniff');
    createReadStream(file).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, 'localhost', resolve));
  const { port } = server.address();
  const stop = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://localhost:${port}`, port, stop };
}
