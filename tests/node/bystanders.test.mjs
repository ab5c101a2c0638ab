// Bad input is the business of whoever sends it: everybody else on that edge notices nothing.

import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import net from 'node:net';
import { after, before, test } from 'node:test';

import { startDev } from './lib/cluster.mjs';
import { HANDSHAKE, metrics, request } from './lib/http.mjs';
import { Opcode, Raw, Wire, frame, noise } from './lib/raw.mjs';
import { Terminal, hostAndPort } from './lib/terminal.mjs';
import { signed, tokenFor, unix } from './lib/token.mjs';
import { pause, within } from './lib/wait.mjs';

/** How long the attack goes on, and how often a bystander writes meanwhile: 50 messages a second. */
const ATTACK = 10_000;
const EVERY = 20;

/** No bystander waits longer than this for the next message. Usual is a millisecond more than EVERY. */
const GAP_MAX = 1000;

/** Rounds of one kind of bad input, and the pause between two: together about 200 connections a second. */
const ROUNDS_MAX = 200;
const BETWEEN = 50;

let dev;
before(async () => (dev = await startDev()));
after(() => dev?.stop());

test('while one edge is fed all kinds of bad input, bystanders get every message in order and without a gap', { timeout: 60_000 }, async (context) => {
  const [target, other] = dev.edges;
  const signal = { isOver: false };
  const pairs = await Promise.all([
    bystanders('here', target, target),
    bystanders('out', target, other),
    bystanders('in', other, target),
  ]);
  const kinds = Object.entries(badInputs(target, dev.relay));
  const everything = Promise.all([
    Promise.all(pairs.map((pair) => pair.write(signal))),
    Promise.all(kinds.map(([what, attack]) => insist(signal, what, attack))),
    watchHealth(signal, [target, other, dev.relay]),
  ]);
  // A failure ends it at once.
  await Promise.race([pause(ATTACK), everything]);
  signal.isOver = true;
  const [sent, rounds] = await everything;
  for (const [at, pair] of pairs.entries()) {
    const { received, longestGap } = await pair.read();
    assert.deepEqual(received, Array.from({ length: sent[at] }, (_, number) => number), `${pair.name}: all, in order`);
    assert.ok(longestGap < GAP_MAX, `${pair.name}: ${longestGap} ms without a message`);
    context.diagnostic(`${pair.name}: ${sent[at]} messages, at most ${Math.round(longestGap)} ms apart`);
  }
  assert.ok(rounds.every((count) => count > 5), `every kind of bad input was tried: ${rounds}`);
  context.diagnostic(`${rounds.reduce((sum, count) => sum + count)} bad inputs of ${kinds.length} kinds`);
  const counted = await metrics(target);
  assert.ok(counted.value('edge_disconnects_total', { code: '3501' }) > 5);
  assert.equal(dev.child.isOver, undefined, 'still running');
  assert.doesNotMatch(dev.child.stderr, /panic/);
});

/** Two clients of which the first writes to the second, `write`, and who looks at what came, `read`. */
async function bystanders(name, from, to) {
  const [writer, reader] = await Promise.all([
    Raw.login(from.url, `writer-${name}`),
    Raw.login(to.url, `reader-${name}`),
  ]);
  const received = [];
  let longestGap = 0;
  let last = performance.now();
  const reading = (async () => {
    for (;;) {
      const { data } = await reader.publication();
      const now = performance.now();
      longestGap = Math.max(longestGap, now - last);
      last = now;
      if (data === 'end') return;
      received.push(data);
    }
  })();
  // It is awaited in `read`; until then a failure must not count as nobody's.
  reading.catch(() => {});
  return {
    name,
    async write(signal) {
      last = performance.now();
      let sent = 0;
      for (; !signal.isOver; sent += 1) {
        assert.equal(await writer.tell(`reader-${name}`, sent), 1, `${name}: receipt ${sent}`);
        await pause(EVERY);
      }
      await writer.tell(`reader-${name}`, 'end');
      return sent;
    },
    async read() {
      await within(10_000, `the last message of ${name}`, reading);
      writer.close();
      reader.close();
      return { received, longestGap };
    },
  };
}

/** Does `attack` again and again; how often it did. */
async function insist(signal, what, attack) {
  let round = 0;
  for (; !signal.isOver && round < ROUNDS_MAX; round += 1) {
    try {
      await attack(round);
    } catch (error) {
      throw new Error(`${what}, round ${round}`, { cause: error });
    }
    await pause(BETWEEN);
  }
  return round;
}

async function watchHealth(signal, nodes) {
  while (!signal.isOver) {
    for (const node of nodes) {
      assert.equal((await request(`${node.admin}/health`)).status, 200, node.name);
    }
    await pause(200);
  }
}

