// A real cluster under load, a real Prometheus with our rules, and things that go wrong: the right alert fires, of the right
// node, and no other, be it a page or a ticket; the right panel shows it within a few scrapes; and no query of any panel or
// rule comes back empty.
//
// Time passes ten times faster for rules and panels (lib/shorten.mjs). Every wait has a wide deadline, and what comes within
// how many scrapes is counted by the scrapes that there were. Where the machine itself stood still, which Prometheus and the
// nodes have seen as well, a scenario that went wrong is skipped, and says so.
//
// That an event loop is stuck in a process that lives cannot be had by a signal; cases.mjs plays it.

import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import dgram from 'node:dgram';
import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { after, before, test } from 'node:test';

import { login } from '../node/lib/abuse.mjs';
import { CertificateFiles } from '../node/lib/certificate.mjs';
import { Fleet } from '../node/lib/fleet.mjs';
import { ROOT, freePorts } from '../node/lib/process.mjs';
import { initial } from '../node/lib/quic.mjs';
import { Raw } from '../node/lib/raw.mjs';
import { hostAndPort } from '../node/lib/terminal.mjs';
import { Traffic } from '../node/lib/traffic.mjs';
import { pause, until } from '../node/lib/wait.mjs';
import { RUNBOOKS } from './lib/alerts.mjs';
import { metricNames, panels, selectors } from './lib/panels.mjs';
import { Path } from './lib/path.mjs';
import { Prometheus, SCRAPE, now } from './lib/prometheus.mjs';

const CLUSTER = 'tests';

/** Few places, so that few clients fill an edge. */
const CLIENTS_MAX = 60;

/** How long an alert and a panel may take, in milliseconds; the most that is seen is a third of it. */
const ALERT = 90_000;

/** Within how many scrapes a panel has to show a fault that the scrape itself meets. */
const AT_ONCE = 2;

/** The same for a link that carries nothing: the edge believes it for 3 s. */
const LINK = 6;

/** The same for messages over it: their senders are told after 4 s. */
const VERDICT = 10;

/** The same for a certificate: nodes look at its files every 10 s. */
const FILES = 15;

/** The same for crowds, who take their time to come. */
const CROWD = 30;

/** What share of the packets between an edge and its relay is lost, in each direction, on a bad day. */
const LOSS = 0.2;

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
  ['edge: UDP sockets', 'what the kernel gave at the start'],
  ['redis: Strays', 'mistakes of Redis that do not happen here'],
  ['redis: Ghosts', '0 for ever'],
  ['relay: The machine', 'what the kernel gave at the start'],
]);

