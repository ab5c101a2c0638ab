// The console in Chromium: of real clusters, and of a scripted relay with a hundred edges.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';

import { startBrowser } from './lib/browser.mjs';
import { cluster, startRelay } from './lib/relay.mjs';
import { SECRET, startDev } from '../node/lib/cluster.mjs';
import { withFleet } from '../node/lib/fleet.mjs';
import { Raw } from '../node/lib/raw.mjs';
import { tokenFor } from '../node/lib/token.mjs';

/** Longer than anything takes on a busy machine. */
const SOON = 60_000;

let browser;

before(async () => {
  browser = await startBrowser({ viewport: { width: 1280, height: 900 } });
});
after(() => browser?.stop());

afterEach(async () => {
  const [first, ...pages] = browser.context.pages();
  for (const page of pages) await page.close();
  await first.goto('about:blank');
});

/** Opens a console; notes what it complains of in `page.troubles`. */
async function open(url) {
  const page = await browser.context.newPage();
  page.setDefaultTimeout(SOON);
  page.troubles = [];
  page.on('pageerror', (error) => page.troubles.push(`${error}`));
  page.on('console', (message) => message.type() === 'error' && page.troubles.push(message.text()));
  await page.goto(url);
  await stateIs(page, 'Live');
  return page;
}

const login = (edge, user) => Raw.login(edge.url, user, { token: tokenFor(user, {}, { secret: SECRET }) });
const stateIs = (page, state) => page.waitForFunction((state) => document.getElementById('state').textContent === state, state);
/** Waits until the row of an edge, cell by cell, is as `fits` wants it. */
const rowIs = (page, name, at, pattern) =>
  page.waitForFunction(
    ([name, at, source]) => {
      const row = [...document.querySelectorAll('#rows tr')].find((row) => row.cells[0].textContent === name);
      return row !== undefined && new RegExp(source).test(row.cells[at].textContent);
    },
    [name, at, pattern.source],
  );
const eventsOf = (page, edge) =>
  page.locator('#events li').filter({ hasText: edge }).locator('.badge').allTextContents();
const tile = (page, name) => page.locator('.tile').filter({ has: page.getByText(name, { exact: true }) });
const look = async (page, user) => {
  await page.keyboard.press('Escape');
  await page.locator('#find-user').fill(user);
  await page.keyboard.press('Enter');
  await page.locator('#found:not([data-asking])').waitFor();
};
const fine = (page) => assert.deepEqual(page.troubles, []);