/** Everything that is thrown: each kind opens one connection, throws, and waits until it is over. */
function badInputs(edge, relay) {
  const rejected = async (text, user) => {
    const raw = user ? await Raw.login(edge.url, user) : await Raw.open(edge.url);
    raw.send(text);
    await raw.end();
  };
  const broken = async (bytes) => {
    const wire = await Wire.open(edge.url, 'breaker');
    wire.write(bytes);
    await wire.closeFrame();
    wire.close();
  };
  const thrown = async (address, bytes) => {
    const socket = net.connect(hostAndPort(address));
    const closed = new Promise((resolve) => socket.on('error', () => {}).on('close', resolve).resume());
    socket.end(bytes);
    await within(10_000, `${address} to hang up`, closed);
  };
  const connect = (token) => JSON.stringify({ id: 1, connect: { token } });
  const host = new URL(edge.http).host;
  const heads = (lines) => `GET /connection/websocket HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`;
  const held = [];
  return {
    'no JSON': () => rejected('nonsense'),
    'no JSON, later on': () => rejected('{"id":', 'nonsense'),
    'an empty frame': () => rejected(''),
    'an unknown command': () => rejected('{"id":1,"fly":{}}'),
    'deep nesting': () => rejected(`{"id":2,"publish":{"channel":"x","data":${'['.repeat(60_000)}`, 'digger'),
    'a frame of unsolicited pongs': () => rejected('{}\n'.repeat(20_000), 'ponger'),
    'a second connect': () => rejected(connect(tokenFor('twice')), 'twice'),
    'forged tokens': () => rejected(connect(signed({ sub: 'boss' }, { secret: 'guessed' }))),
    'a huge token': () => rejected(connect(signed({ sub: 'x'.repeat(40_000) }, { secret: 'guessed' }))),
    'an expired token, then commands': async () => {
      const raw = await Raw.open(edge.url);
      raw.send(connect(tokenFor('late', { exp: unix() - 120 })));
      await raw.line();
      raw.send('{"id":2,"subscribe":{"channel":"x"}}');
      await raw.end();
    },
    'a frame that is too large': () => rejected('x'.repeat(65_537)),
    'a frame that promises exabytes': () => broken(Buffer.from([0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4])),
    'frames without masks': () => broken(frame('{}', { isMasked: false })),
    'reserved bits': () => broken(frame('{}', { reserved: 7 })),
    'no UTF-8': () => broken(frame(Buffer.from([0xff, 0xfe]))),
    'random bytes after the upgrade': async (round) => {
      const wire = await Wire.open(edge.url);
      wire.write(noise(round + 1, 3000));
      wire.socket.end();
      await wire.end();
    },
    'many tiny fragments': async () => {
      const wire = await Wire.open(edge.url, 'fragmenter');
      const tiny = frame('x', { opcode: Opcode.continuation, isFinal: false });
      wire.write(Buffer.concat([frame('x', { isFinal: false }), ...Array(5000).fill(tiny)]));
      await new Promise((resolve) => wire.socket.write(frame('', { opcode: Opcode.ping }), resolve));
      wire.close();
      await wire.end();
    },
    'a flood of pings': async () => {
      const wire = await Wire.open(edge.url, 'pinger');
      wire.write(Buffer.concat(Array(2000).fill(frame('x'.repeat(125), { opcode: Opcode.ping }))));
      await wire.frames.next('a pong');
      wire.close();
      await wire.end();
    },
    'half a frame, then gone': async () => {
      const wire = await Wire.open(edge.url, 'half');
      const bytes = frame(JSON.stringify({ id: 2, rpc: { method: 'send', data: { to: 'reader-here', data: 'half' } } }));
      await new Promise((resolve) => wire.socket.write(bytes.subarray(0, bytes.length - 1), resolve));
      wire.close();
      await wire.end();
    },
    'connections that never connect': async (round) => {
      if (round < 30) held.push(await Wire.open(edge.url));
    },
    'half a request': async (round) => {
      if (round < 30) held.push(net.connect(hostAndPort(host)).on('error', () => {}));
      held.at(-1)?.write?.('GET / HTTP/1.1\r\n');
    },
    'what is not allowed': async () => {
      const raw = await Raw.login(edge.url, 'curious');
      for (const channel of ['$x', '-x', '#reader-here', 'c'.repeat(256)]) {
        assert.ok((await raw.ask({ subscribe: { channel } })).error);
      }
      raw.close();
      await raw.end();
    },
    'no HTTP': (round) => thrown(host, noise(round + 1, 2000)),
    'huge headers': () => thrown(host, heads([`x: ${'x'.repeat(20_000)}`])),
    'many headers': () => thrown(host, heads(Array.from({ length: 500 }, (_, at) => `x-${at}: 1`))),
    'foreign origins': async () => {
      const headers = { ...HANDSHAKE, origin: 'https://evil.example' };
      assert.equal((await request(`${edge.http}/connection/websocket`, { headers })).status, 403);
    },
    'no upgrade': async () => {
      assert.equal((await request(`${edge.http}/connection/websocket`)).status, 426);
    },
    'garbage on the line door': (round) => thrown(edge.line, Buffer.concat([noise(round + 1, 3000), Buffer.from('\nquit\n')])),
    'a line without an end': async () => {
      const terminal = new Terminal(edge.line);
      terminal.write('x'.repeat(100_000));
      await terminal.end();
    },
    'many wrong lines': async () => {
      const terminal = new Terminal(edge.line);
      terminal.type(...Array(1000).fill('nonsense'), 'quit');
      await terminal.end();
    },
    'garbage on the admin listener': (round) => thrown(new URL(edge.admin).host, noise(round + 1, 2000)),
    'garbage on the relay’s admin listener': (round) => thrown(new URL(relay.admin).host, noise(round + 1, 2000)),
    'garbage on the links': async (round) => {
      const socket = dgram.createSocket('udp4');
      const { host, port } = hostAndPort(relay.links);
      for (let size = 1; size < 1400; size += 100) {
        const bytes = noise(round + size, size);
        // Like QUIC's first packets, every other time.
        if (round % 2) bytes.set([0xc3, 0, 0, 0, 1].slice(0, size));
        await new Promise((resolve, reject) => socket.send(bytes, port, host, (error) => (error ? reject(error) : resolve())));
      }
      socket.close();
    },
  };
}
