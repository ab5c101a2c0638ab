// How a running edge or relay takes abuse: what bystanders notice of it, and what it costs in memory, as the kernel counts.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import net from 'node:net';
import { Worker } from 'node:worker_threads';

import { SECRET } from './cluster.mjs';
import { request } from './http.mjs';
import { Raw } from './raw.mjs';
import { hostAndPort } from './terminal.mjs';
import { tokenFor } from './token.mjs';
import { pause, until, within } from './wait.mjs';

export const MIB = 1 << 20;

/** Growth where nothing else is said, and how near to where it was memory has to come back. */
const GROWTH_MAX = 32 * MIB;
const LEFT_MAX = 4 * MIB;

/** How long memory may take to come back: the allocator keeps it for a second, closing connections for five. */
const BACK_WITHIN = 30_000;

/** No bystander waits longer than this for the next message; usual is a little more than EVERY. */
const GAP_MAX = 1000;
const EVERY = 20;

/** Addresses of this machine from which strangers come; everybody else is 127.0.0.1. */
export const ADDRESSES = Array.from({ length: 8 }, (_, at) => `127.0.0.${at + 2}`);

/** Logs in with a token that a fleet's edges know. */
export const login = (edge, user, options) => Raw.login(edge.url, user, { token: tokenFor(user, {}, { secret: SECRET }), ...options });

/** Clients in a thread of their own, who write `bytes` again and again: how often, and how many of them were let go. */
export async function flood(edge, { clients, first, bytes, milliseconds }) {
  const worker = new Worker(new URL('./flooder.mjs', import.meta.url), { workerData: { url: edge.url, clients, first, bytes, milliseconds } });
  const failed = new Promise((_, reject) => worker.on('error', reject));
  const done = new Promise((resolve) => worker.on('message', (told) => told.isReady || resolve(told)));
  try {
    return await within(milliseconds + 20_000, 'the end of the flood', Promise.race([done, failed]));
  } finally {
    await worker.terminate();
  }
}

/** Bytes that belong to a server's process alone: its heap and its stacks. Code that was read from a file does not count. */
export function memory(server) {
  const [, kilobytes] = readFileSync(`/proc/${server.child.process.pid}/status`, 'utf8').match(/^RssAnon:\s+(\d+) kB$/m);
  return Number(kilobytes) * 1024;
}

/** Looks at the memory of `server` until it is told to stop. */
class Scale {
  constructor(server) {
    this.server = server;
    this.before = memory(server);
    this.peak = this.before;
    this.timer = setInterval(() => this.look(), 20);
  }

  look() {
    this.peak = Math.max(this.peak, memory(this.server));
  }

  end() {
    clearInterval(this.timer);
    this.look();
  }

  get growth() {
    return this.peak - this.before;
  }

  /** Waits until all but LEFT_MAX has come back; what has not. */
  async settle() {
    await until(
      `the memory of ${this.server.name} to come back to ${shown(this.before)} from ${shown(this.peak)}`,
      () => memory(this.server) <= this.before + LEFT_MAX,
      BACK_WITHIN,
    );
    return memory(this.server) - this.before;
  }
}

const shown = (bytes) => `${(bytes / MIB).toFixed(1)} MiB`;

/** How late this process itself comes to do anything: on a machine that is busy with others, servers are as late. */
class Lateness {
  longest = 0;
  #last = performance.now();

  constructor() {
    this.timer = setInterval(() => {
      const now = performance.now();
      this.longest = Math.max(this.longest, now - this.#last - EVERY);
      this.#last = now;
    }, EVERY);
  }

  end() {
    clearInterval(this.timer);
    return this.longest;
  }
}

/** Two clients, of which the first writes to the second all the time. */
class Pair {
  sent = 0;
  received = [];
  longestGap = 0;

  static async open(name, from, to) {
    const pair = new Pair();
    pair.name = name;
    [pair.writer, pair.reader] = await Promise.all([login(from, `writer-${name}`), login(to, `reader-${name}`)]);
    return pair;
  }

