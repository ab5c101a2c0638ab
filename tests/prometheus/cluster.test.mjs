// A real cluster under load, a real Prometheus with our rules, and things that go wrong: the right alert fires and no wrong
// page does, the right panel shows it, and no query of any panel or rule comes back empty.
//
// Time passes ten times faster for rules and panels (lib/shorten.mjs). Every wait has a wide deadline; what was measured is
// printed, beside what is asserted.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import dgram from 'node:dgram';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { login } from '../node/lib/abuse.mjs';
import { CertificateFiles } from '../node/lib/certificate.mjs';
import { Fleet } from '../node/lib/fleet.mjs';
import { ROOT } from '../node/lib/process.mjs';
import { initial } from '../node/lib/quic.mjs';
import { Raw } from '../node/lib/raw.mjs';
import { hostAndPort } from '../node/lib/terminal.mjs';
import { Traffic } from '../node/lib/traffic.mjs';
import { pause, until } from '../node/lib/wait.mjs';
import { metricNames, panels, selectors } from './lib/panels.mjs';
import { Path } from './lib/path.mjs';
import { Prometheus, SCRAPE, now } from './lib/prometheus.mjs';

const CLUSTER = 'tests';

/** Few places, so that few clients fill an edge. */
const CLIENTS_MAX = 60;

/** How long an alert and a panel may take; the most that is seen is a quarter of it. */
const ALERT = 60_000;
const SCRAPES_MAX = 30;

/** How long a node may be away, in seconds, before it is right to call it down: less than the shortest `for` of a page. */
const AWAY_MAX = 2;

/** What is calm, before anything goes wrong: more than a rate's window. */
const CALM = 8000;

/** What a panel must leave, of what it was in the calm, to have changed: a fifth. */
const CHANGE = 0.2;

/** Two on each edge, and somebody in several places. */
const PEOPLE = [
  ['ada', 0],
  ['ann', 0],
  ['bob', 1],
  ['ben', 1],
  ['cam', 2],
  ['cat', 2],
  ['eve', 0],
  ['eve', 1],
];

/** Panels that none of the scenarios changes, and why. */
const CONSTANT = new Map([
  ['clients: Clients that do not answer', 'a missing pong takes 33 s'],
  ['edge: Inputs that wait for the event loop', 'a scrape finds them only where an edge has too much to do'],
  ['edge: Memory', '60 clients take less than an edge has anyhow'],
  ['edge: Threads', 'those that wait for disks come and go as they like'],
  ['edge: Address space', 'the allocator takes it in large pieces'],
  ['edge: UDP datagrams dropped', 'the buffers are never full'],
  ['edge: UDP sockets', 'what the kernel gave at the start'],
  ['redis: Strays', 'mistakes of Redis that do not happen here'],
  ['redis: Memories differ', 'only in the moment of a death, by chance'],
  ['redis: Ghosts', '0 for ever'],
  ['relay: Packets lost', 'loopback loses none'],
  ['relay: Congestion', 'loopback loses none'],
  ['relay: Inputs a turn', 'they come one by one to a relay that has little to do'],
  ['relay: Inputs that wait for the event loop of the relay', 'a scrape finds them only where the relay has too much to do'],
  ['relay: What was lost', 'only in the moment of a death, by chance'],
  ['relay: The machine', 'what the kernel gave at the start'],
  ['relay: Memory', 'three edges take less than a relay has anyhow'],
  ['relay: UDP datagrams dropped', 'the buffers are never full'],
]);

let certificate;
let fleet;
/** From the third edge to the relay. */
let way;
let traffic;
let prometheus;
let everyone = [];

/** `{ name, calm: [from, to], storm: [from, to] }` of each scenario. */
const played = [];

before(
  async () => {
    certificate = new CertificateFiles();
    fleet = await Fleet.create({ edges: 3, settings: { 'max-clients': CLIENTS_MAX, ...certificate.flags } });
    way = await Path.to(fleet.relay.settings.listen);
    fleet.edges[2].settings.relay = way.address;
    traffic = new Traffic(fleet);
    await fleet.start();
    await traffic.begin(PEOPLE);
    traffic.hop('hopper', 1000);
    traffic.hop('runner', 500);
    const address = ({ admin }) => new URL(admin).host;
    prometheus = await Prometheus.start(CLUSTER, {
      'causeway-relay': [address(fleet.relay)],
      'causeway-edge': fleet.edges.map(address),
    });
    everyone = await company(fleet.edges[0]);
  },
  { timeout: 60_000 },
);

