// A person at a terminal: lines in, lines out.

import net from 'node:net';

import { Child } from './process.mjs';
import { Inbox, SOON, within } from './wait.mjs';

/** A TCP connection to a line door. */
export class Terminal {
  lines = new Inbox();
  #rest = '';

  constructor(address) {
    const { host, port } = hostAndPort(address);
    this.socket = net.connect({ host, port, noDelay: true });
    this.socket.setEncoding('utf8');
    this.socket.on('data', (text) => {
      const lines = (this.#rest + text).split('\n');
      this.#rest = lines.pop();
      for (const line of lines) this.lines.push(line);
    });
    this.closed = new Promise((resolve) => {
      this.socket.on('error', () => {});
      this.socket.on('close', () => {
        this.lines.end('the connection ended');
        resolve();
      });
    });
  }

  /** Logs in by name. */
  static async login(address, user) {
    const terminal = new Terminal(address);
    terminal.type(`login ${user}`);
    await terminal.expect(`ok logged in as ${user}`);
    return terminal;
  }

  type(...lines) {
    this.write(lines.map((line) => `${line}\n`).join(''));
  }

  write(bytes) {
    this.socket.write(bytes);
  }

  line(what = 'a line', milliseconds = SOON) {
    return this.lines.next(what, milliseconds);
  }

  /** The next line, which must be `wanted` (a text) or match it (a pattern). */
  async expect(wanted, milliseconds = SOON) {
    const line = await this.line(`${wanted}`, milliseconds);
    const fits = typeof wanted === 'string' ? line === wanted : wanted.test(line);
    if (!fits) throw new Error(`wanted ${wanted}, got ${JSON.stringify(line)}`);
    return line;
  }

  /** Types a line and returns its answer. */
  async ask(line) {
    this.type(line);
    return this.line(`an answer to ${line.slice(0, 80)}`);
  }

  /** Waits until the server has hung up. */
  async end(milliseconds = SOON) {
    await within(milliseconds, 'the end of the connection', this.closed);
  }

  close() {
    this.socket.destroy();
  }
}

/** Debian's `nc`, typed into. */
export function netcat(address) {
  const { host, port } = hostAndPort(address);
  return new Child('nc', [host, `${port}`]);
}

export function hostAndPort(address) {
  const [, host, port] = address.match(/^\[?([^\]]+)\]?:(\d+)$/);
  return { host, port: Number(port) };
}
