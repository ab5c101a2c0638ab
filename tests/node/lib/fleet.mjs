// A cluster of several processes, as an operator runs it: redis-server, `relay`, several `edge`s, and certificates that
// `certs` made. Each part has its name and its ports for as long as the fleet lives, and is started, ended, frozen and
// started again by itself, in any order.

import { secretFile } from './cluster.mjs';
import { metrics, request } from './http.mjs';
import { Child, binary, freePorts, run, temporary } from './process.mjs';
import { Redis } from './redis.mjs';
import { SOON, until } from './wait.mjs';

/** How long a server may take to start, and a cluster to find itself. */
const START = 20_000;

const flags = (settings) => Object.entries(settings).flatMap(([name, value]) => [`--${name}`, `${value}`]);

/** One `relay` or `edge`. */
export class Server {
  /** Every process that it has been, the last one included. */
  children = [];

  constructor(kind, name, settings, addresses) {
    this.kind = kind;
    this.name = name;
    // What histories call it: two edges of one name are still two places.
    this.label = name;
    this.settings = settings;
    Object.assign(this, addresses);
  }

  get child() {
    return this.children.at(-1);
  }

  get isRunning() {
    return this.child !== undefined && !this.child.isOver;
  }

  /** Starts it, and waits until it listens: for nobody else does it have to wait. */
  async start() {
    this.children.push(new Child(binary(this.kind), [...flags(this.settings), '--log-format', 'json']));
    await this.child.said('stderr', /"listening"/, START);
  }

  /** As a power failure would: no word to anybody. */
  async kill() {
    this.child?.signal('SIGKILL');
    await this.child?.ended;
  }

  /** Asks it to stop, and waits until it has. */
  async stop() {
    this.child.signal('SIGTERM');
    return this.child.end(START);
  }

  async restart() {
    await this.kill();
    await this.start();
  }

  freeze() {
    this.child.signal('SIGSTOP');
  }

  thaw() {
    this.child.signal('SIGCONT');
  }

  metrics() {
    return metrics(this);
  }

  /** Waits until a metric is `value`. */
  metric(name, value, labels, milliseconds = START) {
    return until(`${name} of ${this.name} to be ${value}`, async () => (await this.metrics()).value(name, labels) === value, milliseconds);
  }

  async isReady() {
    return (await request(`${this.admin}/ready`)).status === 200;
  }

  /** Its log, of all its processes, or what came since `mark`. */
  log(mark = 0) {
    const lines = this.children.flatMap(({ stderr }) => stderr.split('\n').slice(0, -1));
    return lines.slice(mark).map((line) => parsed(line));
  }

  /** Warnings and errors since `mark`, a length of `log()`. */
  complaints(mark) {
    return this.log(mark).filter(({ level }) => level === 'WARN' || level === 'ERROR');
  }
}

/** What is no JSON is the word of somebody who panics or gives up. */
function parsed(line) {
  try {
    return JSON.parse(line);
  } catch {
    return { level: 'ERROR', message: line };
  }
}