after(async () => {
  everyone.forEach((each) => each.close());
  await traffic?.end();
  await prometheus?.end();
  await fleet?.end();
  way?.end();
});

test('under load, no page fires, and every query of every panel and rule has an answer', { timeout: 90_000 }, async (t) => {
  await pause(CALM);
  let left;
  const isAnswered = async () => (left = await unanswered()).length === 0;
  await until('an answer to each query', isAnswered, ALERT).catch(() => assert.deepEqual(left, []));
  for (const { name, query, health, lastError } of await prometheus.rules())
    assert.equal(health, 'ok', `${name}: ${query}: ${lastError}`);
  const firing = await prometheus.firing();
  t.diagnostic(`fires: ${names(firing)}`);
  assert.deepEqual(
    firing.filter(({ severity }) => severity === 'page'),
    [],
  );
});

test('an edge is killed', { timeout: 150_000 }, (t) =>
  play(t, {
    fires: 'EdgeDown',
    pages: ['EdgeDown'],
    goesWrong: () => fleet.edges[2].kill(),
    shows: [
      [
        'overview: Nodes that answer',
        (series) => series.some(({ labels, value }) => labels.job === 'causeway-edge' && value === 0),
      ],
      ['overview: Edges that take clients', (series) => series.length === 1 && series[0].value < 0.7],
      ['overview: Places left if this edge dies', (series) => series.length === 2],
    ],
    isMended: () => fleet.edges[2].start(),
  }),
);

test('the relay stands still, and goes on', { timeout: 150_000 }, (t) =>
  play(t, {
    fires: 'RelayDown',
    pages: ['RelayDown'],
    goesWrong: () => fleet.relay.freeze(),
    shows: [
      [
        'overview: Nodes that answer',
        (series) => series.some(({ labels, value }) => labels.job === 'causeway-relay' && value === 0),
      ],
      ['overview: Messages with a known end', (series) => series.length === 1 && series[0].value < 0.95],
      ['edge: Linked', (series) => series.length === 3 && series.every(({ value }) => value === 0)],
    ],
    isMended: () => fleet.relay.thaw(),
    firesThen: 'RelayFroze',
  }),
);

test('no packets pass between an edge and the relay', { timeout: 150_000 }, (t) =>
  play(t, {
    fires: 'EdgeUnlinked',
    // Its people cannot write to others, and are told that this is not known.
    pages: ['EdgeUnlinked', 'UnknownVerdicts'],
    goesWrong: () => (way.isCut = true),
    shows: [
      ['edge: Linked', (series) => series.filter(({ value }) => value === 0).length === 1],
      ['relay: Edges linked', (series) => series[0].value === 2],
    ],
    isMended: () => (way.isCut = false),
  }),
);

test('Redis stands still, and goes on', { timeout: 150_000 }, (t) =>
  play(t, {
    fires: 'StoreDown',
    pages: ['StoreDown'],
    goesWrong: () => fleet.redis.hang(),
    shows: [
      ['overview: Redis, as each node sees it', (series) => series.filter(({ value }) => value === 0).length >= 3],
      ['redis: Errors, by kind', (series) => series.some(({ labels, value }) => labels.kind === 'timeout' && value > 0)],
    ],
    isMended: () => fleet.redis.goOn(),
  }),
);

test('Redis dies, and is back empty', { timeout: 150_000 }, (t) =>
  play(t, {
    fires: 'StoreDown',
    pages: ['StoreDown'],
    goesWrong: () => fleet.redis.kill(),
    shows: [
      ['overview: Redis, as each node sees it', (series) => series.filter(({ value }) => value === 0).length >= 3],
      ['redis: Errors, by kind', (series) => series.some(({ labels, value }) => labels.kind === 'unreachable' && value > 0)],
    ],
    isMended: () => fleet.redis.start(),
    // It was emptied, so the relay looks through all of it.
    showsThen: ['redis: Sweeps', (series) => series[0].value > 1],
  }),
);

test('a certificate is half replaced', { timeout: 150_000 }, (t) =>
  play(t, {
    fires: 'CertificateRefused',
    pages: [],
    goesWrong: () => writeFileSync(certificate.key, 'no key'),
    shows: [['overview: Something refused or frozen', (series) => series.some(({ value }) => value === 1)]],
    isMended: () => certificate.renew(),
  }),
);