/** Panels that may change or not, and why. */
const BY_CHANCE = new Map([
  ['edge: Inputs that wait for the event loop', 'a scrape finds them only where an edge has too much to do'],
  ['edge: Memory', '60 clients take less than an edge has anyhow'],
  ['edge: Threads', 'those that wait for disks come and go as they like'],
  ['edge: Address space', 'the allocator takes it in large pieces'],
  ['redis: Memories differ', 'only in the moment of a death'],
  ['relay: Inputs a turn', 'they come one by one to a relay that has little to do'],
  ['relay: Inputs that wait for the event loop of the relay', 'a scrape finds them only where the relay has too much to do'],
  ['relay: What was lost', 'only in the moment of a death'],
  ['relay: Memory', 'three edges take less than a relay has anyhow'],
  ['overview: Event loops that turn', 'a scrape finds one late only in the moment after it stood still'],
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
    fleet.edges[1].settings['tls-listen'] = `127.0.0.1:${(await freePorts(1))[0]}`;
    traffic = new Traffic(fleet);
    await fleet.start();
    await traffic.begin(PEOPLE);
    traffic.hop('hopper', 1000);
    traffic.hop('runner', 500);
    prometheus = await Prometheus.start(CLUSTER, {
      'causeway-relay': [instance(fleet.relay)],
      'causeway-edge': fleet.edges.map(instance),
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

test('under load, nothing fires, and every query of every panel and rule has an answer', { timeout: 120_000 }, async (t) => {
  const begun = now();
  await pause(CALM);
  let left;
  const isAnswered = async () => (left = await unanswered()).length === 0;
  await until('an answer to each query', isAnswered, ALERT).catch(() => assert.deepEqual(left, []));
  for (const { name, query, health, lastError } of await prometheus.rules())
    assert.equal(health, 'ok', `${name}: ${query}: ${lastError}`);
  const firing = await prometheus.firing();
  assert.deepEqual(
    firing.filter(({ severity }) => severity === 'none').map(({ name, labels }) => [name, labels.cluster]),
    [['Watchdog', CLUSTER]],
  );
  await judge(t, begun, [], words(firing.filter(({ severity }) => severity !== 'none')));
});

test('an edge is killed', { timeout: 240_000 }, (t) => {
  const edge = fleet.edges[2];
  return play(t, {
    faulty: [edge],
    fires: [alert('EdgeDown', edge)],
    goesWrong: () => edge.kill(),
    shows: [
      ['overview: Nodes that answer', AT_ONCE, [edge], (series) => of(series, edge).every(({ value }) => value === 0)],
      ['overview: Edges that take clients', AT_ONCE, [edge], (series) => series.length === 1 && series[0].value < 0.7],
      ['overview: Places left if this edge dies', AT_ONCE, [edge], (series) => of(series, edge).length === 0],
    ],
    isMended: () => edge.start(),
  });
});

test('an edge stands still, goes on, and gets more packets than it can keep', { timeout: 240_000 }, (t) => {
  const edge = fleet.edges[1];
  return play(t, {
    faulty: [edge],
    fires: [alert('EdgeDown', edge)],
    goesWrong: () => edge.freeze(),
    shows: [
      ['overview: Nodes that answer', AT_ONCE, [edge], (series) => of(series, edge).every(({ value }) => value === 0)],
      ['relay: Edges linked', LINK, [fleet.relay], (series) => series[0].value === 2],
    ],
    isMended: async () => {
      edge.thaw();
      await drench(edge, edge.settings['tls-listen']);
    },
    firesThen: [alert('EdgeFroze', edge), alert('UdpDrops', edge, { socket: 'webtransport' })],
  });
});

test('the relay stands still, goes on, and gets more packets than it can keep', { timeout: 240_000 }, (t) =>
  play(t, {
    faulty: [fleet.relay],
    fires: [alert('RelayDown', fleet.relay)],
    goesWrong: () => fleet.relay.freeze(),
    shows: [
      [
        'overview: Nodes that answer',
        AT_ONCE,
        [fleet.relay],
        (series) => of(series, fleet.relay).every(({ value }) => value === 0),
      ],
      ['edge: Linked', LINK, fleet.edges, (series) => series.length === 3 && series.every(({ value }) => value === 0)],
      [
        'overview: Messages with a known end',
        VERDICT,
        fleet.edges,
        (series) => series.length === 1 && series[0].value < 0.95,
      ],
    ],
    isMended: async () => {
      fleet.relay.thaw();
      await drench(fleet.relay, fleet.relay.settings.listen);
    },
    firesThen: [alert('RelayFroze', fleet.relay), alert('UdpDrops', fleet.relay, { socket: 'link' })],
  }),
);

test('no packets pass between an edge and the relay', { timeout: 240_000 }, (t) => {
  const edge = fleet.edges[2];
  return play(t, {
    fires: [alert('EdgeUnlinked', edge)],
    // Its people cannot write to others, and are told that this is not known.
    may: [alert('UnknownVerdicts')],
    goesWrong: () => (way.loss = 1),
    shows: [
      ['edge: Linked', LINK, [edge], (series) => of(series, edge).every(({ value }) => value === 0)],
      ['relay: Edges linked', LINK, [fleet.relay], (series) => series[0].value === 2],
    ],
    isMended: () => (way.loss = 0),
  });
});

test('a part of the packets between an edge and the relay is lost', { timeout: 240_000 }, (t) => {
  const edge = fleet.edges[2];
  return play(t, {
    fires: [alert('LinkLosesPackets', edge)],
    // What is lost is sent again, and later.
    may: [alert('CanarySlow', edge)],
    goesWrong: () => (way.loss = LOSS),
    shows: [
      ['relay: Packets lost', VERDICT, [edge], (series) => of(series, edge).some(({ value }) => value > 0.02)],
      ['relay: Congestion', VERDICT, [edge], (series) => of(series, edge).some(({ value }) => value > 0)],
    ],
    isMended: () => (way.loss = 0),
  });
});

/** What panels show of a Redis that is away, which is an error of this kind. */
const showsRedisAway = (kind) => [
  // Somebody asks it all the time whether people who are absent are anywhere.
  ['redis: As edges see it', AT_ONCE, fleet.edges, (series) => series.some(({ value }) => value === 0)],
  ['overview: Redis, as each node sees it', LINK, fleet.servers, (series) => series.filter(({ value }) => value === 0).length >= 3],
  ['redis: Errors, by kind', LINK, fleet.servers, (series) => series.some(({ labels, value }) => labels.kind === kind && value > 0)],
];

test('Redis stands still, and goes on', { timeout: 240_000 }, (t) =>
  play(t, {
    fires: [alert('StoreDown')],
    goesWrong: () => fleet.redis.hang(),
    shows: showsRedisAway('timeout'),
    isMended: () => fleet.redis.goOn(),
  }),
);

test('Redis dies, and is back empty', { timeout: 240_000 }, (t) =>
  play(t, {
    fires: [alert('StoreDown')],
    // What an empty Redis does not know counts after 5 s, which here are nearly the minute of the alert.
    may: [alert('RelayIncomplete', fleet.relay)],
    goesWrong: () => fleet.redis.kill(),
    shows: showsRedisAway('unreachable'),
    isMended: () => fleet.redis.start(),
    // It was emptied, so the relay looks through all of it.
    showsThen: ['redis: Sweeps', CROWD, [fleet.relay], (series) => series[0].value > 1],
  }),
);

test('a certificate is half replaced', { timeout: 240_000 }, (t) =>
  play(t, {
    fires: fleet.edges.map((edge) => alert('CertificateRefused', edge, { certificate: 'public' })),
    goesWrong: () => writeFileSync(certificate.key, 'no key'),
    shows: [['overview: Certificates that are refused', FILES, fleet.edges, (series) => series.some(({ value }) => value === 1)]],
    isMended: () => certificate.renew(),
  }),
);

test('an edge is full, strangers crowd another and the relay, and somebody does not read', { timeout: 240_000 }, async (t) => {
  const flood = new Flood(fleet);
  const [full, crowded, other] = fleet.edges;
  await play(t, {
    fires: [alert('EdgeFull', full), alert('NewcomersEnded', crowded)],
    may: [
      alert('EdgeNearlyFull', full),
      alert('EdgeNotReady', full),
      // A third of the places of the other two is not enough for those of a full one.
      alert('HeadroomGone'),
      alert('SlowConsumers', other),
      alert('StrangersAtRelay', fleet.relay),
    ],
    goesWrong: () => flood.begin(),
    shows: [
      ['overview: Each edge against its limit', CROWD, [full], (series) => of(series, full).some(({ value }) => value >= 0.9)],
      [
        'overview: Connections turned away',
        CROWD,
        [full],
        (series) => series.some(({ labels, value }) => labels.reason === 'full' && value > 0),
      ],
      ['clients: Slow consumers', CROWD, [other], (series) => of(series, other).some(({ value }) => value > 0)],
      ['relay: Strangers at the door', CROWD, [fleet.relay], (series) => series.some(({ value }) => value > 0)],
      [
        'clients: Newcomers that had to make room',
        CROWD,
        [crowded],
        (series) => series.some(({ labels, value }) => labels.door === 'websocket' && value > 0),
      ],
    ],
    isMended: () => flood.end(),
  });
});

test('all nodes are restarted in turn, and nobody is woken', { timeout: 240_000 }, async (t) => {
  await quiet();
  const begun = now();
  const watch = await Watch.begin([]);
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
  t.diagnostic(`away for ${longest.toFixed(1)} s at most; fired: ${watch.names.join(', ') || 'nothing'}`);
  if (longest >= AWAY_MAX) return t.skip(`the machine is so busy that a node was away for ${longest.toFixed(1)} s`);
  await judge(t, begun, fleet.servers, words(watch.wrong.filter(({ severity }) => severity === 'page')));
});

test('every panel showed something of it', { timeout: 60_000 }, async (t) => {
  const [from, to] = [played[0].calm[0], played.at(-1).storm[1]];
  const changes = new Map();
  for (const panel of panels(CLUSTER)) {
    const results = await Promise.all(panel.queries.map((query) => prometheus.range(query, from, to)));
    const change = Math.max(...played.flatMap(({ calm, storm }) => results.map((series) => changeOf(series, calm, storm))));
    changes.set(`${panel.page}: ${panel.title}`, change);
  }
  const exempt = [...CONSTANT.keys(), ...BY_CHANCE.keys()];
  const least = [...changes].filter(([title]) => !exempt.includes(title)).toSorted(([, a], [, b]) => a - b);
  for (const [title, change] of least.slice(0, 12)) t.diagnostic(`${title} changed by ${Math.round(100 * change)} %`);
  for (const title of exempt) t.diagnostic(`exempt: ${title} changed by ${Math.round(100 * changes.get(title))} %`);
  assert.deepEqual(
    exempt.filter((title) => !changes.has(title)),
    [],
    'nobody has these panels',
  );
  assert.deepEqual(
    least.filter(([, change]) => change < CHANGE),
    [],
    'nothing changed these',
  );
  assert.deepEqual(
    [...CONSTANT.keys()].filter((title) => changes.get(title) >= CHANGE),
    [],
    'these are said to be constant, and changed',
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
 * Something goes wrong with the nodes `faulty`, and is mended. All of `fires` must, and of `firesThen` when it is mended; of
 * others, pages and tickets, only `may`. `shows` has panels, within how many scrapes of which nodes they must show it, and
 * what; `showsThen` is one that shows it when it is mended.
 */
async function play(t, { faulty = [], fires, may = [], firesThen = [], goesWrong, shows, isMended, showsThen }) {
  await quiet();
  const calm = [now(), 0];
  await pause(CALM);
  calm[1] = now();
  const watch = await Watch.begin([...fires, ...firesThen, ...may, AFTERMATH]);
  const slow = [];
  const look = async ([title, scrapesMax, servers, isShown], since) => {
    const scrapes = await shown(title, servers, isShown, since);
    t.diagnostic(`${title}: after ${scrapes} scrapes`);
    if (scrapes > scrapesMax) slow.push(`${title} took ${scrapes} scrapes, not ${scrapesMax}`);
  };
  const hear = async (one, since) => t.diagnostic(`${word(one)} fires after ${await watch.fires(one, since)} s`);
  const begun = now();
  await goesWrong();
  await Promise.all([...fires.map((one) => hear(one, begun)), ...shows.map((one) => look(one, begun))]);
  const mended = now();
  await isMended();
  await fleet.settled();
  await Promise.all([...firesThen.map((one) => hear(one, mended)), ...(showsThen ? [look(showsThen, mended)] : [])]);
  const isOver = async () => !(await prometheus.firing()).some((one) => fires.some((wanted) => isLike(one, wanted)));
  await until(`${fires.map(word)} to be over`, isOver, ALERT);
  // What was just seen is in the last of the seconds that are looked at.
  await pause(2000 * SCRAPE);
  played.push({ name: t.name, calm, storm: [begun, now()] });
  await watch.end();
  t.diagnostic(`fired: ${watch.names.join(', ')}`);
  await judge(t, calm[0], faulty, [...slow, ...words(watch.wrong)]);
}

/** Nothing may be wrong since `begun`; but where the machine stood still meanwhile, nobody can say whose fault it is. */
async function judge(t, begun, faulty, wrong) {
  const stalls = wrong.length > 0 ? await stallsSince(begun, faulty) : [];
  if (stalls.length > 0) return t.skip(`the machine stood still (${stalls.join('; ')}), and so: ${wrong.join('; ')}`);
  assert.deepEqual(wrong, []);
}

/** Whom Prometheus could not read though he lives, and who found that he stood still, of nodes that are not `faulty`. */
async function stallsSince(begun, faulty) {
  const stalls = [];
  for (const server of fleet.servers.filter((one) => !faulty.includes(one) && one.isRunning)) {
    const where = `{instance="${instance(server)}"}`;
    const unread = (await prometheus.samples(`up${where}`, begun)).filter(([, value]) => value === 0).length;
    if (unread > 0) stalls.push(`${server.name} was not read ${unread} times`);
    const freezes = (await prometheus.samples(`${server.kind}_freezes_total${where}`, begun)).map(([, value]) => value);
    if (freezes.at(-1) > freezes[0]) stalls.push(`${server.name} froze`);
  }
  return stalls;
}

/** An alert as it must come: its name, whose it is (nobody's: the cluster's), and further labels. */
function alert(name, server, labels = {}) {
  return { name, labels: { cluster: CLUSTER, ...(server && { instance: instance(server) }), ...labels } };
}

/** It looks back for an hour, which here has the scenarios before in it. */
const AFTERMATH = alert('UnknownVerdictsLinger');

const isLike = (one, wanted) =>
  one.name === wanted.name &&
  one.labels.instance === wanted.labels.instance &&
  Object.entries(wanted.labels).every(([label, value]) => one.labels[label] === value);

const word = ({ name, labels }) => `${name} (${labels.instance ?? labels.cluster})`;
const words = (alerts) => alerts.map(word);

/** What a node is called in metrics. */
const instance = ({ admin }) => new URL(admin).host;

/** The series of a node. */
const of = (series, server) => series.filter(({ labels }) => labels.instance === instance(server));

/** Looks all the time what fires. */
class Watch {
  /** What was seen to fire, each with when that was. */
  seen = [];
  /** What must not. */
  wrong = [];
  #isOver = false;

  /** Whatever fires from now on must be one of `allowed`. */
  static async begin(allowed) {
    return new Watch(allowed, await prometheus.firing());
  }

  constructor(allowed, before) {
    this.allowed = allowed;
    this.before = before;
    this.running = this.#run();
    // Whoever waits hears of it.
    this.running.catch(() => {});
  }

  get names() {
    return words(this.seen);
  }

  /** How many seconds after `since` an alert first fired, as soon as it does. */
  async fires(wanted, since) {
    const find = () => this.seen.find((one) => isLike(one, wanted));
    const fired = until(`${word(wanted)} to fire`, find, ALERT).catch(async (error) => {
      throw new Error(`${error.message}; what fires: ${words(await prometheus.firing())}`);
    });
    const { at } = await Promise.race([fired, this.running.then(() => fired)]);
    return (at - since).toFixed(1);
  }

  async end() {
    this.#isOver = true;
    await this.running;
  }

  async #run() {
    while (!this.#isOver) {
      for (const one of await prometheus.firing()) this.#note(one);
      await pause(200);
    }
  }

  #note(one) {
    if ([...this.before, ...this.seen].some((known) => isLike(one, known))) return;
    const { name, labels, summary, description, runbook_url } = one;
    this.seen.push({ ...one, at: now() });
    if (!this.allowed.some((wanted) => isLike(one, wanted))) this.wrong.push(one);
    assert.match(description, /\d/, `${name} says how much: ${description}`);
    assert.ok(`${summary}${description}`.includes(labels.instance ?? labels.cluster), `${name} says where: ${description}`);
    assert.doesNotMatch(`${summary}${description}`, /no value|%!/, name);
    readFileSync(path.join(ROOT, runbook_url.replace(RUNBOOKS, 'dashboards/runbooks')));
  }
}

/** Waits until no page fires any more. */
async function quiet() {
  await until('no page to fire', async () => (await prometheus.firing()).every(({ severity }) => severity !== 'page'), ALERT);
}

/** How often each of `servers` had been scraped since `begun` when a panel first showed it. */
async function shown(title, servers, isShown, begun) {
  const panel = panels(CLUSTER).find(({ page, title: own }) => `${page}: ${own}` === title);
  assert.ok(panel, `there is a panel ${title}`);
  let last;
  const isShownAt = async (time) => {
    last = (await Promise.all(panel.queries.map((query) => prometheus.query(query, time)))).flat();
    return isShown(last);
  };
  await until(`${title} to show it`, () => isShownAt(), ALERT).catch((error) => {
    throw new Error(`${error.message}: ${JSON.stringify(last)}`);
  });
  const scraped = await Promise.all(servers.map((server) => prometheus.samples(`up{instance="${instance(server)}"}`, begun)));
  const times = Array.from({ length: Math.min(...scraped.map(({ length }) => length)) }, (_, at) =>
    Math.max(...scraped.map((samples) => samples[at][0])),
  );
  for (const [at, time] of times.entries()) if (await isShownAt(time)) return at + 1;
  return times.length + 1;
}

/** After some scrapes a node stands still for a moment, in which more packets come than the kernel keeps for a socket of his. */
async function drench(server, address) {
  await pause(3000 * SCRAPE);
  const { host, port } = hostAndPort(address);
  const socket = dgram.createSocket('udp4');
  const packet = randomBytes(1200);
  server.freeze();
  for (let count = 0; count < 6000; count += 1) await new Promise((resolve) => socket.send(packet, port, host, resolve));
  server.thaw();
  socket.close();
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
