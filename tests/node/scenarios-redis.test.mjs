// Redis that stops, hangs, forgets, refuses, and has things in it that nobody of ours wrote: whoever is connected notices
// nothing but, at most, that it is not known whether an absent one is offline, and afterwards Redis is right again.

import assert from 'node:assert/strict';
import { rmSync } from 'node:fs';
import { describe } from 'node:test';

import { play } from './lib/scenario.mjs';
import { SOON, pause, until } from './lib/wait.mjs';

/** How long a Redis that refuses does so at least: each of its clients tries again some times. */
const REFUSING = 3000;

/** A Redis that is away for so long is away in everybody's metrics. */
const NOTICED = 2000;

/** Complaints of one process about one fault: that it has begun, perhaps in two words, and what could not be done. */
const COMPLAINTS_MAX = 3;

/** How Redis goes, for how long, in ms, and how it comes back. */
const OUTAGES = [
  ['is stopped, and started again empty after 4 s', (redis) => redis.stop(), 4000, (redis) => redis.start()],
  ['hangs for 5 s', (redis) => redis.hang(), 5000, (redis) => redis.goOn()],
  ['is emptied', (redis) => redis.cli('FLUSHALL'), 0, () => {}],
  ['is killed and at once started again, empty', (redis) => redis.kill(), 0, (redis) => redis.start()],
  ['is killed, and comes back empty after 8 s', (redis) => redis.kill(), 8000, (redis) => redis.start()],
  ['is killed, and comes back after 2 s as it was before', forget, 2000, (redis) => redis.start(), { isOld: true }],
].map(([what, goes, milliseconds, comesBack, { isOld } = {}]) => ({
  name: `a Redis that ${what}: nobody who is connected notices, newcomers are found, and soon it is right again`,
  async plays(scene) {
    const { fleet, traffic, history, redis } = scene;
    const [here, there] = fleet.edges;
    const [asker, leaver] = await Promise.all([traffic.open('asker', here), traffic.open('leaver', there)]);
    await scene.routesAreRight();
    const complaints = scene.complaints();
    const gone = performance.now();
    await goes(redis, fleet);
    await pause(milliseconds / 2);
    if (milliseconds >= NOTICED) await scene.storesAreAway();
    await newcomerIsFound(scene, asker, there);
    await leaver.leave();
    assert.notEqual((await asker.send('leaver')).kind, 'delivered');
    await pause(milliseconds / 2);
    await comesBack(redis);
    const back = performance.now();
    await scene.routesAreRight();
    scene.measured('Redis is right again', performance.now() - back, 10_000);
    // Redis itself went back to an older epoch, and no edge did.
    if (isOld) history.leases.length = 0;
    await scene.storesAreThere();
    await fleet.settled();
    assert.deepEqual(scene.unreached(gone, performance.now()), []);
    assert.equal(traffic.dropped, 0);
    complaints.areFew(COMPLAINTS_MAX);
  },
}));

/**
 * What a failover to a replica that was far behind does: leases of lives that are over, routes of people who have gone,
 * and nothing of those who came.
 */
async function forget(redis, fleet) {
  const [, edge] = fleet.edges;
  const id = await fleet.idOf(edge);
  await redis.cli('SAVE');
  // Its epoch is lost, and the routes of all who are there with it: what was saved is of nobody now.
  await redis.cli('DEL', `cw:edge:{${id}}`);
  await redis.cli('ZREM', 'cw:{edges}', id);
  await until('a new epoch', async () => [...(await redis.leases()).keys()].some((other) => other !== id && other.startsWith(`${edge.name}.`)));
  await redis.kill();
}

/** Whoever logs in now can be reached as soon as he is told so. */
async function newcomerIsFound(scene, asker, edge) {
  let newcomer;
  const took = await scene.timed(async () => (newcomer = await scene.traffic.open('newcomer', edge)));
  scene.measured('a newcomer is logged in', took, 250);
  assert.deepEqual(await asker.send('newcomer'), { kind: 'delivered', n: 1 });
  return newcomer;
}

/** An edge may link so much later than another, and has not stood still by its own rule. */
const LATE = 1200;

