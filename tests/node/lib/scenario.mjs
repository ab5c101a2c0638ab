// A scenario: a fleet of its own, traffic that never stops, something that goes wrong, and a judge at the end.
//
// What must hold after every scenario stands here, once: the cluster settles by itself, everybody reaches everybody,
// Redis has the routes of those who are there and no other, the judge finds nothing in what the clients saw, and the
// counters of each edge add up.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { nameOf, withFleet } from './fleet.mjs';
import { differences, figures, judge, routesWanted } from './history.mjs';
import { Traffic } from './traffic.mjs';
import { pause, until } from './wait.mjs';

/** How long a scenario may take in all, on a machine that does much else. */
const SCENARIO = 150_000;

/** Traffic before anything goes wrong. */
const WARM_UP = 500;

/** Traffic after the cluster has found itself again. */
const AFTERWARDS = 1000;

/** Redis is right 10 s after a fault (I7); this is for a busy machine. */
const ROUTES_RIGHT = 30_000;

/** What is in an outbox arrives: on loopback at once. */
const ARRIVAL = 5000;

/** Wide enough for a busy machine, and yet below what would take a timeout instead (3.3 s). */
const BUSY = 2500;

/**
 * Plays each of `scenarios`: `{ name, people, fleet, before, plays, afterwards }`. `before` is done when only Redis
 * runs, `plays` under traffic, `afterwards` when all is quiet and right.
 */
export function play(scenarios) {
  for (const { name, people, fleet: options = {}, before, plays, afterwards } of scenarios) {
    test(name, { timeout: SCENARIO }, (t) =>
      withFleet(options, async (fleet) => {
        const traffic = new Traffic(fleet);
        const scene = new Scene(t, fleet, traffic);
        try {
          await fleet.start({ before });
          await traffic.begin(people);
          await pause(WARM_UP);
          await plays(scene);
          await scene.ends();
          await afterwards?.(scene);
        } catch (error) {
          scene.tellLogs();
          throw error;
        } finally {
          await traffic.end();
        }
      }),
    );
  }
}

/** What a scenario has at hand. */
export class Scene {
  constructor(t, fleet, traffic) {
    Object.assign(this, { t, fleet, traffic, history: traffic.history, redis: fleet.redis, relay: fleet.relay, edges: fleet.edges });
  }

  /** Notes a duration beside its target; it is wrong only where no busy machine explains it. */
  measured(what, milliseconds, target) {
    this.t.diagnostic(`${what}: ${Math.round(milliseconds)} ms (target ${target} ms)`);
    assert.ok(milliseconds <= Math.max(3 * target, target + BUSY), `${what} took ${Math.round(milliseconds)} ms instead of ${target}`);
  }

  /** How long `body` takes. */
  async timed(body) {
    const begun = performance.now();
    await body();
    return performance.now() - begun;
  }

  /** Waits until Redis has no route of the edge `id`. */
  async noRoutesOf(id) {
    const isGone = async () => ![...(await this.redis.routes()).values()].some((ids) => ids.includes(id));
    await until(`the routes of ${id} to be gone`, isGone, ROUTES_RIGHT);
  }

  /** Waits until Redis has exactly what it must have. */
  async routesAreRight() {
    let wrong = [];
    const isRight = async () => {
      wrong = await this.wrongInRedis();
      return wrong.length === 0;
    };
    await until('the right routes', isRight, ROUTES_RIGHT).catch((error) => {
      throw new Error(`${error.message}: ${wrong.slice(0, 20).join('; ')}`);
    });
  }

  /** What Redis must not have, and what it lacks: routes, indices, hashes, and edges whose routes are still removed. */
  async wrongInRedis() {
    const leases = [...(await this.redis.leases()).keys()];
    const { running } = this.fleet;
    const ids = new Map(running.map(({ label, name }) => [label, leases.filter((id) => nameOf(id) === name)]));
    if (leases.length !== running.length || [...ids.values()].some(({ length }) => length !== 1)) {
      return [`the leases are ${leases}, the edges are ${running.map(({ label }) => label)}`];
    }
    const wanted = routesWanted(this.history, (label) => ids.get(label)[0]);
    const inverse = new Map();
    for (const [channel, holders] of wanted) {
      for (const id of holders) inverse.set(id, [...(inverse.get(id) ?? []), channel]);
    }
    const { prefix } = this.redis;
    const known = new Set([`${prefix}{edges}`, `${prefix}{edges}:settled`, ...leases.map((id) => `${prefix}edge:{${id}}`)]);
    const isShown = (key) => key.startsWith(`${prefix}route:`) || key.endsWith(':routes');
    const others = (await this.redis.keys()).filter((key) => !known.delete(key) && !isShown(key));
    return [
      ...differences(wanted, await this.redis.routes()),
      ...differences(inverse, await this.redis.indices()),
      ...others.map((key) => `${key} is there`),
      ...[...known].map((key) => `${key} is not there`),
    ];
  }