test('an edge is full, strangers crowd another and the relay, and somebody does not read', { timeout: 150_000 }, async (t) => {
  const flood = new Flood(fleet);
  await play(t, {
    fires: 'EdgeFull',
    pages: [],
    goesWrong: () => flood.begin(),
    shows: [
      ['overview: Each edge against its limit', (series) => series.some(({ value }) => value >= 0.9)],
      [
        'overview: Connections turned away',
        (series) => series.some(({ labels, value }) => labels.reason === 'full' && value > 0),
      ],
      ['clients: Slow consumers', (series) => series.some(({ value }) => value > 0)],
      ['relay: Strangers at the door', (series) => series.some(({ value }) => value > 0)],
      [
        'clients: Newcomers that had to make room',
        (series) => series.some(({ labels, value }) => labels.door === 'websocket' && value > 0),
      ],
    ],
    firesBeside: 'NewcomersEnded',
    isMended: () => flood.end(),
  });
});

test('all nodes are restarted in turn, and nobody is woken', { timeout: 150_000 }, async (t) => {
  await quiet();
  const watch = new Watch([]);
  let longest = 0;
  for (const server of fleet.servers) {
    const begun = now();
    await server.stop();
    await server.start();
    longest = Math.max(longest, now() - begun);
    await fleet.settled();
  }
  await pause(CALM);
  await watch.end();
  t.diagnostic(`away for ${longest.toFixed(1)} s at most; fired: ${[...watch.seen.keys()].join(', ') || 'nothing'}`);
  // A machine that is busy with others may restart a node so slowly that somebody had to be woken.
  if (longest < AWAY_MAX) assert.deepEqual(watch.wrong, []);
});

test('every panel showed something of it', { timeout: 60_000 }, async (t) => {
  const [from, to] = [played[0].calm[0], played.at(-1).storm[1]];
  const changes = [];
  for (const panel of panels(CLUSTER)) {
    const results = await Promise.all(panel.queries.map((query) => prometheus.range(query, from, to)));
    const change = Math.max(...played.flatMap(({ calm, storm }) => results.map((series) => changeOf(series, calm, storm))));
    changes.push({ title: `${panel.page}: ${panel.title}`, change });
  }
  const least = changes.filter(({ title }) => !CONSTANT.has(title)).toSorted((a, b) => a.change - b.change);
  for (const { title, change } of least.slice(0, 12)) t.diagnostic(`${title} changed by ${Math.round(100 * change)} %`);
  assert.deepEqual(
    [...CONSTANT.keys()].filter((title) => !changes.some((one) => one.title === title)),
    [],
    'nobody has these panels',
  );
  assert.deepEqual(
    least.filter(({ change }) => change < CHANGE),
    [],
  );
});

test(
  'every metric of dashboards, rules and runbooks exists, and every metric is shown and documented',
  { timeout: 60_000 },
  async () => {
    const texts = await Promise.all([fleet.relay, fleet.edges[0]].map(async (server) => (await server.metrics()).text));
    const exposed = new Set(texts.flatMap((text) => [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name)));
    const rules = await prometheus.rules();
    const recorded = new Set(rules.filter(({ type }) => type === 'recording').map(({ name }) => name));
    const isKnown = (name) =>
      ['up', 'ALERTS'].includes(name) ||
      [name, name.replace(/_(bucket|sum|count)$/, '')].some((one) => recorded.has(one) || exposed.has(one));
    const advised = runbookQueries();
    const shown = panels(CLUSTER).flatMap((panel) => panel.queries);
    const queries = [...shown, ...rules.map(({ query }) => query), ...advised];
    assert.deepEqual(
      [...new Set(queries.flatMap(metricNames))].filter((name) => !isKnown(name)),
      [],
    );
    const onPanels = new Set(shown.flatMap(metricNames).map((name) => name.replace(/_(bucket|sum|count)$/, '')));
    assert.deepEqual(
      [...exposed].filter((name) => !onPanels.has(name)),
      [],
      'no panel shows these',
    );
    // What a runbook says can be asked; whether it has an answer depends on what goes wrong.
    await Promise.all(advised.map((query) => prometheus.query(query)));
    const page = readFileSync(path.join(ROOT, 'docs/metrics.md'), 'utf8');
    assert.deepEqual(
      [...exposed].filter((name) => !page.includes(`\`${name}\``)),
      [],
    );
  },
);

/**
 * Something goes wrong, and is mended. `fires` must, and `firesBeside`, and `firesThen` when it is mended; of pages only
 * `pages` may. `shows` are panels with what they have to show, `showsThen` is one that shows it when it is mended.
 */
