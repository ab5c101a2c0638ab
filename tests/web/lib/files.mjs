// Serves web/ as an edge does, and pages of the tests beside it, for tests that need no edge, or a page of another origin.

import { createReadStream, existsSync } from 'node:fs';
import http from 'node:http';
import path from 'node:path';

const WEB = path.join(import.meta.dirname, '../../../web');

const TYPES = { '.js': 'text/javascript', '.ts': 'text/plain' };

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
    const file = path.join(WEB, path.basename(pathname));
    const type = TYPES[path.extname(file)];
    if (!type || !existsSync(file)) {
      response.statusCode = 404;
      response.end('not here\n');
      return;
    }
    response.setHeader('content-type', `${type}; charset=utf-8`);
    response.setHeader('x-content-type-options', 'nosniff');
    createReadStream(file).pipe(response);
  });
  await new Promise((resolve) => server.listen(0, 'localhost', resolve));
  const { port } = server.address();
  const stop = () => {
    server.closeAllConnections();
    return new Promise((resolve) => server.close(resolve));
  };
  return { url: `http://localhost:${port}`, port, answers, stop };
}