test('clients and traffic of a real cluster appear, and users are found', { timeout: 180_000 }, async () => {
  const dev = await startDev({ 'max-clients': 20 });
  try {
    const page = await open(`${dev.relay.admin}/console`);
    await rowIs(page, 'edge-1', 1, /^linked$/);
    await rowIs(page, 'edge-2', 2, /^0 \/ 20$/);
    const hostile = `<img src=x onerror="document.title='broken'">'"&`;
    const [alice] = await Promise.all([
      Raw.login(dev.edges[0].url, 'alice'),
      Raw.login(dev.edges[1].url, 'bob'),
      ...Array.from({ length: 9 }, () => Raw.login(dev.edges[1].url, hostile)),
    ]);
    await rowIs(page, 'edge-1', 2, /^1 \/ 20$/);
    await rowIs(page, 'edge-2', 2, /^10 \/ 20$/);
    await page.waitForFunction(() => {
      const fill = [...document.querySelectorAll('.edge')].map((edge) => Number(edge.querySelector('.fill').getAttribute('height')));
      return fill[1] > 5 * fill[0] && fill[0] > 0;
    });
    let isOver = false;
    const talking = (async () => {
      while (!isOver) await alice.tell('bob', 'x'.repeat(100));
    })();
    await rowIs(page, 'edge-1', 3, /[1-9]/);
    await rowIs(page, 'edge-2', 4, /[1-9]/);
    await page.locator('.flow[data-flow="some"], .flow[data-flow="fast"]').first().waitFor({ state: 'attached' });
    await tile(page, 'Messages').filter({ hasText: /[1-9][\d,.]* \/s/ }).waitFor();
    await page.waitForFunction(() => document.querySelectorAll('.plot .line').length === 5 && [...document.querySelectorAll('.plot .line.first')].every((line) => /L/.test(line.getAttribute('d'))));
    isOver = true;
    await talking;
    await rowIs(page, 'edge-1', 3, /^0$/);

    // A page over WebTransport.
    const chat = await browser.context.newPage();
    await chat.goto(`${dev.edges[0].http}/?name=carol`);
    await chat.waitForFunction(() => document.getElementById('state').textContent === 'WebTransport');
    await page.bringToFront();
    await look(page, 'carol');
    const found = page.locator('#found-clients li');
    assert.match(await found.innerText(), /^edge-1\s+WebTransport\s+since \d\d:\d\d:\d\d, \d+ s ago$/);
    await look(page, 'bob');
    assert.match(await found.innerText(), /^edge-2\s+WebSocket\s+since /);
    await Raw.login(dev.edges[0].url, '..');
    await look(page, '..');
    assert.match(await found.innerText(), /^edge-1\s+WebSocket\s+since /);
    await look(page, 'nobody');
    assert.equal(await page.locator('#found-note').textContent(), 'Connected nowhere.');
    assert.equal(await found.count(), 0);
    await look(page, hostile);
    assert.equal(await page.locator('#found-title').textContent(), hostile);
    assert.equal(await found.count(), 9);
    assert.equal(await page.locator('#found img').count(), 0);
    fine(page);
    await look(page, 'a#b');
    assert.equal(await page.locator('#found-note').textContent(), 'No user can have this name.');
    await page.locator('#found-close').click();
    assert.equal(await page.locator('#found').isVisible(), false);

    // Nobody but operators has it.
    for (const { http } of dev.edges) assert.equal((await fetch(`${http}/console`)).status, 404);
  } finally {
    await dev.stop();
  }
});

test('a killed edge is lost, then reaped; a frozen relay does not answer, and comes back', { timeout: 240_000 }, () =>
  withFleet({}, async (fleet) => {
    await fleet.start();
    const { relay, edges } = fleet;
    const bob = await login(edges[1], 'bob');
    const page = await open(`${relay.admin}/console`);
    await rowIs(page, 'edge-2', 2, /^1 \/ 500$/);
    assert.equal(await page.locator('.relay').getAttribute('data-tone'), 'good');
    await edges[1].kill();
    await bob.closed;
    // Silent for a second, lost for a third of one.
    await page.locator('.edge[data-tone="bad"]').filter({ hasText: /silent|lost/ }).waitFor();
    await rowIs(page, 'edge-2', 1, /^(silent|lost|gone)$/);
    await page.locator('#events li').filter({ hasText: 'edge-2' }).filter({ hasText: 'reaped' }).waitFor();
    assert.deepEqual((await eventsOf(page, 'edge-2')).slice(0, 2), ['reaped', 'lost']);
    await rowIs(page, 'edge-2', 1, /^gone$/);
    await edges[1].start();
    await rowIs(page, 'edge-2', 1, /^linked$/);
    await tile(page, 'Complete').filter({ hasText: 'Yes' }).waitFor();

    relay.freeze();
    await stateIs(page, 'No answer');
    assert.match(await page.locator('#trouble').textContent(), /^The relay does not answer\. What you see is \d+ s old\.$/);
    relay.thaw();
    await stateIs(page, 'Live');
    await page.locator('#trouble').waitFor({ state: 'hidden' });
    await page.locator('#events li').filter({ hasText: 'froze' }).waitFor();
    for (const { name } of edges) await rowIs(page, name, 1, /^linked$/);
    assert.match(`${await eventsOf(page, 'edge-1')}`, /^back/);
    await relay.kill();
    await stateIs(page, 'No answer');
    await relay.start();
    await stateIs(page, 'Live');
    for (const { name } of edges) await rowIs(page, name, 1, /^linked$/);
    // That nobody answered is in the console of the browser, and nothing else.
    assert.deepEqual(page.troubles.filter((text) => !/Failed to load resource/.test(text)), []);
  }));