async function play(t, { fires, firesBeside, firesThen, pages, goesWrong, shows, isMended, showsThen }) {
  await quiet();
  const calm = [now(), 0];
  await pause(CALM);
  calm[1] = now();
  const watch = new Watch(pages);
  const begun = now();
  await goesWrong();
  await Promise.all([
    ...[fires, firesBeside]
      .filter(Boolean)
      .map(async (name) => t.diagnostic(`${name} fires after ${await watch.fires(name, begun)} s`)),
    ...shows.map(async ([title, isShown]) => {
      const scrapes = await shown(title, isShown, begun);
      t.diagnostic(`${title}: after ${scrapes} scrapes`);
      assert.ok(scrapes <= SCRAPES_MAX, `${title} took ${scrapes} scrapes`);
    }),
  ]);
  await isMended();
  const mended = now();
  await fleet.settled();
  if (firesThen) t.diagnostic(`${firesThen} fires ${await watch.fires(firesThen, mended)} s after it was mended`);
  if (showsThen) t.diagnostic(`${showsThen[0]}: after ${await shown(...showsThen, mended)} scrapes`);
  await until(`${fires} to be over`, async () => !names(await prometheus.firing()).includes(fires), ALERT);
  // What was just seen is in the last of the seconds that are looked at.
  await pause(2000 * SCRAPE);
  played.push({ name: t.name, calm, storm: [begun, now()] });
  await watch.end();
  t.diagnostic(`fired: ${[...watch.seen.keys()].join(', ')}`);
  assert.deepEqual(watch.wrong, [], 'pages that have nothing to do with it');
}

/** Looks all the time what fires. */
class Watch {
  /** Name → when it was first seen. */
  seen = new Map();
  /** What must not. */
  wrong = [];
  #isOver = false;

  constructor(pages) {
    this.pages = pages;
    this.running = this.#run();
    this.running.catch(() => {});
  }

  async fires(name, since) {
    await until(`${name} to fire`, () => this.seen.has(name), ALERT).catch(async (error) => {
      throw new Error(`${error.message}; what fires: ${names(await prometheus.firing())}`);
    });
    return (this.seen.get(name) - since).toFixed(1);
  }

  async end() {
    this.#isOver = true;
    await this.running;
  }

  async #run() {
    while (!this.#isOver) {
      for (const alert of await prometheus.firing()) this.#note(alert);
      await pause(200);
    }
  }

  #note(alert) {
    const { name, severity, labels, summary, description, runbook_url } = alert;
    if (this.seen.has(name)) return;
    this.seen.set(name, now());
    if (severity === 'page' && !this.pages.includes(name)) this.wrong.push(alert);
    assert.match(description, /\d/, `${name} says how much: ${description}`);
    assert.ok(`${summary}${description}`.includes(labels.instance ?? labels.cluster), `${name} says where: ${description}`);
    assert.doesNotMatch(`${summary}${description}`, /no value|%!/, name);
    readFileSync(path.join(ROOT, runbook_url));
  }
}

/** Waits until no page fires any more. */
async function quiet() {
  await until('no page to fire', async () => (await prometheus.firing()).every(({ severity }) => severity !== 'page'), ALERT);
}

/** How many scrapes after `begun` a panel's first query shows it. */
async function shown(title, isShown, begun) {
  const panel = panels(CLUSTER).find(({ page, title: own }) => `${page}: ${own}` === title);
  assert.ok(panel, `there is a panel ${title}`);
  let last;
  const look = async () => {
    last = (await Promise.all(panel.queries.map((query) => prometheus.query(query)))).flat();
    return isShown(last);
  };
  await until(`${title} to show it`, look, SCRAPES_MAX * SCRAPE * 1000).catch((error) => {
    throw new Error(`${error.message}: ${JSON.stringify(last)}`);
  });
  return Math.ceil((now() - begun) / SCRAPE);
}

/** What runbooks tell to ask, a query a line. */
function runbookQueries() {
  const folder = path.join(ROOT, 'dashboards/runbooks');
  const texts = readdirSync(folder).map((file) => readFileSync(path.join(folder, file), 'utf8'));
  return texts.flatMap((text) => text.match(/```promql\n([^]*?)\n```/)[1].split('\n'));
}

