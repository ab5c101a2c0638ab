// Clients that know the protocol to the byte, and break it where a test wants that.
//
// `Raw` is a WebSocket of the package `ws`, one JSON object at a time. `Wire` is a TCP connection on which a test
// writes frames by itself (RFC 6455, section 5.2), wrong ones too.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import net from 'node:net';

import WebSocket from 'ws';

import { HANDSHAKE } from './http.mjs';
import { hostAndPort } from './terminal.mjs';
import { tokenFor } from './token.mjs';
import { Inbox, SOON, within } from './wait.mjs';

export class Raw {
  /** Lines of frames, as text. Pings are answered and left out unless `answersPings` is false. */
  lines = new Inbox();
  frames = 0;
  pings = 0;
  #id = 0;

  constructor(url, { answersPings = true, ...options } = {}) {
    this.socket = new WebSocket(url, { perMessageDeflate: false, ...options });
    this.opened = new Promise((resolve, reject) => {
      this.socket.on('open', resolve);
      this.socket.on('unexpected-response', (_, answer) => reject(Object.assign(new Error(`HTTP ${answer.statusCode}`), { answer })));
      this.socket.on('error', reject);
    });
    // Whoever awaits it hears of it; whoever does not, does not care.
    this.opened.catch(() => {});
    this.socket.on('message', (bytes, isBinary) => {
      this.frames += 1;
      assert.equal(isBinary, false, 'JSON comes in text frames');
      for (const line of bytes.toString('utf8').split('\n')) {
        if (line === '{}') {
          this.pings += 1;
          if (answersPings) {
            this.socket.send('{}');
            continue;
          }
        }
        this.lines.push(line);
      }
    });
    this.closed = new Promise((resolve) => {
      this.socket.on('error', () => {});
      this.socket.on('close', (code, reason) => {
        this.lines.end(`closed with ${code} ${reason}`);
        resolve({ code, reason: reason.toString() });
      });
    });
  }

  static async open(url, options) {
    const raw = new Raw(url, options);
    await within(SOON, `the opening of ${url}`, raw.opened);
    return raw;
  }

  /** Opens and logs in; the connect result is in `.connected`. */
  static async login(url, user, { claims, token = tokenFor(user, claims), ...options } = {}) {
    const raw = await Raw.open(url, options);
    const reply = await raw.ask({ connect: { token, name: 'js' } });
    assert.ok(reply.connect, `logged in: ${JSON.stringify(reply)}`);
    raw.connected = reply.connect;
    return raw;
  }