  /** Waits until each server's metrics say that its store is away, on a connection that it uses. */
  async storesAreAway() {
    const isAway = (levels) => levels.some((level) => level === 0);
    await until('all stores to be away', async () => (await this.#storesUp()).every(isAway), ROUTES_RIGHT);
  }

  /** Waits until each server's metrics say that its store is there. */
  async storesAreThere() {
    const isThere = (levels) => levels.length === 2 && levels.every((level) => level === 1);
    await until('all stores to be there', async () => (await this.#storesUp()).every(isThere), ROUTES_RIGHT);
  }

  #storesUp() {
    const levels = async (server) => {
      const { series } = await server.metrics();
      return series.filter(({ name }) => name === `${server.kind}_store_up`).map(({ value }) => value);
    };
    return Promise.all(this.fleet.servers.map(levels));
  }

  /** When a message from somebody else's edge first reached one of `edge` again that was sent after `since`. */
  async reachedAgain(edge, since = performance.now()) {
    const { connections, sends } = this.history;
    const reached = () =>
      sends.find(({ to, connection, begun, verdicts }) => {
        const isFar = connections[connection].edge !== edge.label;
        const isThere = this.traffic.live.some((device) => device.user === to && device.edge === edge);
        const isOnlyThere = this.traffic.live.every((device) => device.user !== to || device.edge === edge);
        return begun >= since && isFar && isThere && isOnlyThere && verdicts[0]?.kind === 'delivered';
      });
    const { verdicts } = await until(`${edge.label} to be reached again`, reached, ROUTES_RIGHT);
    return verdicts[0].at;
  }

  /** The slowest verdict of what was sent between `from` and `to`. */
  slowest(from, to) {
    const waited = this.history.sends
      .filter(({ begun, verdicts }) => from <= begun && begun <= to && verdicts.length > 0)
      .map(({ begun, verdicts }) => verdicts[0].at - begun);
    return Math.max(0, ...waited);
  }

  /** Sends between `from` and `to` to somebody who was there, which did not reach him: there must be none. */
  unreached(from, to) {
    const { connections, sends } = this.history;
    const isThere = (user, begun) => connections.some(({ user: other, opened, closed }) => other === user && opened <= begun && closed === Infinity);
    return sends
      .filter(({ begun, to: user }) => from <= begun && begun <= to && isThere(user, begun))
      .filter(({ verdicts }) => verdicts.length > 0 && verdicts[0].kind !== 'delivered')
      .map(({ id, to: user, verdicts: [{ kind }] }) => `message ${id} to ${user}: ${kind}`);
  }

  /** Listens to warnings and errors from now on. */
  complaints() {
    const marks = this.fleet.servers.map((server) => [server, server.log().length]);
    return {
      areFew: (most) => {
        for (const [server, mark] of marks) {
          const said = server.complaints(mark).map(({ message, reason }) => [message, reason].filter(Boolean).join(': '));
          this.t.diagnostic(`${server.label} complains: ${said.join('; ') || 'no'}`);
          assert.ok(said.length <= most, `${server.label} says it once, not at each try: ${said.slice(0, 20).join('; ')}`);
        }
      },
    };
  }

  /** What must hold in the end. */
  async ends() {
    await this.fleet.settled();
    await pause(AFTERWARDS);
    await this.traffic.quiet();
    const settling = await this.timed(() => this.routesAreRight());
    this.t.diagnostic(`routes right ${Math.round(settling)} ms after all was quiet (at most 10000 ms)`);
    let absent = [];
    const isAnswered = async () => {
      absent = await this.traffic.rollCall();
      return absent.length === 0;
    };
    await until('everybody to reach everybody', isAnswered).catch((error) => {
      throw new Error(`${error.message}: ${absent.slice(0, 20).join('; ')}`);
    });
    // A verdict may overtake the message that it is about.
    const isJust = () => judge(this.history).length === 0;
    await until('the last messages', isJust, ARRIVAL).catch(() => assert.deepEqual(judge(this.history).slice(0, 20), []));
    this.t.diagnostic(JSON.stringify(figures(this.history)));
    for (const edge of this.fleet.running) await countersAddUp(edge);
    for (const server of this.fleet.servers) {
      for (const { stderr } of server.children) assert.doesNotMatch(stderr, /panic/, server.label);
    }
  }

  /** For whoever looks for the reason of a failure. */
  tellLogs() {
    for (const server of this.fleet.servers) {
      for (const line of server.log().slice(-40)) this.t.diagnostic(`${server.label}: ${JSON.stringify(line)}`);
    }
  }
}

/** I9: each message ended in one way. */
async function countersAddUp(edge) {
  const counted = await edge.metrics();
  const received = counted.value('edge_messages_received_total');
  assert.equal(received, counted.sum('edge_messages_total') + counted.value('edge_receipts_pending'), `${edge.label}: messages`);
}