/** Queries of panels, and selectors of rules, that give nothing, or nothing that is a number. */
async function unanswered() {
  const asked = [
    ...panels(CLUSTER).flatMap(({ page, title, queries }) => queries.map((query) => ({ query, where: `${page}: ${title}` }))),
    ...(await prometheus.rules()).flatMap(({ name, type, query }) => {
      if (type === 'recording') return [{ query, where: name }];
      // An alert is empty while all is well: what it compares must not be.
      return selectors(query)
        .filter((one) => !one.includes('cluster="dev"'))
        .map((one) => ({ query: one, where: name }));
    }),
  ];
  const left = [];
  for (const { query, where } of asked) {
    const series = await prometheus.query(query);
    if (series.every(({ value }) => Number.isNaN(value))) left.push(`${where}: ${query}`);
  }
  return left;
}

/** How far some series left, in the storm, what it was in the calm, as a share of that; all of it where it came or went. */
function changeOf(series, [calmFrom, calmTo], [from, to]) {
  const within = (points, least, most) =>
    points.filter(([at, value]) => least <= at && at <= most && !Number.isNaN(value)).map(([, value]) => value);
  const changes = series.map(({ points }) => {
    const [calm, storm] = [within(points, calmFrom, calmTo), within(points, from, to)];
    if (calm.length === 0 || storm.length === 0) return calm.length === storm.length ? 0 : Infinity;
    const [least, most] = [Math.min(...calm), Math.max(...calm)];
    const left = Math.max(least - Math.min(...storm), Math.max(...storm) - most);
    return left <= 0 ? 0 : left / Math.max(Math.abs(least), Math.abs(most));
  });
  return Math.max(0, ...changes);
}

/** A room with a reader and a writer, which the others do not have. */
async function company(edge) {
  const [reader, writer] = await Promise.all([login(edge, 'reader'), login(edge, 'writer')]);
  await reader.ask({ subscribe: { channel: 'room' } });
  const timer = setInterval(() => writer.send(writer.command({ publish: { channel: 'room', data: 'hello' } })), 100);
  return [reader, writer, { close: () => clearInterval(timer) }];
}

/**
 * One edge is filled with people, who talk, and asked for more places; at another, and at the relay, strangers come all the
 * time and say nothing; and somebody asks for more than he reads.
 */
class Flood {
  #clients = [];
  /** Who does not talk. */
  #others = [];
  #isOver = false;
  #packets = dgram.createSocket('udp4');

  constructor({ edges: [full, crowded, other], relay }) {
    Object.assign(this, { full, crowded, other, relay });
  }

  begin() {
    this.running = Promise.all([this.#fill(), this.#crowd(), this.#knock(), this.#stall()]);
    this.running.catch(() => {});
  }

  async end() {
    this.#isOver = true;
    await this.running;
    this.#packets.close();
    for (const each of [...this.#clients, ...this.#others]) each.close();
  }

  /** People who log in, and more when there is no place left. */
  async #fill() {
    for (let count = 0; !this.#isOver; count += 1) {
      const client = await login(this.full, `crowd-${count}`).catch(() => undefined);
      if (client) this.#clients.push(client);
      for (const each of this.#clients) each.send(each.command({ publish: { channel: 'room', data: 'is it full?' } }));
      await pause(client ? 20 : 200);
    }
  }

  /** Connections that are upgraded, and then nothing. */
  async #crowd() {
    while (!this.#isOver) {
      const stranger = new Raw(this.crowded.url);
      this.#others.push(stranger);
      await Promise.race([stranger.opened.catch(() => {}), stranger.closed]);
      await pause(20);
    }
  }

  /** First packets of handshakes at the relay's door, and then nothing. */
  async #knock() {
    const { host, port } = hostAndPort(this.relay.settings.listen);
    while (!this.#isOver) {
      this.#packets.send(initial(randomBytes(8)), port, host);
      await pause(50);
    }
  }

  /** Somebody is sent more than the kernel and the edge keep for him, and reads none of it, again and again. */
  async #stall() {
    const writer = await login(this.other, 'torrent');
    this.#others.push(writer);
    while (!this.#isOver) {
      const reader = await login(this.other, 'stalled');
      this.#others.push(reader);
      reader.socket.pause();
      // 60 KB each; 256 KiB wait in the edge, and some MB in the kernel.
      for (let count = 0; count < 200 && !this.#isOver; count += 1) {
        await writer.ask({ publish: { channel: '#stalled', data: 'x'.repeat(60_000) } });
      }
      await pause(200);
    }
  }
}

const names = (alerts) => alerts.map(({ name }) => name);
