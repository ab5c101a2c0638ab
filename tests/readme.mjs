// Runs README.md: every ```sh block, in order, in the checkout, as a reader would.
//
// A block with `cargo run --release` is a server: it is started, its banner awaited, the next blocks run beside it, and
// Ctrl-C ends it when all are done. A block with `tests/run` is not run (it runs this), but the command must exist.
// A comment above a block changes that: `<!-- test: skip WHY -->`, `<!-- test: interactive -->` for two lines that belong
// into two terminals, or `<!-- test: server PATTERN -->` for servers that have started when their log matches.
//
// Called by tests/run, or by hand: node --test tests/readme.mjs

import assert from 'node:assert/strict';
import { accessSync, constants, readFileSync } from 'node:fs';
import path from 'node:path';
import { test } from 'node:test';

import { Child, ROOT } from './node/lib/process.mjs';

/** How long a block may take. */
const BLOCK = 120_000;

/** How long a block may take that may have to build first. */
const BUILD = 900_000;

const MARK = /^<!-- test: (\w+) *(.*?) *-->$/;

test('README.md works as it is written', { timeout: 1_200_000 }, async (context) => {
  const blocks = shellBlocks(readFileSync(path.join(ROOT, 'README.md'), 'utf8'));
  assert.ok(blocks.length > 0, 'README.md has no block of commands');
  const servers = [];
  let hasFailed = false;
  try {
    for (const block of blocks) {
      // What comes next may need what has just failed.
      const skip = hasFailed ? 'an earlier block failed' : block.mark === 'skip' && block.why;
      await context.test(`line ${block.line}: ${block.lines[0]}`, { skip }, async () => {
        hasFailed = true;
        await run(block, servers);
        hasFailed = false;
      });
    }
    for (const server of servers) {
      await context.test(`Ctrl-C stops ${server.what}`, async () => {
        server.signalAll('SIGINT');
        const end = await server.end();
        // A shell that waits for servers ends by the signal itself.
        if (!server.isShell) assert.deepEqual(end, { code: 0, signal: null }, server.output);
      });
    }
  } finally {
    for (const server of servers) await server.kill();
  }
});

/** The blocks of a page: `{ line, lines, mark, why }`. */
function shellBlocks(page) {
  const blocks = [];
  let block;
  let above = '';
  for (const [at, line] of page.split('\n').entries()) {
    if (block && line === '```') {
      blocks.push(block);
      block = undefined;
    } else if (block) {
      block.lines.push(line);
    } else if (line === '```sh') {
      const [, mark, why] = above.match(MARK) ?? [];
      assert.ok([undefined, 'skip', 'interactive', 'server'].includes(mark), `line ${at}: ${above}`);
      assert.ok((mark === 'skip' || mark === 'server') === Boolean(why), `line ${at}: say why it is skipped, or what to wait for`);
      block = { line: at + 2, lines: [], mark, why };
    }
    above = line;
  }
  assert.equal(block, undefined, 'a block has no end');
  return blocks;
}

async function run(block, servers) {
  const text = block.lines.join('\n');
  if (block.mark === 'interactive') return converse(block.lines);
  if (block.mark === 'server') {
    const server = Object.assign(bash(text), { isShell: true });
    servers.push(server);
    return server.said('stderr', new RegExp(block.why));
  }
  if (text.includes('tests/run')) return accessSync(path.join(ROOT, 'tests/run'), constants.X_OK);
  if (text.includes('cargo run --release')) {
    const server = bash(text);
    servers.push(server);
    return server.said('stdout', /Ctrl-C stops it/, BUILD);
  }
  const child = bash(text);
  child.process.stdin.end();
  try {
    const { code } = await child.end(text.includes('cargo ') ? BUILD : BLOCK);
    assert.equal(code, 0, child.output);
  } finally {
    await child.kill();
  }
}

/** Two terminals: what is typed into the first is read in the second. */
async function converse(lines) {
  assert.equal(lines.length, 2, 'two lines for two terminals');
  const [first, second] = lines.map(bash);
  try {
    await Promise.all([first, second].map((terminal) => terminal.said('stdout', /^ok logged in as /)));
    first.process.stdin.write('send bob hello\n');
    await second.said('stdout', /^msg alice hello$/m);
    await first.said('stdout', /^ok delivered 1$/m);
  } finally {
    await Promise.all([first.kill(), second.kill()]);
  }
}

function bash(text) {
  return new Child('/bin/bash', ['-e', '-o', 'pipefail', '-c', text]);
}