/**
 * Who has forgotten everything is no witness, and here both have who must agree before anybody is called offline; and
 * one edge comes later than the other. After how many ms the relay comes back, and Redis.
 */
const BOTH = [
  [0, 0],
  [0, 7000],
  [4000, 0],
].map(([relayAfter, redisAfter]) => ({
  name: `relay and Redis are killed together, and come back after ${relayAfter / 1000} s and ${redisAfter / 1000} s: nobody who is there is called offline`,
  async plays(scene) {
    const { fleet, traffic, history, redis, relay } = scene;
    const [, late] = fleet.edges;
    const relayComesBack = async () => {
      await pause(relayAfter);
      late.freeze();
      await relay.start();
      await pause(LATE);
      late.thaw();
      return performance.now();
    };
    const redisComesBack = async () => {
      await pause(redisAfter);
      await redis.start();
      return performance.now();
    };
    await history.during(async () => {
      await Promise.all([relay.kill(), redis.kill()]);
      const [linked, remembered] = await Promise.all([relayComesBack(), redisComesBack()]);
      const reached = await Promise.all(fleet.edges.map((edge) => scene.reachedAgain(edge, linked)));
      scene.measured('traffic both ways again', Math.max(...reached) - linked, 1000);
      await scene.routesAreRight();
      scene.measured('Redis is right again', performance.now() - Math.max(linked, remembered), 10_000);
      await scene.storesAreThere();
      await fleet.settled();
    });
    assert.equal(traffic.dropped, 0);
  },
}));

/** How relay and edges log in where Redis asks who they are: the rights that README.md names, and no more. */
const LOGIN = 'causeway:a-password@';
const RIGHTS = '~cw:* +@read +@write +@transaction +@scripting +client|info +client|kill +client|setname +select';
const acl = (redis, ...rules) => redis.cli('ACL', 'SETUSER', 'causeway', ...rules);
const isAdmitted = (fleet) => acl(fleet.redis, 'on', '>a-password', ...RIGHTS.split(' '));

/**
 * What Redis answers, in which metric that shows, in whose, how it comes to that, and how it is mended. Where the edges
 * have nothing to ask, it is the newcomer that makes them.
 */