test('a hundred edges are all shown, and updates go on', { timeout: 180_000 }, async () => {
  const hundred = cluster(100);
  let asked = 0;
  const relay = await startRelay({ edges: () => ((asked += 1), hundred.edges()), user: () => undefined });
  try {
    const page = await open(relay.url);
    await page.evaluate(() => {
      globalThis.tasks = [];
      new PerformanceObserver((list) => globalThis.tasks.push(...list.getEntries().map(({ duration }) => duration))).observe({ type: 'longtask' });
    });
    for (const width of [1280, 390]) {
      await page.setViewportSize({ width, height: 900 });
      await page.waitForFunction((width) => Math.abs(document.querySelector('.map').getBoundingClientRect().width - width) < 500, width);
      const { apart, isInside, names } = await page.evaluate(() => {
        const map = document.querySelector('.map').getBoundingClientRect();
        const discs = [...document.querySelectorAll('.edge .ring')].map((ring) => ring.getBoundingClientRect());
        const gap = (a, b) => Math.hypot(a.x - b.x, a.y - b.y) - a.width;
        const relay = document.querySelector('.relay .ring').getBoundingClientRect();
        const overlaps = (disc) => disc.right > relay.left && disc.left < relay.right && disc.bottom > relay.top && disc.top < relay.bottom;
        return {
          names: new Set([...document.querySelectorAll('.edge .name')].map(({ textContent }) => textContent)).size,
          apart: Math.min(...discs.flatMap((disc, at) => discs.slice(at + 1).map((other) => gap(disc, other)))),
          isInside: discs.every((disc) => disc.left >= map.left && disc.right <= map.right && disc.top >= map.top && disc.bottom <= map.bottom && !overlaps(disc)),
        };
      });
      assert.equal(names, 100);
      assert.ok(isInside, `${width}: all discs are in the picture, and none is behind the relay`);
      assert.ok(apart > 8, `${width}: discs are ${apart} px apart`);
      assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false, `${width}: nothing sticks out`);
      const height = await page.evaluate(() => document.querySelector('.map').getBoundingClientRect().height);
      assert.ok(height < 1600, `${width}: the picture is ${height} px tall`);
    }
    await page.setViewportSize({ width: 1280, height: 900 });
    assert.equal(await page.locator('#rows tr').count(), 100);

    // Sorted by hand, by a click, by keys.
    const first = () => page.locator('#rows tr').first().locator('th').textContent();
    assert.equal(await first(), 'edge-1');
    await page.getByRole('button', { name: 'Clients' }).click();
    const most = hundred.states.reduce((best, edge) => (edge.clients > best.clients ? edge : best)).clients;
    const clients = Number((await page.locator('#rows tr').first().locator('td').nth(1).textContent()).split(' ')[0]);
    assert.ok(clients > 0.85 * most, `${clients} of ${most}`);
    assert.equal(await page.locator('th[aria-sort="descending"]').textContent(), 'Clients');
    await page.getByRole('button', { name: 'Edge', exact: true }).focus();
    await page.keyboard.press('Enter');
    assert.equal(await first(), 'edge-1');
    await page.keyboard.press('Enter');
    assert.equal(await first(), 'edge-100');

    hundred.states[41].lost = true;
    hundred.states[42].ready = false;
    await rowIs(page, 'edge-42', 1, /^lost$/);
    await rowIs(page, 'edge-43', 1, /^not ready$/);
    await page.locator('.edge[data-tone="bad"]').filter({ hasText: 'lost' }).waitFor();
    await page.locator('.edge[data-tone="warn"]').filter({ hasText: 'not ready' }).waitFor();
    await page.locator('.row-name').first().click();
    assert.equal(await page.locator('#detail-title').textContent(), 'edge-100');
    await page.keyboard.press('Escape');
    assert.equal(await page.locator('#detail').isVisible(), false);

    const before = asked;
    await page.waitForFunction(() => (globalThis.since ??= performance.now()) + 5000 < performance.now());
    const longest = await page.evaluate(() => Math.max(0, ...globalThis.tasks));
    console.log(`100 edges: ${asked - before} updates in 5 s, the longest task ${longest} ms`);
    assert.ok(asked - before >= 3, `${asked - before} updates in 5 s`);
    fine(page);
  } finally {
    await relay.stop();
  }
});

