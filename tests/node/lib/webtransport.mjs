// A WebTransport client from somebody else: aioquic, which `tests/run install` puts into target/tools.

import { readdirSync } from 'node:fs';
import path from 'node:path';

import { Child, ROOT } from './process.mjs';
import { tokenFor } from './token.mjs';
import { Inbox, SOON } from './wait.mjs';

const TOOLS = path.resolve(ROOT, process.env.CARGO_TARGET_DIR ?? 'target', 'tools');
const AIOQUIC = readdirSync(TOOLS).find((name) => name.startsWith('aioquic-')) ?? 'aioquic is not installed';
const PYTHON = path.join(TOOLS, AIOQUIC, 'bin/python');
const script = (name) => path.resolve(ROOT, 'tests/node/lib', name);

/** Begins `count` QUIC handshakes and goes on with none; the child's output says how they were answered. */
export function halfOpen(url, count) {
  const { hostname, port } = new URL(url);
  return new Child(PYTHON, [script('half_open.py'), hostname, port, count]);
}

export class Peer {
  /** Lines of the stream, as text; pings are answered and left out. */
  lines = new Inbox();
  /** `{ready}`, `{refused}`, `{finished}`, `{closed}`, `{ended}`, in order. */
  events = new Inbox();
  #id = 0;
  #unread = 0;
  #rest = Buffer.alloc(0);

  constructor(url, { headers = {} } = {}) {
    this.child = new Child(PYTHON, [script('webtransport.py'), url, JSON.stringify(headers)]);
    this.child.process.stdout.on('data', () => this.#read());
    this.child.ended.then(() => {
      this.lines.end('the client ended');
      this.events.end('the client ended');
    });
  }

  /** Opens a session; `.hash` is the certificate's. */
  static async open(url, options) {
    const peer = new Peer(url, options);
    peer.hash = (await peer.event('ready', 30_000)).ready;
    return peer;
  }

  static async login(url, user, { token = tokenFor(user), ...options } = {}) {
    const peer = await Peer.open(url, options);
    const reply = await peer.ask({ connect: { token, name: 'python' } });
    if (!reply.connect) throw new Error(`not logged in: ${JSON.stringify(reply)}`);
    return peer;
  }

  /** The next event, which must be of this kind. */
  async event(kind, milliseconds = SOON) {
    const event = await this.events.next(`the event ${kind}`, milliseconds);
    if (!(kind in event)) throw new Error(`${kind} was to come, not ${JSON.stringify(event)}\n${this.child.stderr}`);
    return event;
  }

  order(order) {
    this.child.process.stdin.write(`${JSON.stringify(order)}\n`);
  }

  /** Bytes, or text, as they are. */
  write(bytes) {
    this.order({ write: Buffer.from(bytes).toString('hex') });
  }

  send(request) {
    this.#id += 1;
    this.write(`${JSON.stringify({ ...request, id: this.#id })}\n`);
  }

  async message(what = 'a message') {
    return JSON.parse(await this.lines.next(what));
  }

  async ask(request) {
    this.send(request);
    const reply = await this.message(`a reply to ${JSON.stringify(request).slice(0, 100)}`);
    if (reply.id !== this.#id) throw new Error(`a reply to ${this.#id} was to come, not ${JSON.stringify(reply)}`);
    return reply;
  }

  async tell(user, data) {
    const reply = await this.ask({ rpc: { method: 'send', data: { to: user, data } } });
    return reply.rpc ? reply.rpc.data.delivered : reply;
  }

  async publication() {
    const { push } = await this.message('a publication');
    return { channel: push.channel, ...push.pub };
  }

  /** Nothing is said any more, neither by the program nor by QUIC. */
  async kill() {
    await this.child.kill();
  }

  #read() {
    const lines = this.child.stdout.slice(this.#unread).split('\n');
    this.#unread = this.child.stdout.length - lines.pop().length;
    for (const line of lines) {
      const event = JSON.parse(line);
      if (event.data === undefined) this.events.push(event);
      else this.#bytes(Buffer.from(event.data, 'hex'));
    }
  }

  #bytes(bytes) {
    this.#rest = Buffer.concat([this.#rest, bytes]);
    for (let end = this.#rest.indexOf(10); end >= 0; end = this.#rest.indexOf(10)) {
      const line = this.#rest.subarray(0, end).toString('utf8');
      this.#rest = this.#rest.subarray(end + 1);
      if (line === '{}') this.write('{}\n');
      else this.lines.push(line);
    }
  }
}