const REFUSALS = [
  {
    what: 'says WRONGTYPE where the leases are',
    kind: 'wrong_type',
    told: ['relay-1'],
    breaks: ({ redis }) => redis.cli('SET', 'cw:{edges}', 'x'),
    mends: ({ redis }) => redis.cli('DEL', 'cw:{edges}'),
  },
  {
    what: 'says WRONGTYPE where the ended are',
    kind: 'wrong_type',
    told: ['relay-1'],
    breaks: ({ redis }) => redis.cli('SET', 'cw:{edges}:ended', 'x'),
    mends: ({ redis }) => redis.cli('DEL', 'cw:{edges}:ended'),
  },
  {
    what: 'says WRONGTYPE at a route',
    kind: 'wrong_type',
    told: ['edge-2'],
    breaks: ({ redis }) => redis.cli('SET', 'cw:route:{#newcomer}', 'x'),
    mends: ({ redis }) => redis.cli('DEL', 'cw:route:{#newcomer}'),
  },
  {
    what: 'says WRONGTYPE at an index',
    kind: 'wrong_type',
    told: ['edge-2'],
    breaks: async ({ redis, fleet }) => redis.cli('SET', `cw:edge:{${await fleet.idOf(fleet.edges[1])}}:routes`, 'x'),
    mends: async ({ redis, fleet }) => redis.cli('DEL', `cw:edge:{${await fleet.idOf(fleet.edges[1])}}:routes`),
  },
  {
    what: 'says WRONGTYPE at the hash of an edge',
    kind: 'wrong_type',
    told: ['edge-2'],
    breaks: async ({ redis, fleet }) => redis.cli('SET', `cw:edge:{${await fleet.idOf(fleet.edges[1])}}`, 'x'),
    mends: async ({ redis, fleet }) => redis.cli('DEL', `cw:edge:{${await fleet.idOf(fleet.edges[1])}}`),
  },
  {
    what: 'says READONLY',
    kind: 'read_only',
    told: ['relay-1', 'edge-2'],
    breaks: ({ redis }) => redis.cli('REPLICAOF', '127.0.0.1', 1),
    mends: ({ redis }) => redis.cli('REPLICAOF', 'NO', 'ONE'),
  },
  {
    what: 'says OOM',
    kind: 'out_of_memory',
    told: ['relay-1', 'edge-2'],
    breaks: ({ redis }) => redis.cli('CONFIG', 'SET', 'maxmemory', 1),
    mends: ({ redis }) => redis.cli('CONFIG', 'SET', 'maxmemory', 0),
  },
  {
    what: 'says LOADING',
    kind: 'loading',
    told: ['relay-1', 'edge-2'],
    async breaks({ redis }) {
      // 10 ms for each of 400 keys of another database.
      await redis.cli('-n', 1, 'EVAL', "for i = 1, 400 do redis.call('SET', i, string.rep('x', 100)) end", 0);
      await redis.cli('CONFIG', 'SET', 'key-load-delay', 10_000, 'loading-process-events-interval-bytes', 1024);
      this.loading = redis.cli('DEBUG', 'RELOAD');
    },
    mends() {
      return this.loading;
    },
  },
  {
    what: 'says MISCONF',
    kind: 'misconf',
    told: ['relay-1', 'edge-2'],
    async breaks({ redis }) {
      rmSync(redis.directory, { recursive: true });
      await redis.cli('CONFIG', 'SET', 'save', '3600 1000000');
      await redis.cli('BGSAVE');
    },
    mends: ({ redis }) => redis.cli('CONFIG', 'SET', 'stop-writes-on-bgsave-error', 'no'),
  },
  {
    what: 'says WRONGPASS',
    kind: 'auth',
    told: ['relay-1', 'edge-1', 'edge-2'],
    async breaks({ redis }) {
      await acl(redis, 'resetpass', '>another-password');
      await redis.cli('CLIENT', 'KILL', 'USER', 'causeway');
    },
    mends: ({ redis }) => acl(redis, 'resetpass', '>a-password'),
  },
  {
    what: 'says NOPERM',
    kind: 'no_permission',
    told: ['relay-1', 'edge-2'],
    breaks: ({ redis }) => acl(redis, '-@write', '-@scripting'),
    mends: ({ redis }) => acl(redis, '+@write', '+@scripting'),
  },
].map(({ what, kind, told, breaks, mends }) => ({
  name: `a Redis that ${what}: a metric tells of it, the log once, nobody who is connected notices, and mended it is right again`,
  fleet: { login: LOGIN },
  before: isAdmitted,
  async plays(scene) {
    const { fleet, traffic } = scene;
    const [here, there] = fleet.edges;
    const asker = await traffic.open('asker', here);
    await scene.routesAreRight();
    const complaints = scene.complaints();
    const before = await errors(fleet, kind);
    const held = {};
    const broken = performance.now();
    await breaks.call(held, scene);
    await newcomerIsFound(scene, asker, there);
    await until(`${kind} in the metrics of ${told}`, async () => {
      const now = await errors(fleet, kind);
      return told.every((name) => now.get(name) > before.get(name));
    });
    await pause(REFUSING);
    await mends.call(held, scene);
    const mended = performance.now();
    await scene.routesAreRight();
    scene.measured('Redis is right again', performance.now() - mended, 10_000);
    await scene.storesAreThere();
    await fleet.settled();
    assert.deepEqual(scene.unreached(broken, performance.now()), []);
    assert.equal(traffic.dropped, 0);
    complaints.areFew(COMPLAINTS_MAX);
  },
}));

const SWEEPS = [
  {
    name: 'a Redis that refuses the sweep is swept, and called up again, soon after it does so no more',
    fleet: { login: LOGIN },
    async before(fleet) {
      await isAdmitted(fleet);
      await acl(fleet.redis, '-scan');
    },
    async plays(scene) {
      const { fleet, redis } = scene;
      const complaints = scene.complaints();
      await until('the sweep to be refused', async () => (await errors(fleet, 'no_permission')).get('relay-1') > 0, 2 * SOON);
      await redis.cli('SADD', 'cw:route:{#ghost}', 'edge-9.5');
      await acl(redis, '+scan');
      const mended = performance.now();
      await scene.routesAreRight();
      scene.measured('a ghost is swept away', performance.now() - mended, 10_000);
      await scene.storesAreThere();
      complaints.areFew(COMPLAINTS_MAX);
    },
  },
];