  /** A command as text, with an id of its own. */
  command(request) {
    this.#id += 1;
    return JSON.stringify({ ...request, id: this.#id });
  }

  send(text, options) {
    this.socket.send(text, options);
  }

  line(what = 'a message', milliseconds = SOON) {
    return this.lines.next(what, milliseconds);
  }

  async message(what, milliseconds) {
    return JSON.parse(await this.line(what, milliseconds));
  }

  /** The next publication; nothing else may come. */
  async publication(milliseconds) {
    const { push } = await this.message('a publication', milliseconds);
    assert.ok(push?.pub, `a publication came: ${JSON.stringify(push)}`);
    return { channel: push.channel, ...push.pub };
  }

  /** Sends a command and returns its reply, which must be the next message. */
  async ask(request) {
    const text = this.command(request);
    this.send(text);
    const reply = await this.message(`a reply to ${text.slice(0, 100)}`);
    assert.equal(reply.id, this.#id, `the reply to ${text.slice(0, 100)}: ${JSON.stringify(reply)}`);
    return reply;
  }

  /** The RPC method `send`: how many connections have it; `{error}` otherwise. */
  async tell(user, data) {
    const reply = await this.ask({ rpc: { method: 'send', data: { to: user, data } } });
    return reply.rpc ? reply.rpc.data.delivered : reply;
  }

  /** How the connection ended. */
  end(milliseconds = SOON) {
    return within(milliseconds, 'the close frame', this.closed);
  }

  close() {
    this.socket.terminate();
  }
}

export const Opcode = { continuation: 0, text: 1, binary: 2, close: 8, ping: 9, pong: 10 };

/** A frame of a client. */
export function frame(payload, { opcode = Opcode.text, isFinal = true, isMasked = true, reserved = 0 } = {}) {
  const bytes = Buffer.from(payload);
  const long = bytes.length > 65_535 ? 127 : bytes.length > 125 ? 126 : bytes.length;
  const head = Buffer.alloc(2 + (long === 127 ? 8 : long === 126 ? 2 : 0));
  head[0] = (isFinal ? 0x80 : 0) | (reserved << 4) | opcode;
  head[1] = (isMasked ? 0x80 : 0) | long;
  if (long === 126) head.writeUInt16BE(bytes.length, 2);
  if (long === 127) head.writeBigUInt64BE(BigInt(bytes.length), 2);
  if (!isMasked) return Buffer.concat([head, bytes]);
  const mask = randomBytes(4);
  return Buffer.concat([head, mask, bytes.map((byte, index) => byte ^ mask[index % 4])]);
}

export class Wire {
  /** Frames of the server: `{ opcode, payload }`. */
  frames = new Inbox();
  #rest = Buffer.alloc(0);
  #isUpgraded = false;

  constructor(address) {
    this.socket = net.connect({ ...hostAndPort(address), noDelay: true });
    this.closed = new Promise((resolve) => {
      this.socket.on('error', () => {});
      this.socket.on('close', () => {
        this.frames.end('the connection ended');
        resolve();
      });
    });
    this.upgraded = new Promise((resolve, reject) => {
      this.socket.on('data', (bytes) => {
        this.#rest = Buffer.concat([this.#rest, bytes]);
        if (!this.#isUpgraded && !this.#head(resolve, reject)) return;
        this.#parse();
      });
      this.closed.then(() => reject(new Error('the connection ended before the upgrade')));
    });
    this.upgraded.catch(() => {});
  }

  /** Opens, upgrades, and logs `user` in if there is one. */
  static async open(url, user, token = user && tokenFor(user)) {
    const wire = new Wire(new URL(url).host);
    const headers = Object.entries({ host: new URL(url).host, ...HANDSHAKE });
    const lines = headers.map(([name, value]) => `${name}: ${value}\r\n`).join('');
    wire.socket.write(`GET /connection/websocket HTTP/1.1\r\n${lines}\r\n`);
    await within(SOON, 'the upgrade', wire.upgraded);
    if (token) {
      wire.write(frame(JSON.stringify({ id: 1, connect: { token } })));
      assert.ok(JSON.parse(await wire.text()).connect);
    }
    return wire;
  }

  write(bytes) {
    this.socket.write(bytes);
  }

  /** The text of the next frame, which must be one. */
  async text() {
    const { opcode, payload } = await this.frames.next('a text frame');
    assert.equal(opcode, Opcode.text, `a text frame, not ${opcode} ${payload}`);
    return payload.toString('utf8');
  }

  /** Code and reason of the close frame, which must be the next frame but for pings. */
  async closeFrame(milliseconds = SOON) {
    for (;;) {
      const { opcode, payload } = await this.frames.next('a close frame', milliseconds);
      if (opcode === Opcode.text && payload.equals(Buffer.from('{}'))) continue;
      assert.equal(opcode, Opcode.close, `a close frame, not ${opcode} ${payload}`);
      return { code: payload.readUInt16BE(0), reason: payload.subarray(2).toString('utf8') };
    }
  }

  async end(milliseconds = SOON) {
    await within(milliseconds, 'the end of the connection', this.closed);
  }

  close() {
    this.socket.destroy();
  }

  #head(resolve, reject) {
    const end = this.#rest.indexOf('\r\n\r\n');
    if (end < 0) return false;
    const head = this.#rest.subarray(0, end).toString('latin1');
    this.#rest = this.#rest.subarray(end + 4);
    if (!head.startsWith('HTTP/1.1 101 ')) {
      reject(new Error(head));
      return false;
    }
    this.#isUpgraded = true;
    resolve();
    return true;
  }

  /** Frames of a server are not masked, and ours are never fragmented. */
  #parse() {
    for (;;) {
      if (this.#rest.length < 2) return;
      const short = this.#rest[1] & 0x7f;
      const start = short === 127 ? 10 : short === 126 ? 4 : 2;
      if (this.#rest.length < start) return;
      const length =
        short === 127 ? Number(this.#rest.readBigUInt64BE(2)) : short === 126 ? this.#rest.readUInt16BE(2) : short;
      if (this.#rest.length < start + length) return;
      assert.equal(this.#rest[0] & 0x70, 0, 'no reserved bits');
      assert.equal(this.#rest[1] & 0x80, 0, 'a server does not mask');
      this.frames.push({ opcode: this.#rest[0] & 0x0f, payload: Buffer.from(this.#rest.subarray(start, start + length)) });
      this.#rest = this.#rest.subarray(start + length);
    }
  }
}

/** Bytes by chance, the same for the same seed (xorshift). */
export function noise(seed, length) {
  let state = seed * 2_654_435_761;
  return Buffer.from(
    Array.from({ length }, () => {
      state ^= state << 13;
      state ^= state >>> 17;
      state ^= state << 5;
      return state & 0xff;
    }),
  );
}
