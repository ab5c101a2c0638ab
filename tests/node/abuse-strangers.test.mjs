// Those who come in and never say who they are, thousands of them, at every listener: whoever is in does not notice, and
// whoever wants to come in can.

import assert from 'node:assert/strict';
import dgram from 'node:dgram';
import net from 'node:net';
import { after, before, test } from 'node:test';

import { ADDRESSES, MIB, abuse, crowd, dismiss, logins, percentile } from './lib/abuse.mjs';
import { SECRET } from './lib/cluster.mjs';
import { Fleet } from './lib/fleet.mjs';
import { HANDSHAKE } from './lib/http.mjs';
import { Stranger } from './lib/quic.mjs';
import { noise } from './lib/raw.mjs';
import { Terminal, hostAndPort } from './lib/terminal.mjs';
import { tokenFor } from './lib/token.mjs';
import { pause, until, within } from './lib/wait.mjs';

/** What row 26 asks for. */
const HALF_OPEN = 10_000;

/** In ms. The row says a second; the rest is for a machine that is busy. */
const LOGIN_P99_MAX = 3000;
const HALF_OPEN_GROWTH_MAX = 200 * MIB;

/** Logins that are timed while strangers are there. */
const LOGINS = 100;

/** How long things are thrown at listeners. */
const THROWN = 4000;

/** More than there are places. */
const SILENT = 1500;

let fleet;
let edge;
before(async () => {
  fleet = await Fleet.create({ edges: 3 });
  await fleet.start();
  [edge] = fleet.edges;
});
after(() => fleet?.end());

const head = (lines) => `GET /connection/websocket HTTP/1.1\r\n${lines.map((line) => `${line}\r\n`).join('')}`;
const upgrade = () => `${head(['host: 127.0.0.1', ...Object.entries(HANDSHAKE).map((pair) => pair.join(': '))])}\r\n`;
const host = () => new URL(edge.http).host;
const ended = async (door) => (await edge.metrics()).value('edge_newcomers_ended_total', { door });

/** Does something while a crowd is there. */
async function amid(address, count, greet, act) {
  const sockets = await crowd(address, count, greet);
  try {
    await act();
  } finally {
    dismiss(sockets);
  }
}

/** The p99 of logins while a crowd is there. */
async function timely(context) {
  const times = await logins(edge, LOGINS);
  const p99 = percentile(times, 0.99);
  context.diagnostic(`logins: p50 ${Math.round(percentile(times, 0.5))} ms, p99 ${Math.round(p99)} ms`);
  assert.ok(p99 <= LOGIN_P99_MAX, `p99 of logins: ${p99} ms`);
}

test('ten thousand requests that never end do not keep anybody out', { timeout: 90_000 }, async (context) => {
  const before = await ended('http');
  await abuse(context, fleet, { target: edge, growthMax: HALF_OPEN_GROWTH_MAX }, async () => {
    await amid(host(), HALF_OPEN, head(['host: 127.0.0.1', 'x: y']), () => timely(context));
  });
  const those = (await ended('http')) - before;
  assert.ok(those > HALF_OPEN / 2, `${those} had to make room`);
});

test('clients that connect and never log in do not keep anybody out', { timeout: 90_000 }, async (context) => {
  const before = await ended('websocket');
  await abuse(context, fleet, { target: edge }, async () => {
    await amid(host(), SILENT, upgrade(), async () => {
      await timely(context);
      // Whoever logs in is let in, so that there is no reason to send him elsewhere.
      assert.ok(await edge.isReady(), 'a crowd of strangers fills no edge');
    });
  });
  assert.ok((await ended('websocket')) - before >= SILENT - 500, 'those who had to make room are counted');
});

test('terminals at which nobody types do not keep anybody out', { timeout: 90_000 }, async (context) => {
  const before = await ended('line');
  await abuse(context, fleet, { target: edge }, async () => {
    await amid(edge.line, SILENT, 'who is there\n', async () => {
      await timely(context);
      const terminal = new Terminal(edge.line);
      terminal.type(`login ${tokenFor('typist', {}, { secret: SECRET })}`);
      await terminal.expect('ok logged in as typist');
      terminal.close();
    });
  });
  assert.ok((await ended('line')) - before >= SILENT - 500, 'those who had to make room are counted');
});