/** What Redis answered with an error of this kind, by name of the server that asked. */
async function errors(fleet, kind) {
  const counted = fleet.servers.map(async (server) => {
    const name = `${server.kind}_store_errors_total`;
    return [server.name, (await server.metrics()).value(name, { kind })];
  });
  return new Map(await Promise.all(counted));
}

/** What somebody else may leave under our prefix, and how he would take it away again. */
const FOREIGN = [
  {
    what: 'no ids among the leases',
    comes: ({ redis }) => redis.cli('ZADD', 'cw:{edges}', 1, 'hello', 2, 'edge-1', 3, '.7', 4, 'Edge-1.7', 5, ''),
    goes: ({ redis }) => redis.cli('ZREM', 'cw:{edges}', 'hello', 'edge-1', '.7', 'Edge-1.7', ''),
  },
  {
    what: 'the lease of an edge that nobody knows',
    comes: ({ redis }) => redis.cli('ZADD', 'cw:{edges}', 1, 'edge-9.5'),
    // The relay ends it, as that of any edge that is silent.
    goes: ({ redis }) => until('the lease to be ended', async () => !(await redis.leases()).has('edge-9.5')),
  },
  {
    what: 'strange ids at a route',
    comes: ({ redis }) => redis.cli('SADD', 'cw:route:{#bob}', 'x', '', 'edge-2', 'edge-2.x', 'edge-2.1', 'edge-9.5', '\u0001\u00ff'),
    goes: ({ redis }) => redis.cli('SREM', 'cw:route:{#bob}', 'x', '', 'edge-2', 'edge-2.x', 'edge-2.1', 'edge-9.5', '\u0001\u00ff'),
  },
  {
    what: 'garbage among the ended',
    comes: ({ redis }) => redis.cli('SADD', 'cw:{edges}:ended', 'x', '', 'edge-2', 'edge-2.1', 'edge-9.5'),
    goes: ({ redis }) => redis.cli('DEL', 'cw:{edges}:ended'),
  },
  {
    what: 'a living edge among the ended',
    comes: async ({ redis, fleet }) => redis.cli('SADD', 'cw:{edges}:ended', await fleet.idOf(fleet.edges[1])),
    goes: () => {},
  },
  {
    what: 'channels in an index that nobody here holds',
    comes: async ({ redis, fleet }) => redis.cli('SADD', `cw:edge:{${await fleet.idOf(fleet.edges[1])}}:routes`, '#ghost', '', 'x y'),
    goes: async ({ redis, fleet }) => redis.cli('SREM', `cw:edge:{${await fleet.idOf(fleet.edges[1])}}:routes`, '', 'x y'),
  },
].map(({ what, comes, goes }) => ({
  name: `a Redis with ${what} harms nobody`,
  async plays(scene) {
    const { fleet, traffic } = scene;
    const [here, there] = fleet.edges;
    const asker = await traffic.open('asker', here);
    await scene.routesAreRight();
    const complaints = scene.complaints();
    const came = performance.now();
    await comes(scene);
    await newcomerIsFound(scene, asker, there);
    await pause(REFUSING);
    await goes(scene);
    const mended = performance.now();
    await scene.routesAreRight();
    scene.measured('Redis is right again', performance.now() - mended, 10_000);
    await scene.storesAreThere();
    await fleet.settled();
    assert.deepEqual(scene.unreached(came, performance.now()), []);
    assert.equal(traffic.dropped, 0);
    complaints.areFew(COMPLAINTS_MAX);
  },
}));

describe('Redis', { concurrency: 10 }, () => {
  play([...OUTAGES, ...BOTH, ...REFUSALS, ...SWEEPS, ...FOREIGN]);
});
