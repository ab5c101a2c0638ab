// A real redis-server of our own, and a real redis-cli: the cluster's memory, and how an operator looks into it.

import { execFile } from 'node:child_process';
import { promisify } from 'node:util';

import { Child, freePorts, temporary } from './process.mjs';
import { SOON, until } from './wait.mjs';

const execute = promisify(execFile);

/** Nothing on disk: a Redis that was started anew is empty. */
const SETTINGS = { save: '', appendonly: 'no', bind: '127.0.0.1', 'enable-debug-command': 'local' };

/** Every set under a pattern in one look, so that what is seen was so at one moment. Other types are shown as such. */
const SETS = `
  local found = {}
  for _, key in ipairs(redis.call('KEYS', ARGV[1])) do
    local kind = redis.call('TYPE', key).ok
    found[#found + 1] = { key, kind == 'set' and redis.call('SMEMBERS', key) or { 'no set but a ' .. kind } }
  end
  return found`;

export class Redis {
  /** The client's part of the URL: `user:password@`, or nothing. */
  login = '';
  directory = temporary();

  constructor(port, prefix = 'cw:') {
    this.port = port;
    this.prefix = prefix;
  }

  /** One that is not yet started. */
  static async create() {
    const [port] = await freePorts(1);
    return new Redis(port);
  }

  get url() {
    return `redis://${this.login}127.0.0.1:${this.port}`;
  }

  /** Starts it, on the same port each time. With `isReady` false it does not wait until it serves. */
  async start(settings = {}, { isReady = true } = {}) {
    const all = Object.entries({ ...SETTINGS, port: this.port, dir: this.directory, ...settings });
    this.child = new Child('redis-server', all.flatMap(([name, value]) => [`--${name}`, `${value}`]));
    if (isReady) await this.child.said('stdout', /Ready to accept connections/);
  }

  /** An orderly end: its clients' connections are closed. */
  async stop() {
    this.child.signal('SIGTERM');
    await this.child.end();
  }

  async kill() {
    await this.child?.kill();
  }

  async restart(settings) {
    await this.kill();
    await this.start(settings);
  }

  /** It stays on the network and answers nothing. */
  hang() {
    this.child.signal('SIGSTOP');
  }

  goOn() {
    this.child.signal('SIGCONT');
  }

  /** One command by redis-cli; its answer as JSON has it. An error of Redis is thrown. */
  async cli(...args) {
    const options = ['-h', '127.0.0.1', '-p', `${this.port}`, '-e', '--json'];
    const { stdout } = await execute('redis-cli', [...options, ...args.map(String)], { timeout: SOON, maxBuffer: 64 << 20 });
    return JSON.parse(stdout);
  }

  /** Who holds what: channel → ids of edges, sorted. */
  async routes() {
    const sets = await this.#sets('route:{*}');
    return new Map([...sets].map(([key, ids]) => [this.#inner(key), ids]));
  }

  /** The reverse: id of an edge → channels, sorted. */
  async indices() {
    const sets = await this.#sets('edge:{*}:routes');
    return new Map([...sets].map(([key, channels]) => [this.#inner(key), channels]));
  }

  /** Edges with a lease: id → score. */
  async leases() {
    return new Map(await this.cli('ZRANGE', `${this.prefix}{edges}`, 0, -1, 'WITHSCORES'));
  }

  /** Every key that there is. */
  async keys() {
    return (await this.cli('KEYS', '*')).sort();
  }

  /** Waits until it has nothing of the edge `id` any more. */
  async forgets(id, milliseconds) {
    await until(`${id} to be gone from Redis`, async () => !(await this.keys()).some((key) => key.includes(`{${id}}`)), milliseconds);
  }

  async #sets(pattern) {
    const found = await this.cli('EVAL', SETS, 0, `${this.prefix}${pattern}`);
    return new Map(found.map(([key, members]) => [key, members.sort()]));
  }

  #inner(key) {
    return key.slice(key.indexOf('{') + 1, key.lastIndexOf('}'));
  }
}