test('random bytes and endless headers at every listener hurt nobody', { timeout: 60_000 }, async (context) => {
  const listeners = [host(), edge.line, new URL(edge.admin).host, new URL(fleet.relay.admin).host];
  await abuse(context, fleet, { target: edge }, async () => {
    const until = performance.now() + THROWN;
    const thrown = listeners.map(async (address) => {
      for (let round = 1; performance.now() < until; round += 1) await thrownAt(address, noise(round, 4000));
    });
    const headers = [
      head(Array.from({ length: 5000 }, (_, at) => `x-${at}: 1`)),
      head([`x: ${'x'.repeat(1 << 20)}`]),
      `GET /${'x'.repeat(1 << 20)} HTTP/1.1\r\n`,
      '\r\n'.repeat(100_000),
    ];
    const flooded = headers.map(async (bytes) => {
      while (performance.now() < until) await thrownAt(host(), bytes);
    });
    await Promise.all([...thrown, ...flooded, noiseAtLinks()]);
  });
});

test('a flood of QUIC handshakes keeps no edge from linking, and costs the relay little', { timeout: 90_000 }, async (context) => {
  const [, , third] = fleet.edges;
  const { relay } = fleet;
  const links = `127.0.0.1:${hostAndPort(relay.settings.listen).port}`;
  const before = await relay.metrics();
  await abuse(context, fleet, { target: relay }, async () => {
    const strangers = ADDRESSES.map((address, at) => new Stranger(address, links, { obeys: at % 2 === 0 }));
    await Promise.all(strangers.map(({ bound }) => bound));
    const signal = { isOver: false };
    const flood = (async () => {
      while (!signal.isOver) {
        for (const stranger of strangers) stranger.begin(4);
        await pause(10);
      }
    })();
    const counted = async (name) => (await relay.metrics()).value(name) - before.value(name);
    await until('strangers that make room for each other', async () => (await counted('relay_newcomers_ended_total')) > 500, 30_000);
    const begun = performance.now();
    await third.restart();
    await third.metric('edge_link_up', 1);
    context.diagnostic(`linked after ${Math.round(performance.now() - begun)} ms`);
    await third.metric('edge_leased', 1);
    signal.isOver = true;
    await flood;
    const sum = (name) => strangers.reduce((all, stranger) => all + stranger[name], 0);
    context.diagnostic(`${sum('begun')} handshakes begun, ${sum('retries')} told to try again`);
    assert.ok((await counted('relay_retries_total')) > 500);
    for (const stranger of strangers) stranger.close();
  });
  const [here, there] = fleet.edges;
  for (const { name, metrics } of [here, there].map((one) => ({ name: one.name, metrics: one.metrics() }))) {
    assert.equal((await metrics).value('edge_links_total'), 1, `${name} kept its link`);
  }
});

/** Writes bytes and waits until the listener hangs up; it may do so before it has read all of them. */
async function thrownAt(address, bytes) {
  const socket = net.connect(hostAndPort(address));
  const closed = new Promise((resolve) => socket.on('error', () => {}).on('close', resolve).resume());
  socket.end(bytes);
  await within(20_000, `${address} to hang up`, closed);
}

/** Datagrams of every size, half of which look like QUIC's first ones. */
async function noiseAtLinks() {
  const { host, port } = hostAndPort(fleet.relay.settings.listen);
  const socket = dgram.createSocket('udp4');
  for (let round = 1; round <= 2000; round += 1) {
    const bytes = noise(round, 1 + ((round * 37) % 1400));
    if (round % 2) bytes.set([0xc3, 0, 0, 0, 1].slice(0, bytes.length));
    await new Promise((resolve) => socket.send(bytes, port, host, resolve));
  }
  socket.close();
}
