// Our children: started here, ended here, by pid. They end with us whatever happens: `setpriv --pdeathsig` (util-linux)
// has the kernel kill them even when we are killed ourselves.

import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import dgram from 'node:dgram';
import net from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

import { SOON, within } from './wait.mjs';

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../../..');

/** Where cargo put what it built. */
const BINARIES = path.resolve(ROOT, process.env.CARGO_TARGET_DIR ?? 'target', 'release');

export const binary = (name) => path.join(BINARIES, name);

const SETPRIV = '/usr/bin/setpriv';
const children = new Set();
const directories = new Set();

function endAll() {
  for (const child of children) child.signalAll('SIGKILL');
  for (const directory of directories) rmSync(directory, { recursive: true, force: true });
}
process.on('exit', endAll);
for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) {
  process.on(signal, () => process.exit(1));
}

/** One child: its output so far, its lines as they come, its end. */
export class Child {
  stdout = '';
  stderr = '';
  #listeners = new Set();

  constructor(file, args, { env = {}, cwd = ROOT } = {}) {
    const command = existsSync(SETPRIV) ? [SETPRIV, '--pdeathsig', 'KILL', '--', file, ...args] : [file, ...args];
    this.what = [path.basename(file), ...args].join(' ');
    this.process = spawn(command[0], command.slice(1), {
      cwd,
      env: { ...cleanEnvironment(), ...env },
      // A group of its own, so that what a shell has started ends with it.
      detached: true,
    });
    children.add(this);
    for (const stream of ['stdout', 'stderr']) {
      this.process[stream].setEncoding('utf8');
      this.process[stream].on('data', (text) => {
        this[stream] += text;
        this.#look();
      });
    }
    // Somebody who writes to a child that has ended learns it from the child's end.
    this.process.stdin.on('error', () => {});
    this.ended = new Promise((resolve) => {
      this.process.on('close', (code, signal) => {
        children.delete(this);
        this.isOver = true;
        resolve({ code, signal });
        this.#look();
      });
      this.process.on('error', (error) => {
        children.delete(this);
        this.stderr += `${error}`;
        this.isOver = true;
        resolve({ code: -1, signal: null });
        this.#look();
      });
    });
  }

  /** Waits until `pattern` is in the output named `stream`; its match. */
  async said(stream, pattern, milliseconds = SOON) {
    let listener;
    const match = new Promise((resolve, reject) => {
      listener = () => {
        const found = this[stream].match(pattern);
        if (found) resolve(found);
        else if (this.isOver) reject(new Error(`${this.what} ended without ${pattern}:\n${this.output}`));
      };
      this.#listeners.add(listener);
      listener();
    });
    try {
      return await within(milliseconds, `${pattern} on ${stream} of ${this.what}`, match);
    } catch (error) {
      error.message += `\n${this.output}`;
      throw error;
    } finally {
      this.#listeners.delete(listener);
    }
  }

  signal(name) {
    this.process.kill(name);
  }

  /** Its end, by itself: `{ code, signal }`. */
  async end(milliseconds = SOON) {
    try {
      return await within(milliseconds, `the end of ${this.what}`, this.ended);
    } catch (error) {
      error.message += `\n${this.output}`;
      throw error;
    }
  }

  signalAll(name) {
    try {
      process.kill(-this.process.pid, name);
    } catch {
      // None of them is left.
    }
  }

  /** Ends it and what it started, however they are. */
  async kill() {
    if (!this.isOver) this.signalAll('SIGKILL');
    await this.ended;
  }

  get output() {
    return `--- stdout\n${this.stdout}--- stderr\n${this.stderr}`;
  }

  #look() {
    for (const listener of [...this.#listeners]) listener();
  }
}

/** Nothing of whoever runs the tests may configure what they start. */
function cleanEnvironment() {
  const kept = Object.entries(process.env).filter(([name]) => !name.startsWith('CAUSEWAY_') && name !== 'NODE_OPTIONS');
  return { ...Object.fromEntries(kept), NO_COLOR: '1' };
}

/** Runs one of our binaries to its end: `{ code, stdout, stderr }`. */
export async function run(name, args, { env, cwd, milliseconds = SOON } = {}) {
  const child = new Child(binary(name), args, { env, cwd });
  child.process.stdin.end();
  try {
    const { code } = await child.end(milliseconds);
    return { code, stdout: child.stdout, stderr: child.stderr };
  } finally {
    await child.kill();
  }
}

/** A directory that goes away with us. */
export function temporary() {
  const directory = mkdtempSync(path.join(tmpdir(), 'causeway-test-'));
  directories.add(directory);
  return directory;
}

/**
 * `count` ports that nobody has, TCP and UDP. Below the range from which the kernel takes the ports of outgoing
 * connections, so that none of them has one of ours while a server of ours is down.
 */
export async function freePorts(count) {
  const ports = [];
  while (ports.length < count) {
    const port = 10_000 + Math.floor(Math.random() * 20_000);
    if (given.has(port)) continue;
    // Noted before it is tried: others may ask meanwhile.
    given.add(port);
    if (await isFree(port)) ports.push(port);
  }
  return ports;
}

/** Ports that somebody of us has, even if his server is down. */
const given = new Set();

async function isFree(port) {
  const tcp = net.createServer();
  const udp = dgram.createSocket('udp4');
  try {
    tcp.listen(port, '127.0.0.1');
    await once(tcp, 'listening');
    udp.bind(port, '127.0.0.1');
    await once(udp, 'listening');
    return true;
  } catch {
    return false;
  } finally {
    await new Promise((resolve) => tcp.close(resolve));
    await new Promise((resolve) => udp.close(resolve));
  }
}
