// Edges and relays that die, stop, freeze and come back, and edges that have a name in common: nobody is lied to, and
// nothing of them is left.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { Centrifuge } from 'centrifuge';
import WebSocket from 'ws';

import { SECRET } from './lib/cluster.mjs';
import { withFleet } from './lib/fleet.mjs';
import { play } from './lib/scenario.mjs';
import { tokenFor } from './lib/token.mjs';
import { ABSENT, PEOPLE } from './lib/traffic.mjs';
import { Inbox, SOON, pause, until, within } from './lib/wait.mjs';

/** What `--help` and the close frame call an edge that stops. */
const SHUTDOWN = { code: 3001, reason: 'shutdown' };

const PEACE = [
  {
    name: 'in peace everybody is reached on each of his devices, and who is absent is offline',
    async plays() {
      await pause(2000);
    },
    afterwards({ history }) {
      const wanted = (to) => (to === ABSENT ? ['offline', 0] : ['delivered', to === 'eve' ? 2 : 1]);
      for (const { to, verdicts } of history.sends) {
        assert.deepEqual(verdicts.map(({ kind, n }) => [kind, n]), [wanted(to)], to);
      }
    },
  },
];

const DEATHS = [
  {
    name: 'an edge that is killed leaves no route behind, no sender without a verdict, and its people are reached elsewhere',
    fleet: { edges: 3 },
    async plays(scene) {
      const { fleet, traffic, history } = scene;
      const [, edge] = fleet.edges;
      await traffic.crowd(300, edge);
      await scene.routesAreRight();
      const id = await fleet.idOf(edge);
      const killed = performance.now();
      await history.during(async () => {
        await edge.kill();
        const back = scene.timed(() => traffic.isThere('bob', 'ben'));
        await scene.noRoutesOf(id);
        scene.measured('the routes of a killed edge with 300 clients gone', performance.now() - killed, 3700);
        scene.t.diagnostic(`its people are back after ${Math.round(await back)} ms`);
        await fleet.settled();
      });
      scene.measured('the slowest verdict meanwhile', scene.slowest(killed - 100, performance.now()), 4000);
    },
  },
  {
    name: 'an edge that stops tells all of its clients why, and its routes go with the last of them',
    async plays(scene) {
      const { fleet, traffic, history } = scene;
      const [, edge] = fleet.edges;
      await traffic.crowd(100, edge);
      await scene.routesAreRight();
      const id = await fleet.idOf(edge);
      const devices = traffic.live.filter((device) => device.edge === edge);
      await history.during(async () => {
        const stopped = edge.stop();
        const ends = await Promise.all(devices.map(({ ended }) => ended));
        const closed = performance.now();
        assert.deepEqual(ends, devices.map(() => SHUTDOWN));
        await scene.noRoutesOf(id);
        scene.measured('routes gone after the last client', performance.now() - closed, 200);
        assert.deepEqual(await stopped, { code: 0, signal: null });
        await traffic.isThere('bob', 'ben');
        await fleet.settled();
      });
    },
  },
  {
    name: 'an edge that is killed and started again has a new epoch at once, and nothing of the old one is left',
    async plays(scene) {
      const { fleet, history, traffic, redis } = scene;
      const [, edge] = fleet.edges;
      const id = await fleet.idOf(edge);
      await history.during(async () => {
        await edge.restart();
        const listening = performance.now();
        const hasNew = async () => [...(await redis.leases()).keys()].some((other) => other !== id && other.startsWith('edge-2.'));
        await until('the lease of the new epoch', hasNew);
        scene.measured('the new epoch has its lease', performance.now() - listening, 300);
        await scene.noRoutesOf(id);
        scene.measured('the routes of the old one gone', performance.now() - listening, 500);
        await traffic.isThere('bob', 'ben', 'eve');
        await fleet.settled();
      });
      const again = await traffic.open('late', edge);
      assert.deepEqual(await again.send('ada'), { kind: 'delivered', n: 1 });
    },
  },
];