test('a search goes on when the field is edited, and a later one ends it', { timeout: 120_000 }, async () => {
  const two = cluster(2);
  const answers = new Map();
  const found = (user, total) => ({ user, is_complete: true, total, clients: [], did_not_answer: [] });
  const relay = await startRelay({ edges: () => two.edges(), user: (user) => new Promise((resolve) => answers.set(user, resolve)) });
  try {
    const page = await open(relay.url);
    const field = page.locator('#find-user');
    const note = page.locator('#found-note');
    const isAsked = async (user) => {
      await field.fill(user);
      await field.press('Enter');
      while (!answers.has(user)) await page.waitForTimeout(20);
    };
    await isAsked('bob');
    await field.fill('somebody');
    answers.get('bob')(found('bob', 7));
    await note.filter({ hasText: '7 connections.' }).waitFor();
    assert.equal(await page.locator('#found').getAttribute('data-asking'), null);

    await isAsked('carol');
    await isAsked('dave');
    answers.get('dave')(found('dave', 3));
    await note.filter({ hasText: '3 connections.' }).waitFor();
    // Nothing: that is 404, and would be told.
    answers.get('carol')(undefined);
    await page.waitForTimeout(300);
    assert.match(await note.textContent(), /^3 connections\./);
    assert.equal(await page.locator('#found-title').textContent(), 'dave');
    fine(page);
  } finally {
    await relay.stop();
  }
});

test('refusals of long ago are told and alarm nobody; old figures stay readable', { timeout: 120_000 }, async () => {
  const two = cluster(2);
  let refused = 1000;
  let isSilent = false;
  const edges = () => {
    const told = two.edges();
    return isSilent ? undefined : { ...told, relay: { ...told.relay, refused } };
  };
  const relay = await startRelay({ edges, user: () => undefined });
  try {
    const page = await open(relay.url);
    const refusals = page.locator('.tile').filter({ hasText: 'Refused' });
    assert.match(await refusals.innerText(), /^Refused, 5 min\s+0\s+1,000 in all$/);
    assert.equal(await refusals.getAttribute('data-tone'), '');
    refused += 3;
    await page.locator('.tile[data-tone="warn"]').filter({ hasText: '1,003 in all' }).waitFor();
    assert.match(await refusals.innerText(), /^Refused, 5 min\s+3\s/);
    // An event more is an item more, and the others stay what they were.
    await page.evaluate(() => document.querySelectorAll('#events li').forEach((item) => (item.isOld = true)));
    two.events.push({ at: Date.now(), kind: 'lost', edge: 'edge-2', text: 'for a test' });
    await page.locator('#events li').first().filter({ hasText: 'for a test' }).waitFor();
    assert.equal(await page.evaluate(() => [...document.querySelectorAll('#events li')].filter(({ isOld }) => !isOld).length), 1);
    two.events.shift();
    await page.waitForFunction((n) => document.querySelectorAll('#events li').length === n, two.events.length);
    assert.equal(await page.locator('#events li').last().locator('.badge').textContent(), two.events[0].kind);
    fine(page);
    isSilent = true;
    await stateIs(page, 'No answer');
    assert.equal(await page.evaluate(() => getComputedStyle(document.querySelector('main')).opacity), '1');
  } finally {
    await relay.stop();
  }
});

test('whoever looks elsewhere asks for nothing, and is up to date when he is back', { timeout: 120_000 }, async () => {
  const two = cluster(2);
  let asked = 0;
  const relay = await startRelay({ edges: () => ((asked += 1), two.edges()), user: () => undefined });
  try {
    const page = await open(relay.url);
    await page.evaluate(() => {
      Object.defineProperty(document, 'hidden', { configurable: true, get: () => globalThis.isAway ?? false });
      globalThis.isAway = true;
      document.dispatchEvent(new Event('visibilitychange'));
    });
    // What was under way may still come.
    await page.waitForTimeout(1500);
    const before = asked;
    await page.waitForTimeout(3000);
    assert.equal(asked, before);
    await page.evaluate(() => {
      globalThis.isAway = false;
      document.dispatchEvent(new Event('visibilitychange'));
    });
    two.states[1].lost = true;
    await rowIs(page, 'edge-2', 1, /^lost$/);
    fine(page);
  } finally {
    await relay.stop();
  }
});

