// Those who are let in and then behave badly: who do not read, and who send what costs more to read than to write. Whoever
// shares an edge with them gets everything, in order and soon.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import { MIB, abuse, flood, login } from './lib/abuse.mjs';
import { Fleet } from './lib/fleet.mjs';
import { Opcode, frame } from './lib/raw.mjs';
import { pause, until, within } from './lib/wait.mjs';

/** What row 22 asks for. */
const STALLED = 500;
const STALLED_GROWTH_MAX = 150 * MIB;

/** Clients that flood, and for how long. */
const FLOODING = 8;
const FLOOD = 3000;

let fleet;
let edge;
before(async () => {
  fleet = await Fleet.create({ edges: 2, settings: { 'max-clients': 600 } });
  await fleet.start();
  [edge] = fleet.edges;
});
after(() => fleet?.end());

const disconnects = async (code) => (await edge.metrics()).value('edge_disconnects_total', { code });

test('five hundred clients that do not read are let go, and cost no more than they may', { timeout: 90_000 }, async (context) => {
  const before = await disconnects('3008');
  await abuse(context, fleet, { target: edge, growthMax: STALLED_GROWTH_MAX }, async () => {
    const stalled = [];
    while (stalled.length < STALLED) {
      const some = Array.from({ length: 50 }, (_, at) => login(edge, `stalled-${stalled.length + at}`));
      stalled.push(...(await Promise.all(some)));
    }
    await Promise.all(stalled.map((client) => client.ask({ subscribe: { channel: 'news' } })));
    for (const { socket } of stalled) socket.pause();
    const publisher = await login(edge, 'publisher');
    const data = 'x'.repeat(60_000);
    await until('all of them to be let go', async () => {
      for (let at = 0; at < 8; at += 1) assert.ok((await publisher.ask({ publish: { channel: 'news', data } })).publish);
      await pause(100);
      return (await disconnects('3008')) - before === STALLED;
    }, 30_000);
    publisher.close();
    for (const client of stalled) client.close();
  });
});

/** What row 28 allows: a mebibyte for each client. */
const EACH_A_MEBIBYTE = FLOODING * MIB;

/** What one client does again and again. What it sends as a client may is bounded for all of them together. */
const FLOODS = {
  'tiny fragments of a message that never ends': () => {
    const tiny = frame('x', { opcode: Opcode.continuation, isFinal: false });
    return { first: frame('x', { isFinal: false }), bytes: Buffer.concat(Array(4000).fill(tiny)), growthMax: EACH_A_MEBIBYTE };
  },
  'empty fragments of a message that never ends': () => {
    const empty = frame('', { opcode: Opcode.continuation, isFinal: false });
    return { first: frame('x', { isFinal: false }), bytes: Buffer.concat(Array(4000).fill(empty)), growthMax: EACH_A_MEBIBYTE };
  },
  pings: () => {
    const ping = frame('x'.repeat(125), { opcode: Opcode.ping });
    return { bytes: Buffer.concat(Array(2000).fill(ping)), growthMax: EACH_A_MEBIBYTE };
  },
  'pongs that nobody asked for': () => {
    const pong = frame('', { opcode: Opcode.pong });
    return { bytes: Buffer.concat(Array(4000).fill(pong)), growthMax: EACH_A_MEBIBYTE };
  },
  'thousands of commands in one frame': () => {
    const command = (at) => `{"id":${at + 2},"ping":{}}`;
    return { bytes: frame(Array.from({ length: 2700 }, (_, at) => command(at)).join('\n')) };
  },
  'thousands of messages to nobody in one frame': () => {
    const command = (at) => `{"id":${at + 2},"rpc":{"method":"send","data":{"to":"no","data":1}}}`;
    return { bytes: frame(Array.from({ length: 1000 }, (_, at) => command(at)).join('\n')) };
  },
  'frames of the largest size': () => {
    const text = JSON.stringify({ id: 2, publish: { channel: 'nobody', data: 'x'.repeat(65_400) } });
    return { bytes: Buffer.concat(Array(4).fill(frame(text))) };
  },
};

for (const [what, make] of Object.entries(FLOODS)) {
  test(`a flood of ${what} is felt by nobody else`, { timeout: 60_000 }, async (context) => {
    const { first, bytes, growthMax } = make();
    await abuse(context, fleet, { target: edge, growthMax }, async () => {
      const { count, ended } = await flood(edge, { clients: FLOODING, first, bytes, milliseconds: FLOOD });
      context.diagnostic(`${count} times, ${ended} of ${FLOODING} were let go`);
    });
  });
}

test('what is too large, empty, or has control characters in its names gets no further', { timeout: 60_000 }, async (context) => {
  await abuse(context, fleet, { target: edge }, async () => {
    const before = fleet.edges.map((server) => server.log().length);
    const [sender, reader] = await Promise.all([login(edge, 'poisoner'), login(fleet.edges[1], 'poisoned')]);
    const largest = 'x'.repeat(65_536 - Buffer.byteLength(sender.command({ rpc: { method: 'send', data: { to: 'poisoned', data: '' } } })) - 8);
    for (const data of ['', '\u0000\u001b[31m\r\n', largest]) {
      assert.equal(await sender.tell('poisoned', data), 1);
      assert.deepEqual((await reader.publication()).data, data);
    }
    for (const name of ['a\nb', 'a\u0000', '\u001b[31m', 'a\r\n{}']) {
      assert.ok((await sender.ask({ subscribe: { channel: name } })).error, JSON.stringify(name));
      assert.ok((await sender.ask({ publish: { channel: name, data: 1 } })).error, JSON.stringify(name));
      assert.ok((await sender.tell(name, 1)).error, JSON.stringify(name));
    }
    sender.send('x'.repeat(65_537));
    assert.equal((await within(10_000, 'the end', sender.closed)).code, 1009);
    assert.ok(reader.lines.isEmpty, 'nothing else came');
    reader.close();
    for (const [at, server] of fleet.edges.entries()) assert.deepEqual(server.complaints(before[at]), []);
  });
});