/** How long an edge stands still, in ms, and whether the relay has given it up by then. */
const FREEZES = [
  [2900, undefined],
  [8000, true],
  [14_000, true],
].map(([milliseconds, isReaped]) => ({
  name: `an edge that stands still for ${milliseconds / 1000} s delivers nothing old, serves again, and takes no route from who has moved`,
  async plays(scene) {
    const { fleet, traffic, history, redis } = scene;
    const [here, frozen] = fleet.edges;
    const mover = await traffic.open('mover', frozen);
    await scene.routesAreRight();
    const id = await fleet.idOf(frozen);
    const freeze = { edge: frozen.label, from: performance.now(), to: Infinity };
    history.freezes.push(freeze);
    await history.during(async () => {
      frozen.freeze();
      await pause(milliseconds / 3);
      mover.drop();
      const moves = scene.timed(() => traffic.open('mover', here));
      await pause((milliseconds * 2) / 3);
      const thawed = performance.now();
      frozen.thaw();
      scene.t.diagnostic(`who moves is logged in elsewhere after ${Math.round(await moves)} ms`);
      const keeps = watchRoute(scene, '#mover', await fleet.idOf(here));
      freeze.to = await scene.reachedAgain(frozen, thawed);
      scene.measured('serves again', freeze.to - thawed, 2000);
      if (isReaped) await scene.noRoutesOf(id);
      await fleet.settled();
      await keeps.end();
      const late = deliveredLate(history, frozen, freeze.from, thawed);
      assert.deepEqual(late, [], 'sent while it stood still, delivered when it went on');
    });
    const next = await fleet.idOf(frozen);
    scene.t.diagnostic(`${id} is now ${next}`);
    if (isReaped) assert.notEqual(next, id);
    assert.equal((await frozen.metrics()).value('edge_freezes_total'), 1);
    assert.equal(traffic.dropped, 0, 'clients of a frozen edge notice nothing');
    assert.ok((await redis.routes()).has('#mover'));
  },
}));

/** Looks again and again whether a route is there that must not go. */
function watchRoute({ redis }, channel, id) {
  let isOver = false;
  const watching = (async () => {
    do {
      const holders = await redis.cli('SMEMBERS', `${redis.prefix}route:{${channel}}`);
      assert.ok(holders.includes(id), `${channel} lost ${id}: ${holders}`);
      await pause(20);
    } while (!isOver);
  })();
  // It is awaited in the end, and until then nobody else hears of it.
  watching.catch(() => {});
  return {
    end: () => {
      isOver = true;
      return watching;
    },
  };
}

/** Messages of people elsewhere that waited for `edge` to go on, and came then. */
function deliveredLate({ connections, sends, receipts }, edge, from, thawed) {
  // What was under way when it froze may have been in its clients' sockets already.
  const old = new Set(
    sends
      .filter(({ connection, begun }) => connections[connection].edge !== edge.label && from <= begun && begun < thawed)
      .map(({ id }) => id),
  );
  return receipts.filter(({ send, connection, at }) => old.has(send) && connections[connection].edge === edge.label && at >= thawed);
}

const NAMESAKES = [
  {
    name: 'of two edges of one name the newer one wins, and the older one says so, tells its clients, and ends',
    people: [...PEOPLE, ['fay', 1]],
    async plays(scene) {
      const { fleet, traffic, history, redis, relay } = scene;
      const [, older] = fleet.edges;
      const id = await fleet.idOf(older);
      const devices = traffic.live.filter((device) => device.edge === older);
      const admitted = (await relay.metrics()).value('relay_links_admitted_total');
      const newer = await fleet.namesake(older);
      await history.during(async () => {
        await newer.start();
        const started = performance.now();
        const { code } = await older.child.end();
        scene.measured('the older one has ended', performance.now() - started, 1000);
        assert.equal(code, 1);
        const ends = await Promise.all(devices.map(({ ended }) => ended));
        assert.deepEqual(ends, devices.map(() => SHUTDOWN));
        await scene.noRoutesOf(id);
        await fleet.settled();
        await traffic.isThere('bob', 'ben', 'fay', 'eve');
      });
      assert.match(older.child.stderr, /^error: superseded: another edge of the name edge-2 /m);
      const next = await fleet.idOf(newer);
      const guest = await traffic.open('guest', newer);
      // Longer than any pause between two tries of an edge.
      await pause(3000);
      assert.equal(await fleet.idOf(newer), next, 'no ping-pong');
      assert.equal((await relay.metrics()).value('relay_links_admitted_total'), admitted + 1);
      assert.deepEqual(await guest.send('ada'), { kind: 'delivered', n: 1 });
      assert.deepEqual(await redis.cli('SMEMBERS', `${redis.prefix}route:{#guest}`), [next]);
    },
  },
];

