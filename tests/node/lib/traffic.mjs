// Traffic: people whose clients send to each other all the time, and write down in a `History` what they see.
//
// A `Device` is one connection. People keep one each, and look for another edge when theirs lets them go; `hop` makes
// somebody who is nowhere for long. All sends want a receipt.

import WebSocket from 'ws';

import { SECRET } from './cluster.mjs';
import { History, VERDICT_MAX } from './history.mjs';
import { tokenFor } from './token.mjs';
import { SOON, pause, until, within } from './wait.mjs';

/** Of two edges, both have people who send to each other, and eve has a laptop here and a phone there. */
export const PEOPLE = [['ada', 0], ['ann', 0], ['eve', 0], ['eve', 1], ['bob', 1], ['ben', 1]];

/** Nobody ever logs in as this one. */
export const ABSENT = 'nobody';

/** Between two sends of one device, on average. */
const SEND_EVERY = 50;

/** Before somebody who was let go tries again, on average. */
const RETRY_AFTER = 100;

/** A server may hear so late that a client has just dropped its connection: nothing is said, and it may be busy. */
const HEARD_AFTER = 250;

/** How often we look who has a lease. */
const LEASES_EVERY = 250;

/** How long people wait for a login before they try elsewhere. */
const PATIENCE = 3000;

const anyOf = (list) => list[Math.floor(Math.random() * list.length)];

/** A pause of `average` milliseconds, more or less. */
const about = (average) => pause(average * (0.5 + Math.random()));

/** One connection of somebody, from its opening to its end. */
export class Device {
  /** How it ended: `{ code, reason }`. */
  end;
  /** Sends without a verdict yet. */
  waiting = 0;
  #history;
  /** What was sent by which command, and who waits for its verdict: a second one is the judge's to find. */
  #sent = new Map();

  constructor(history, user, edge) {
    this.user = user;
    this.edge = edge;
    this.#history = history;
    this.seen = history.connection(user, edge.label);
    this.socket = new WebSocket(edge.url, { perMessageDeflate: false });
    this.socket.on('error', () => {});
    this.socket.on('open', () => {
      this.seen.asked = performance.now();
      this.socket.send(JSON.stringify({ id: 1, connect: { token: tokenFor(user, {}, { secret: SECRET }) } }));
    });
    this.loggedIn = new Promise((resolve, reject) => {
      this.socket.on('message', (bytes) => {
        for (const line of bytes.toString('utf8').split('\n')) this.#heard(JSON.parse(line), resolve);
      });
      this.socket.on('close', (code, reason) => reject(new Error(`${user} on ${edge.label}: ${code} ${reason}`)));
    });
    // Whoever awaits it hears of it; whoever does not, does not care.
    this.loggedIn.catch(() => {});
    this.ended = new Promise((resolve) => {
      this.socket.on('close', (code, reason) => {
        this.#over();
        this.end = { code, reason: reason.toString() };
        resolve(this.end);
      });
    });
  }

  /** One that is logged in, or an error: it was not to be, or took too long. */
  static async open(history, user, edge, milliseconds = SOON) {
    const device = new Device(history, user, edge);
    try {
      await within(milliseconds, `the login of ${user} on ${edge.label}`, device.loggedIn);
      return device;
    } catch (error) {
      device.drop();
      throw error;
    }
  }

  get isLive() {
    return this.seen.opened < Infinity && this.seen.leaving === Infinity;
  }

  /** Sends to somebody; the verdict, `{ kind, n }`, or nothing where the connection ends first. */
  send(to) {
    const send = this.#history.send(this.seen.id, to);
    // The login was 1.
    const id = this.#sent.size + 2;
    const verdict = new Promise((resolve) => this.#sent.set(id, { send, resolve }));
    this.waiting += 1;
    this.socket.send(JSON.stringify({ id, rpc: { method: 'send', data: { to, data: send.id } } }));
    return verdict;
  }

  /** Says goodbye, and waits until the server has too. */
  async leave() {
    this.seen.leaving = Math.min(this.seen.leaving, performance.now());
    this.socket.close();
    await this.ended;
  }

  /** Goes without a word. */
  drop() {
    this.isDropped ||= this.seen.leaving === Infinity;
    this.seen.leaving = Math.min(this.seen.leaving, performance.now());
    this.socket.terminate();
  }

  #heard(message, loggedIn) {
    const at = performance.now();
    if (message.push) {
      const { data: send, info } = message.push.pub;
      this.#history.receipts.push({ send, connection: this.seen.id, from: info?.user, at });
    } else if (message.id === 1 && message.connect) {
      this.seen.opened = at;
      loggedIn();
    } else if (message.id) {
      this.#answered(message, at);
    } else {
      this.socket.send('{}');
    }
  }

  #answered({ id, rpc, error }, at) {
    const { send, resolve } = this.#sent.get(id);
    const n = rpc?.data.delivered ?? 0;
    const kind = rpc ? (n > 0 ? 'delivered' : 'offline') : error.temporary ? 'unknown' : 'rejected';
    if (send.verdicts.length === 0) this.waiting -= 1;
    send.verdicts.push({ at, kind, n });
    resolve({ kind, n });
  }

  #over() {
    const now = performance.now();
    this.seen.byServer = this.seen.leaving === Infinity;
    this.seen.leaving = Math.min(this.seen.leaving, now);
    this.seen.closed = this.isDropped ? now + HEARD_AFTER : now;
    for (const { resolve } of this.#sent.values()) resolve();
  }
}