export class Fleet {
  /** Nothing of it runs yet. `login` is how relay and edges log in at Redis, `user:password@`. */
  static async create({ edges = 2, login = '', settings = {} } = {}) {
    const fleet = new Fleet();
    fleet.redis = await Redis.create();
    fleet.redis.login = login;
    fleet.#ports = await freePorts(2 + 3 * edges);
    fleet.#links = temporary();
    fleet.#secret = secretFile();
    await certs('init', fleet.#links);
    const port = () => fleet.#ports.pop();
    fleet.#relayPort = port();
    fleet.relay = await fleet.#relay(port());
    fleet.edges = [];
    for (let number = 1; number <= edges; number += 1) {
      fleet.edges.push(await fleet.#edge(`edge-${number}`, [port(), port(), port()], settings));
    }
    return fleet;
  }

  #links;
  #ports;
  #relayPort;
  #secret;
  #others = [];

  get servers() {
    return [this.relay, ...this.edges, ...this.#others];
  }

  /** Edges whose process runs, namesakes included. */
  get running() {
    return [...this.edges, ...this.#others].filter(({ isRunning }) => isRunning);
  }

  /** Starts everything and waits until it is one cluster. `before` is done when Redis is there and nobody else. */
  async start({ before } = {}) {
    await this.redis.start();
    await before?.(this);
    await Promise.all(this.servers.map((server) => server.start()));
    await this.settled();
  }

  /** Waits until everything that runs knows everything else: traffic flows, and absent is offline. */
  async settled(milliseconds = START) {
    const { running } = this;
    await Promise.all([
      ...running.flatMap((edge) => [
        until(`${edge.name} to be ready`, () => edge.isReady(), milliseconds),
        edge.metric('edge_leased', 1, {}, milliseconds),
      ]),
      this.relay.metric('relay_complete', 1, {}, milliseconds),
      this.relay.metric('relay_edges', running.length, {}, milliseconds),
    ]);
  }

  /** Ends all of it, however it is. */
  async end() {
    await Promise.all([this.redis.kill(), ...this.servers.map((server) => server.kill())]);
  }

  /** A second edge of the same name and certificate, on ports of its own. */
  async namesake(edge) {
    const [listen, line, admin] = await freePorts(3);
    const other = await this.#edge(edge.name, [listen, line, admin], {}, { isKnown: true });
    other.label = `${edge.name}, the namesake`;
    this.#others.push(other);
    return other;
  }

  /** The id under which an edge has its lease, by Redis: `NAME.EPOCH`. */
  async idOf(edge) {
    const ids = [...(await this.redis.leases()).keys()].filter((id) => nameOf(id) === edge.name);
    if (ids.length !== 1) throw new Error(`${edge.name} has ${ids.length} leases: ${ids}`);
    return ids[0];
  }

  async #relay(admin) {
    const addresses = { listen: `127.0.0.1:${this.#relayPort}`, 'admin-listen': `127.0.0.1:${admin}` };
    const settings = { ...addresses, store: this.redis.url, ...(await this.#identity('relay-1', 'relay')) };
    return new Server('relay', 'relay-1', settings, { admin: `http://127.0.0.1:${admin}` });
  }

  async #edge(name, [listen, line, admin], more, { isKnown } = {}) {
    const settings = {
      listen: `127.0.0.1:${listen}`,
      'line-listen': `127.0.0.1:${line}`,
      'admin-listen': `127.0.0.1:${admin}`,
      relay: `127.0.0.1:${this.#relayPort}`,
      store: this.redis.url,
      'token-hmac-secret-file': this.#secret,
      ...(await this.#identity(name, 'edge', isKnown)),
      ...more,
    };
    return new Server('edge', name, settings, {
      url: `ws://127.0.0.1:${listen}/connection/websocket`,
      http: `http://127.0.0.1:${listen}`,
      line: `127.0.0.1:${line}`,
      admin: `http://127.0.0.1:${admin}`,
    });
  }

  async #identity(name, role, isKnown) {
    if (!isKnown) await certs('issue', this.#links, '--name', name, '--role', role);
    const at = (file) => `${this.#links}/${file}`;
    return { name, 'link-ca': at('ca.pem'), 'link-cert': at(`${name}.pem`), 'link-key': at(`${name}.key`) };
  }
}

/** Starts a fleet for one test and ends it afterwards, whatever the test does. */
export async function withFleet(options, body) {
  const fleet = await Fleet.create(options);
  try {
    return await body(fleet);
  } finally {
    await fleet.end();
  }
}

/** `edge-1.17` belongs to edge-1. */
export const nameOf = (id) => id.slice(0, id.lastIndexOf('.'));

async function certs(...args) {
  const { code, stderr } = await run('certs', args, { milliseconds: SOON });
  if (code !== 0) throw new Error(`certs ${args.join(' ')}: ${stderr}`);
}
