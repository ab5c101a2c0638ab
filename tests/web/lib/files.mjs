// Serves web/ as an edge does, with the same headers, for tests that need no edge.

import { createReadStream, existsSync } from 'node:fs';
import http from 'node:http';
import net from 'node:net';
import path from 'node:path';

export const WEB = path.join(import.meta.dirname, '../../../web');

/** The chat page's policy, as web/README.md has it. */
export const POLICY =
  "default-src 'none'; script-src 'self'; style-src 'self'; img-src data:; connect-src 'self' https:; " +
  "base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const TYPES = { '.html': 'text/html', '.js': 'text/javascript', '.css': 'text/css', '.svg': 'image/svg+xml' };

/**
 * `answers` are more paths: text, or an object for JSON, or a function that returns either; `undefined` is 404. With `edge`
 * (`host:port`) tokens and WebSockets come from there, as if it served the files itself.
 */
export async function startFiles(answers = {}, { edge } = {}) {
  const server = http.createServer(async (request, response) => {
    const { pathname } = new URL(request.url, 'http://x');
    const answer = typeof answers[pathname] === 'function' ? answers[pathname](request) : answers[pathname];
    if (answer !== undefined) {
      response.setHeader('content-type', typeof answer === 'string' ? 'text/plain' : 'application/json');
      response.setHeader('access-control-allow-origin', '*');
      response.end(typeof answer === 'string' ? answer : JSON.stringify(answer));
      return;
    }
    if (edge && ['/dev/token', '/certificate-hash'].includes(pathname)) {
      const asked = await fetch(`http://${edge}${request.url}`);
      response.writeHead(asked.status, { 'content-type': 'text/plain' });
      response.end(await asked.text());
      return;
    }
    const file = path.join(WEB, pathname === '/' ? 'chat.html' : path.basename(pathname));
    if (!existsSync(file)) {
      response.statusCode = 404;
      response.end('not here\n');
      return;
    }
    response.setHeader('content-type', `${TYPES[path.extname(file)] ?? 'text/plain'}; charset=utf-8`);
    if (file.endsWith('.html')) response.setHeader('content-security-policy', POLICY);
    response.setHeader('x-content-type-options', 'nosniff');
    createReadStream(file).pipe(response);
  });
  const through = new Set();
  if (edge) {
    server.on('upgrade', (request, socket, head) => {
      const [host, port] = edge.split(':');
      const out = net.connect(Number(port), host, () => {
        const { rawHeaders, method, url } = request;
        const lines = rawHeaders.flatMap((name, at) => (at % 2 === 0 ? [`${name}: ${rawHeaders[at + 1]}`] : []));
        out.write([`${method} ${url} HTTP/1.1`, ...lines, '', ''].join('\r\n'));
        out.write(head);
        socket.pipe(out).pipe(socket);
      });
      for (const each of [socket, out]) {
        through.add(each);
        each.on('error', () => {});
        each.on('close', () => (socket.destroy(), out.destroy(), through.delete(each)));
      }
    });
  }
  await new Promise((resolve) => server.listen(0, 'localhost', resolve));
  const { port } = server.address();
  const stop = () => {
    server.closeAllConnections();
    for (const each of through) each.destroy();
    return new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://localhost:${port}`, port, answers, stop };
}