/** Everybody's connections to one fleet. */
export class Traffic {
  history = new History();
  #fleet;
  #devices = [];
  #users = [];
  #isQuiet = false;
  #isOver = false;
  #running = [];

  constructor(fleet) {
    this.#fleet = fleet;
  }

  /** Everybody logs in, at the edge whose place in the fleet stands behind the name, and then begins to send. */
  async begin(people = PEOPLE) {
    this.#users.push(...new Set(people.map(([user]) => user)), ABSENT);
    const persons = people.map(([user, at]) => ({ user, edge: this.#fleet.edges[at], device: undefined }));
    await Promise.all(persons.map(async (person) => (person.device = await this.open(person.user, person.edge))));
    for (const person of persons) this.#running.push(this.#stay(person), this.#talk(person));
    this.#running.push(this.#watchLeases());
  }

  /** A further device, which only receives, and is not replaced. */
  async open(user, edge, milliseconds) {
    const device = await Device.open(this.history, user, edge, milliseconds);
    this.#devices.push(device);
    return device;
  }

  /** Many who only receive; some at a time, as a listener's queue is finite. */
  async crowd(count, edge) {
    const crowd = [];
    while (crowd.length < count) {
      const users = Array.from({ length: Math.min(50, count - crowd.length) }, (_, at) => `crowd-${crowd.length + at}`);
      crowd.push(...(await Promise.all(users.map((user) => this.open(user, edge)))));
    }
    return crowd;
  }

  /** Somebody who is here and there, `stay` milliseconds on average, until the traffic ends. */
  hop(user, stay) {
    if (!this.#users.includes(user)) this.#users.push(user);
    this.#running.push(this.#hop(user, stay));
  }

  /** Devices that are logged in now. */
  get live() {
    this.#devices = this.#devices.filter(({ isLive }) => isLive);
    return this.#devices;
  }

  /** How many people have lost a connection that they did not give up. */
  get dropped() {
    return this.history.connections.filter(({ byServer, opened }) => byServer && opened < Infinity).length;
  }

  /** Waits until each of `users` is logged in somewhere. */
  async isThere(...users) {
    await until(`${users} to be there`, () => users.every((user) => this.live.some((device) => device.user === user)), 2 * SOON);
  }

  /** Nobody sends or moves any more, and what is under way arrives. */
  async quiet() {
    this.#isQuiet = true;
    await until('all verdicts', () => this.live.every(({ waiting }) => waiting === 0), VERDICT_MAX + SOON);
  }

  /** Everybody who is there is called from every edge, and somebody who is not; what was not answered as it must be. */
  async rollCall() {
    const counts = new Map([[ABSENT, 0]]);
    for (const { user } of this.live) counts.set(user, (counts.get(user) ?? 0) + 1);
    const callers = new Map(this.live.map((device) => [device.edge, device]));
    const calls = [...callers.values()].flatMap((caller) => [...counts].map(([user, wanted]) => ({ caller, user, wanted })));
    const answers = calls.map(async ({ caller, user, wanted }) => {
      const { kind, n } = (await caller.send(user)) ?? { kind: 'nothing' };
      const isRight = wanted === 0 ? kind === 'offline' : n === wanted;
      return isRight ? [] : [`${user} called from ${caller.edge.label}: ${kind} ${n}, not ${wanted}`];
    });
    return (await Promise.all(answers)).flat();
  }

  /** Ends it all. */
  async end() {
    this.#isQuiet = true;
    this.#isOver = true;
    for (const device of this.#devices) device.drop();
    await Promise.all(this.#running);
  }

  async #stay(person) {
    for (;;) {
      if (person.device) await person.device.ended;
      if (this.#isOver) return;
      person.device = undefined;
      await about(RETRY_AFTER);
      person.edge = anyOf(this.#fleet.edges);
      person.device = await this.open(person.user, person.edge, PATIENCE).catch(() => undefined);
      if (this.#isOver) person.device?.drop();
    }
  }

  async #talk(person) {
    while (!this.#isQuiet) {
      if (person.device?.isLive) person.device.send(anyOf(this.#users.filter((user) => user !== person.user)));
      await about(SEND_EVERY);
    }
  }

  async #hop(user, stay) {
    let device;
    while (!this.#isQuiet) {
      const next = this.open(user, anyOf(this.#fleet.edges), PATIENCE).catch(() => undefined);
      // Half of the time the new connection is there before the old one goes.
      if (Math.random() < 0.5) await next;
      await this.#part(device);
      device = await next;
      await about(stay);
    }
    // Half of them stay, so that Redis must have some of their routes and not have others.
    if (Math.random() < 0.5) await this.#part(device);
  }

  async #part(device) {
    if (!device?.isLive) return;
    // One in five does as somebody whose network went away.
    if (Math.random() < 0.2) device.drop();
    else await device.leave();
  }

  async #watchLeases() {
    while (!this.#isOver) {
      // Redis may be away: then nobody sees anything.
      const leases = await this.#fleet.redis.leases().catch(() => undefined);
      if (leases) this.history.leases.push({ at: performance.now(), ids: [...leases.keys()] });
      await pause(LEASES_EVERY);
    }
  }
}
