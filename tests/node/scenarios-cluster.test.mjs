// A cluster that comes up in every order, and people who never stay: what needs no fault to go wrong, and then faults too.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { withFleet } from './lib/fleet.mjs';
import { play } from './lib/scenario.mjs';
import { Traffic } from './lib/traffic.mjs';
import { pause, until } from './lib/wait.mjs';

/** Between the starts of two processes. Whoever is first has waited for the last longer than one try to link takes. */
const APART = 1200;

/** What each order starts, by its name. */
const PARTS = {
  redis: (fleet) => fleet.redis.start(),
  relay: (fleet) => fleet.relay.start(),
  'edge-1': (fleet) => fleet.edges[0].start(),
  'edge-2': (fleet) => fleet.edges[1].start(),
};

function* permutations(list) {
  if (list.length === 0) yield [];
  for (const [at, first] of list.entries()) {
    for (const rest of permutations(list.toSpliced(at, 1))) yield [first, ...rest];
  }
}

describe('started in the order', { concurrency: 12 }, () => {
  for (const order of permutations(Object.keys(PARTS))) {
    test(order.join(', '), { timeout: 90_000 }, (t) =>
      withFleet({}, async (fleet) => {
        for (const part of order) {
          await PARTS[part](fleet);
          await pause(APART);
        }
        const begun = performance.now();
        await fleet.settled();
        t.diagnostic(`one cluster ${Math.round(performance.now() - begun)} ms after the last (at most 6000 ms)`);
        const traffic = new Traffic(fleet);
        try {
          for (const [at, edge] of fleet.edges.entries()) await traffic.open(`user-${at}`, edge);
          await until('everybody to reach everybody', async () => (await traffic.rollCall()).length === 0);
        } finally {
          await traffic.end();
        }
        for (const server of fleet.servers) {
          const said = server.complaints(0).map(({ message }) => message);
          const { redis, relay } = waits(server, order);
          assert.equal(said.filter((line) => line === 'redis is away').length, redis > 0 ? 1 : 0, `${server.name}: ${said}`);
          const links = said.filter((line) => line.startsWith('no link to the relay')).length;
          assert.ok(links <= (relay > 0 ? 1 : 0) && links >= (relay === 3 ? 1 : 0), `${server.name}: ${said}`);
          // An edge that was there first may have given up a try of which the relay has just heard.
          const refused = said.filter((line) => line.startsWith('refused a link')).length;
          assert.ok(refused <= (server.kind === 'relay' ? fleet.edges.length : 0), `${server.name}: ${said}`);
          assert.equal(said.length, links + refused + (redis > 0 ? 1 : 0), `${server.name} says nothing else: ${said}`);
        }
      }),
    );
  }
});

/** How many parts later Redis is started, and the relay, where the server needs them. */
function waits(server, order) {
  const own = order.indexOf(server.kind === 'relay' ? 'relay' : server.name);
  const later = (part) => order.indexOf(part) - own;
  return { redis: later('redis'), relay: server.kind === 'edge' ? later('relay') : 0 };
}

/** Those who send, and do not move of themselves. */
const SENDERS = Array.from({ length: 10 }, (_, at) => [`sender-${at}`, at % 2]);

/** Those who move; the first of them have a second connection that stays. */
const HOPPERS = Array.from({ length: 24 }, (_, at) => `hopper-${at}`);
const KEEPERS = HOPPERS.slice(0, 6).map((user, at) => [user, at % 2]);

/** How long they stay on an edge, on average. */
const STAY = 120;

const HOPS = [
  {
    name: 'people who change edges thousands of times are told no lie, and leave nothing behind',
    people: [...SENDERS, ...KEEPERS],
    async plays({ t, traffic, history }) {
      for (const user of HOPPERS) traffic.hop(user, STAY);
      await pause(28_000);
      t.diagnostic(`${history.connections.length} connections`);
      assert.ok(history.connections.length > 1000, 'thousands, on a machine that has the time');
    },
  },
  {
    name: 'people who change edges while the relay dies, Redis forgets and an edge freezes are told no lie',
    people: [...SENDERS, ...KEEPERS],
    async plays({ t, fleet, traffic, history, redis, relay }) {
      for (const user of HOPPERS) traffic.hop(user, STAY);
      const [, frozen] = fleet.edges;
      await pause(2000);
      await history.during(async () => {
        await relay.kill();
        await pause(1500);
        await relay.start();
        await fleet.settled();
        await pause(2000);
        await redis.restart();
        await pause(2000);
        const freeze = { edge: frozen.label, from: performance.now(), to: Infinity };
        history.freezes.push(freeze);
        frozen.freeze();
        await pause(5000);
        frozen.thaw();
        await fleet.settled();
        freeze.to = performance.now();
        await redis.cli('FLUSHALL');
        await pause(2000);
        await fleet.settled();
      });
      t.diagnostic(`${history.connections.length} connections`);
    },
  },
];

describe('everybody moves', { concurrency: 2 }, () => {
  play(HOPS);
});