/** How the relay goes, for how long, in ms, and how it comes back. */
const RELAYS = [
  ['is killed and at once started again', (relay) => relay.kill(), 0, (relay) => relay.start()],
  ['is killed, and started again after 6 s', (relay) => relay.kill(), 6000, (relay) => relay.start()],
  ['is stopped and at once started again', (relay) => relay.stop(), 0, (relay) => relay.start()],
  ['stands still for 2.8 s', (relay) => relay.freeze(), 2800, (relay) => relay.thaw()],
  ['stands still for 6 s', (relay) => relay.freeze(), 6000, (relay) => relay.thaw()],
].map(([what, goes, milliseconds, comesBack]) => ({
  name: `a relay that ${what} costs nobody his connection, and nobody who is there is called offline`,
  async plays(scene) {
    const { fleet, traffic, history, relay } = scene;
    const ids = await Promise.all(fleet.edges.map((edge) => fleet.idOf(edge)));
    const gone = performance.now();
    await history.during(async () => {
      await goes(relay);
      await pause(milliseconds);
      await comesBack(relay);
      const back = performance.now();
      const reached = await Promise.all(fleet.edges.map((edge) => scene.reachedAgain(edge, back)));
      scene.measured('traffic both ways again', Math.max(...reached) - back, 1000);
      await fleet.settled();
      scene.measured('settled again', performance.now() - back, 6000);
    });
    scene.measured('the slowest verdict meanwhile', scene.slowest(gone - 100, performance.now()), 4000);
    assert.equal(traffic.dropped, 0);
    for (const [at, edge] of fleet.edges.entries()) {
      const told = edge.complaints(0).filter(({ message }) => message.startsWith('no link to the relay'));
      assert.ok(told.length <= 1, `told once, not at each try: ${JSON.stringify(told)}`);
      scene.t.diagnostic(`${ids[at]} is now ${await fleet.idOf(edge)}`);
    }
  },
}));

describe('edges and relays', { concurrency: 8 }, () => {
  play([...PEACE, ...DEATHS, ...FREEZES, ...NAMESAKES, ...RELAYS]);

  test('a client that somebody else wrote notices nothing of the relay, and comes back to its edge by itself', { timeout: 90_000 }, () =>
    withFleet({}, async (fleet) => {
      const { relay, edges } = fleet;
      const clients = [];
      try {
        await fleet.start();
        const [ada, bob] = edges.map((edge, at) => foreign(edge, ['ada', 'bob'][at]));
        clients.push(ada, bob);
        await within(SOON, 'both to be connected', Promise.all([ada.ready(), bob.ready()]));
        await relay.restart();
        await fleet.settled();
        assert.deepEqual((await ada.rpc('send', { to: 'bob', data: 1 })).data, { delivered: 1 });
        assert.equal((await bob.inbox.next()).data, 1);
        assert.deepEqual([ada.states, bob.states], [['connecting', 'connected'], ['connecting', 'connected']]);
        await edges[1].restart();
        await until('bob to be back', () => bob.states.length === 4);
        assert.deepEqual(bob.states.slice(2), ['connecting', 'connected']);
        await fleet.settled();
        assert.deepEqual((await ada.rpc('send', { to: 'bob', data: 2 })).data, { delivered: 1 });
        assert.equal((await bob.inbox.next()).data, 2);
        assert.equal(ada.states.length, 2);
      } finally {
        for (const client of clients) client.disconnect();
      }
    }),
  );
});

/** The npm package `centrifuge`, connecting. */
function foreign(edge, user) {
  const client = new Centrifuge(edge.url, { websocket: WebSocket, token: tokenFor(user, {}, { secret: SECRET }), minReconnectDelay: 50, maxReconnectDelay: 500 });
  client.states = [];
  client.on('state', ({ newState }) => client.states.push(newState));
  client.inbox = new Inbox();
  client.on('publication', (context) => client.inbox.push(context));
  client.connect();
  return client;
}