  async run(signal) {
    const reading = this.#read();
    // It is awaited below; until then a failure must not count as nobody's.
    reading.catch(() => {});
    for (; !signal.isOver; this.sent += 1) {
      assert.equal(await this.writer.tell(`reader-${this.name}`, this.sent), 1, `${this.name}: receipt ${this.sent}`);
      await pause(EVERY);
    }
    await this.writer.tell(`reader-${this.name}`, 'end');
    await within(10_000, `the last message of ${this.name}`, reading);
  }

  async #read() {
    let last = performance.now();
    for (;;) {
      const { data } = await this.reader.publication();
      const now = performance.now();
      this.longestGap = Math.max(this.longestGap, now - last);
      last = now;
      if (data === 'end') return;
      this.received.push(data);
    }
  }

  close() {
    this.writer.close();
    this.reader.close();
  }
}

/**
 * Does `attack` on `target` while bystanders write to each other, on it and over it; then looks at what they got, at the
 * memory, and at everybody's health. `attack` leaves nothing open.
 */
export async function abuse(context, fleet, { target, growthMax = GROWTH_MAX }, attack) {
  const [here, there] = fleet.edges;
  const pairs = await Promise.all([Pair.open('here', here, here), Pair.open('out', here, there), Pair.open('in', there, here)]);
  const signal = { isOver: false };
  const scale = new Scale(target);
  const lateness = new Lateness();
  const running = Promise.all(pairs.map((pair) => pair.run(signal)));
  let late;
  try {
    // A failure of either ends both at once.
    await Promise.race([attack(), running]);
    signal.isOver = true;
    await running;
  } finally {
    signal.isOver = true;
    late = lateness.end();
    scale.end();
    for (const pair of pairs) pair.close();
  }
  const { growth } = scale;
  for (const pair of pairs) {
    assert.deepEqual(pair.received, Array.from({ length: pair.sent }, (_, number) => number), `${pair.name}: all, in order`);
    assert.ok(pair.longestGap < GAP_MAX + late, `${pair.name}: ${pair.longestGap} ms without a message, and ${late} ms by this machine`);
  }
  assert.ok(growth <= growthMax, `${target.name} grew by ${shown(growth)}, and may by ${shown(growthMax)}`);
  const left = await scale.settle();
  for (const server of fleet.servers) {
    assert.equal((await request(`${server.admin}/health`)).status, 200, server.name);
    assert.doesNotMatch(server.child.stderr, /panic/);
  }
  const gaps = pairs.map(({ name, longestGap }) => `${name} ${Math.round(longestGap)} ms`).join(', ');
  context.diagnostic(`gaps: ${gaps} (this machine ${Math.round(late)} ms); memory: up by ${shown(growth)}, left ${shown(left)}`);
}

/** `count` connections to `address` from everywhere, some at a time; on each `greet` is written at once. */
export async function crowd(address, count, greet) {
  const sockets = [];
  while (sockets.length < count) {
    const some = Array.from({ length: Math.min(100, count - sockets.length) }, (_, at) => {
      const localAddress = ADDRESSES[(sockets.length + at) % ADDRESSES.length];
      const socket = net.connect({ ...hostAndPort(address), localAddress, noDelay: true });
      socket.on('error', () => {}).resume();
      const connected = new Promise((resolve) => socket.on('connect', resolve).on('close', resolve));
      socket.write(greet);
      return { socket, connected };
    });
    sockets.push(...some.map(({ socket }) => socket));
    await within(10_000, `connections to ${address}`, Promise.all(some.map(({ connected }) => connected)));
  }
  return sockets;
}

/** Lets go of a crowd. */
export function dismiss(sockets) {
  for (const socket of sockets) socket.destroy();
}

/** The time that so many logins take, one after the other, in milliseconds, shortest first. */
export async function logins(edge, count) {
  const times = [];
  for (let at = 0; at < count; at += 1) {
    const begun = performance.now();
    const client = await login(edge, `good-${at}`);
    times.push(performance.now() - begun);
    client.close();
  }
  return times.sort((a, b) => a - b);
}

export const percentile = (sorted, part) => sorted[Math.min(sorted.length - 1, Math.ceil(sorted.length * part) - 1)];