test('names that others chose are text, however they look', { timeout: 120_000 }, async () => {
  const evil = '<img src=x onerror=alert(1)>\u202e';
  const hostile = cluster(3, { name: (at) => `${evil}${at}` });
  hostile.events.push({ at: Date.now(), kind: evil, edge: evil, text: evil });
  const relay = await startRelay({
    edges: () => hostile.edges(),
    user: (user) => ({ user, is_complete: false, total: 300, clients: [{ edge: evil, door: evil, since: 0 }], did_not_answer: [evil] }),
  });
  try {
    const page = await open(relay.url);
    await look(page, evil);
    assert.match(await page.locator('#found-note').textContent(), /^300 connections\. The first 1 are shown\..*did not answer.*not complete/);
    await page.locator('.row-name').first().click();
    assert.equal(await page.locator('main img').count(), 0);
    assert.equal(await page.evaluate(() => document.documentElement.scrollWidth > innerWidth), false);
    fine(page);
  } finally {
    await relay.stop();
  }
});

test('everything has a name, and fits at any width', { timeout: 120_000 }, async () => {
  const five = cluster(5);
  const clients = [{ edge: 'edge-2', transport: 'websocket', since: Date.now() }];
  const user = (user) => ({ user, is_complete: true, total: 1, clients, did_not_answer: [] });
  const relay = await startRelay({ edges: () => five.edges(), user });
  try {
    const page = await open(relay.url);
    // Without a mouse: a user, the edge that he is on, and away with both.
    await page.keyboard.press('/');
    await page.keyboard.type('bob');
    await page.keyboard.press('Enter');
    const place = page.locator('#found-clients .row-name');
    await place.focus();
    await page.keyboard.press('Enter');
    assert.equal(await page.locator('#detail-title').textContent(), 'edge-2');
    assert.equal(await page.locator('.edge[data-chosen] .name').textContent(), 'edge-2');
    const unnamed = await page.evaluate(() =>
      [...document.querySelectorAll('button, input, [tabindex], section, svg:not([aria-hidden])')]
        .filter((each) => {
          const label = document.getElementById(each.getAttribute('aria-labelledby'))?.textContent ?? each.getAttribute('aria-label');
          return !(label ?? each.labels?.[0]?.textContent ?? each.textContent).trim();
        })
        .map((each) => each.outerHTML),
    );
    assert.deepEqual(unnamed, []);
    for (const width of [320, 390, 704, 705, 1088, 1089, 1280, 1920]) {
      await page.setViewportSize({ width, height: 700 });
      await page.waitForFunction(() => document.querySelector('.map').getBoundingClientRect().right <= innerWidth);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(over <= 0, `${over} px too wide at ${width}`);
    }
    await page.setViewportSize({ width: 1280, height: 900 });
    await page.keyboard.press('Escape');
    await page.keyboard.press('Escape');
    assert.equal(await page.locator('.side section:visible').count(), 1);
    fine(page);
  } finally {
    await relay.stop();
  }
});

test('the page may run nothing that is not its own', { timeout: 120_000 }, async () => {
  const dev = await startDev();
  try {
    const page = await open(`${dev.relay.admin}/console`);
    const ran = await page.evaluate(() => {
      const script = document.createElement('script');
      script.textContent = 'globalThis.hasRun = true';
      document.body.append(script);
      return new Promise((resolve) => setTimeout(() => resolve(globalThis.hasRun === true), 200));
    });
    assert.equal(ran, false);
    assert.ok(page.troubles.some((text) => /Content Security Policy/.test(text)), `${page.troubles}`);
  } finally {
    await dev.stop();
  }
});
