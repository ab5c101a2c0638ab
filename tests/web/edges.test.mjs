// The chat page and causeway.js against real edges.

import assert from 'node:assert/strict';
import { after, afterEach, before, test } from 'node:test';

import { openPage, startBrowser } from './lib/browser.mjs';
import { startLone, token } from './lib/edges.mjs';
import { startFiles } from './lib/files.mjs';
import { startUdp } from './lib/udp.mjs';
import { startDev } from '../node/lib/cluster.mjs';
import { metrics } from '../node/lib/http.mjs';
import { Terminal } from '../node/lib/terminal.mjs';
import { until } from '../node/lib/wait.mjs';

/** Longer than anything takes on a busy machine, and than WebTransport rests where it failed once. */
const SOON = 90_000;

let dev;
let browser;

before(async () => {
  dev = await startDev();
  browser = await startBrowser({ viewport: { width: 1180, height: 760 } });
});
after(async () => {
  await browser?.stop();
  await dev?.stop();
});

afterEach(async () => {
  const [first, ...pages] = browser.context.pages();
  for (const page of pages) await page.close();
  await first.goto('about:blank');
});

/** Opens the chat page of edge 0 or 1 as `name`; notes what it complains of in `page.troubles`. */
async function enter(edge, name, transport = 'WebTransport') {
  const page = await browser.context.newPage();
  page.setDefaultTimeout(SOON);
  page.troubles = [];
  page.on('pageerror', (error) => page.troubles.push(`${error}`));
  page.on('console', (message) => message.type() === 'error' && page.troubles.push(message.text()));
  // A browser that has none.
  if (transport === 'WebSocket') await page.addInitScript(() => delete globalThis.WebTransport);
  await page.goto(dev.edges[edge].http);
  await page.getByLabel('Your name').fill(name);
  await page.keyboard.press('Enter');
  await stateIs(page, transport);
  return page;
}

const stateIs = (page, state) =>
  page.waitForFunction((state) => document.getElementById('state').textContent === state, state);
const say = async (page, text) => {
  await page.getByRole('textbox', { name: /^Message to/ }).fill(text);
  await page.keyboard.press('Enter');
};
const said = (page, text) => page.locator('.bubble').filter({ hasText: text }).waitFor();
const receiptIs = (page, pattern) => page.locator('.receipt').filter({ hasText: pattern }).last().waitFor();
const open = (page, name) => page.getByRole('button', { name }).click();
const fine = (...pages) => assert.deepEqual(pages.flatMap(({ troubles }) => troubles), []);

test('two people on two edges see each other, and write both ways', async () => {
  const [alice, bob] = [await enter(0, 'alice'), await enter(1, 'bob')];
  await say(alice, 'hello, room');
  await said(bob, 'hello, room');
  await say(bob, 'hello yourself');
  await said(alice, 'hello yourself');
  await open(alice, /^bob, here/);
  await open(bob, /^alice, here/);
  await say(alice, 'between us');
  await said(bob, 'between us');
  await receiptIs(alice, /^delivered$/);
  await say(bob, 'quite');
  await said(alice, 'quite');
  await receiptIs(bob, /^delivered$/);
  await alice.waitForFunction(() => /ms$/.test(document.getElementById('latency').textContent));
  console.log(`round trip over ${await alice.locator('#state').textContent()}: ${await alice.locator('#latency').textContent()}`);
  await bob.goto('about:blank');
  // A page says goodbye if it can; the receipt knows in any case, as soon as the edge does.
  const isGone = async () => {
    await say(alice, 'are you still there?');
    await alice.waitForFunction(() => /^(delivered|bob is)/.test([...document.querySelectorAll('.receipt')].at(-1).textContent));
    return /offline/.test(await alice.locator('.receipt').last().textContent());
  };
  await until('bob to be gone', isGone, SOON);
  await alice.getByRole('button', { name: /^bob, not seen here/ }).waitFor();
  fine(alice, bob);
});

test('who is nowhere is called offline', async () => {
  const carol = await enter(0, 'carol');
  await carol.getByRole('textbox', { name: /^Write to a person/ }).fill('nobody');
  await carol.keyboard.press('Enter');
  await say(carol, 'are you there?');
  await receiptIs(carol, /^nobody is offline/);
  fine(carol);
});

test('a terminal is somebody', async () => {
  const carol = await enter(0, 'carol');
  const terminal = await Terminal.login(dev.edges[1].line, 'tina');
  try {
    assert.equal(await terminal.ask('send carol hello from the terminal'), 'ok delivered 1');
    await open(carol, /^tina, not seen here, 1 new/);
    await said(carol, 'hello from the terminal');
    await say(carol, 'hello from the page');
    await receiptIs(carol, /^delivered$/);
    await terminal.expect('msg carol hello from the page');
  } finally {
    terminal.socket.destroy();
  }
  fine(carol);
});

test('text is text', async () => {
  const [eve, dan] = [await enter(0, 'eve'), await enter(1, '<b>dan</b>')];
  const evil = '<img src=x onerror="document.title=1"><script>document.title=1</script>&amp;';
  await say(eve, evil);
  await said(dan, evil);
  await say(dan, 'and my name is one');
  await said(eve, 'and my name is one');
  for (const page of [eve, dan]) assert.equal(await page.locator('.messages img, .messages script, .messages b, .side b').count(), 0);
  fine(eve, dan);
});

test('the page may run nothing that is not its own', async () => {
  const page = await enter(0, 'mallory');
  const ran = await page.evaluate(() => {
    const script = document.createElement('script');
    script.textContent = 'globalThis.hasRun = true';
    document.body.append(script);
    const image = document.createElement('div');
    image.innerHTML = '<img src="data:," onerror="globalThis.hasRun = true">';
    document.body.append(image);
    return new Promise((resolve) => setTimeout(() => resolve(globalThis.hasRun === true), 200));
  });
  assert.equal(ran, false);
  assert.ok(page.troubles.some((text) => /Content Security Policy/.test(text)), `${page.troubles}`);
});

test('the connection is switched off, to WebSocket, and back', async () => {
  const page = await enter(0, 'frank');
  const press = (name) => page.getByRole('radio', { name, exact: true }).check();
  await press('Off');
  await stateIs(page, 'Off');
  await say(page, 'into the void');
  await receiptIs(page, /^not sent/);
  await press('WebSocket only');
  await stateIs(page, 'WebSocket');
  await say(page, 'again');
  await receiptIs(page, /^sent$/);
  await press('Auto');
  await stateIs(page, 'WebTransport');
  fine(page);
});

test('it is used without a mouse', async () => {
  const page = await enter(0, 'grace');
  await page.locator('#text').blur();
  await page.keyboard.press('/');
  await page.keyboard.type('#garden');
  await page.keyboard.press('Enter');
  await page.keyboard.type('nobody but me');
  await page.keyboard.press('Enter');
  await receiptIs(page, /^sent$/);
  assert.equal(await page.locator('#talk-title').textContent(), '#garden');
  await page.keyboard.press('Alt+ArrowDown');
  await page.waitForFunction(() => document.getElementById('talk-title').textContent !== '#garden');
  fine(page);
});

test('everything has a name, in both themes and at any width', async () => {
  const page = await enter(0, 'heidi');
  const unnamed = await page.evaluate(() =>
    [...document.querySelectorAll('button, input, textarea')]
      .filter((each) => !each.textContent.trim() && !each.getAttribute('aria-label') && !each.labels?.[0]?.textContent.trim())
      .map((each) => each.outerHTML),
  );
  assert.deepEqual(unnamed, []);
  for (const width of [320, 390, 704, 705, 1180]) {
    await page.setViewportSize({ width, height: 700 });
    for (const view of ['list', 'talk']) {
      await page.evaluate((view) => (document.getElementById('app').dataset.view = view), view);
      const over = await page.evaluate(() => document.documentElement.scrollWidth - innerWidth);
      assert.ok(over <= 0, `${over} px too wide at ${width}`);
    }
  }
  for (const colorScheme of ['light', 'dark']) {
    await page.emulateMedia({ colorScheme });
    const worst = await page.evaluate(contrasts);
    assert.ok(worst.ratio >= 4.5, `${colorScheme}: ${JSON.stringify(worst)}`);
  }
  fine(page);
});

/** The pair of text and ground, among those that the design uses, that is hardest to read. Runs in the page. */
function contrasts() {
  const probe = document.createElement('i');
  document.body.append(probe);
  const light = (name) => {
    probe.style.color = `var(${name})`;
    const [r, g, b] = getComputedStyle(probe).color.match(/[\d.]+/g).map((value) => {
      const part = value / 255;
      return part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
    });
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const pairs = [
    ['--ink', '--ground'], ['--ink', '--surface'], ['--ink', '--raised'], ['--ink', '--accent-soft'],
    ['--ink-soft', '--ground'], ['--ink-soft', '--surface'], ['--ink-soft', '--raised'], ['--ink-soft', '--accent-soft'],
    ['--on-accent', '--accent'], ['--on-own', '--own'], ['--good', '--good-soft'], ['--warn', '--warn-soft'],
    ['--bad', '--bad-soft'], ['--good', '--surface'], ['--warn', '--surface'], ['--bad', '--surface'],
  ];
  const rated = pairs.map(([text, ground]) => {
    const [a, b] = [light(text), light(ground)].sort((x, y) => y - x);
    return { text, ground, ratio: (a + 0.05) / (b + 0.05) };
  });
  probe.remove();
  return rated.sort((a, b) => a.ratio - b.ratio)[0];
}

/** What a gauge says on both edges together. */
const together = async (name, labels) =>
  (await Promise.all(dev.edges.map(metrics))).reduce((sum, each) => sum + each.value(name, labels), 0);

/** Waits until the edges have so many clients, all of them over `transport`, and nobody besides. */
async function clientsAre(count, transport) {
  const door = transport.toLowerCase();
  const isSo = async () => (await together('edge_connections', { door })) === count && (await together('edge_clients')) === count;
  await until(`${count} clients, all over ${transport}`, isSo, SOON);
}

for (const [times, transport] of [[50, 'WebTransport'], [20, 'WebSocket']]) {
  test(`a page that is loaded ${times} times over ${transport} leaves nobody behind`, async () => {
    await clientsAre(0, transport);
    const page = await enter(0, 'ivan', transport);
    const begun = performance.now();
    for (let n = 0; n < times; n += 1) {
      await page.reload();
      await stateIs(page, transport);
    }
    const took = Math.round((performance.now() - begun) / times);
    console.log(`loaded and connected over ${transport}: ${took} ms each, ${times} times`);
    await clientsAre(1, transport);
    fine(page);
    await page.close();
    await clientsAre(0, transport);
  });
}

test('64 WebTransport sessions of 8 pages write to each other at one edge, and none is left when they close', async () => {
  await clientsAre(0, 'WebTransport');
  const groups = Array.from({ length: 8 }, (_, page) => Array.from({ length: 8 }, (_, nth) => 8 * page + nth));
  const pages = await Promise.all(groups.map(() => openPage(browser.context, `${dev.edges[0].http}/causeway.d.ts`)));
  for (const page of pages) page.setDefaultTimeout(SOON);
  const begun = performance.now();
  // One after the other in each page: of sessions that begin all at once, a browser loses some.
  await Promise.all(
    pages.map((page, at) =>
      page.evaluate(async (numbers) => {
        globalThis.clients = [];
        for (const number of numbers) {
          const token = async () => (await fetch(`/dev/token?user=user-${number}`)).text();
          clients.push(watched(location.origin, { token, transports: ['webtransport'] }));
          await clients.at(-1).ready();
        }
      }, groups[at]),
    ),
  );
  console.log(`64 sessions opened in ${Math.round(performance.now() - begun)} ms`);
  await clientsAre(64, 'WebTransport');

  const sent = performance.now();
  const receipts = await Promise.all(
    pages.map((page, at) =>
      page.evaluate(
        (numbers) => Promise.all(clients.map((client, nth) => client.send(`user-${(numbers[nth] + 1) % 64}`, numbers[nth]))),
        groups[at],
      ),
    ),
  );
  assert.deepEqual(receipts.flat(), Array(64).fill({ delivered: 1 }));
  const messages = (page) =>
    page.evaluate(() => clients.map(({ log }) => log.filter(({ type }) => type === 'message').map(({ detail }) => detail.data)));
  for (const page of pages) await page.waitForFunction(() => clients.every(({ log }) => log.some(({ type }) => type === 'message')));
  console.log(`64 messages and their receipts after ${Math.round(performance.now() - sent)} ms`);
  const heard = (await Promise.all(pages.map(messages))).flat();
  assert.deepEqual(heard, Array.from({ length: 64 }, (_, number) => [(number + 63) % 64]));

  await Promise.all(pages.map((page) => page.close()));
  await clientsAre(0, 'WebTransport');
});

/** Runs `body` with `count` lone edges, over WebTransport or without it, and a page that has `client` at the first of them. */
const withLoneEdges = (transport, body, count = 2) => async () => {
  const tls = transport === 'webtransport';
  const files = await startFiles({ '/blank': () => '<!doctype html>' });
  const edges = await Promise.all(Array.from({ length: count }, () => startLone(files.url, { tls })));
  const udp = tls ? await startUdp(edges[0].endpoint.webtransport) : undefined;
  const page = await openPage(browser.context, `${files.url}/blank`);
  page.setDefaultTimeout(SOON);
  try {
    const endpoints = edges.map(({ endpoint }, at) => ({ ...endpoint, ...(udp && at === 0 && { webtransport: udp.url }) }));
    const options = { token: token('judy'), certificateHashes: edges.flatMap(({ certificate }) => certificate?.hash ?? []) };
    options.timings = { restMin: 2000, restMax: 4000 };
    await page.evaluate(
      async ({ endpoints, options }) => {
        sessionStorage.clear();
        globalThis.client = watched(endpoints, options);
        await client.ready();
        globalThis.room = subscribed(client, 'room');
        await room.ready();
      },
      { endpoints, options },
    );
    // A machine that is busy may be slow to open a session: then that comes later.
    await page.waitForFunction((transport) => client.transport === transport && room.state === 'subscribed', transport);
    await page.evaluate(() => (room.log.length = 0));
    await body({ page, edges, udp, files });
  } finally {
    udp?.stop();
    for (const edge of edges) await edge.stop();
    await files.stop();
  }
};

const resubscribed = (page) => page.waitForFunction(() => room.log.some(({ type }) => type === 'subscribed'));

for (const transport of ['websocket', 'webtransport']) {
  for (const [signal, name] of [['SIGKILL', 'killed'], ['SIGTERM', 'stopped']]) {
    test(`an edge that is ${name} is left for another, over ${transport}`, withLoneEdges(transport, async ({ page, edges }) => {
      const begun = performance.now();
      edges[0].child.signalAll(signal);
      await resubscribed(page);
      console.log(`edge ${name}, ${transport}: subscribed elsewhere after ${Math.round(performance.now() - begun)} ms (wanted: 5,000)`);
      assert.deepEqual(await page.evaluate(() => client.send('judy', 'me')), { delivered: 1 });
    }));
  }

  test(`an edge that freezes is left for another, over ${transport}`, withLoneEdges(transport, async ({ page, edges }) => {
    const begun = performance.now();
    edges[0].child.signalAll('SIGSTOP');
    await resubscribed(page);
    console.log(`edge frozen, ${transport}: subscribed elsewhere after ${Math.round(performance.now() - begun)} ms (wanted: 5,000)`);
  }));

  test(`a large message comes and goes, over ${transport}`, withLoneEdges(transport, async ({ page }) => {
    const text = '🌉'.repeat(16_000);
    const came = await page.evaluate(async (text) => {
      const message = new Promise((resolve) => client.addEventListener('message', ({ detail }) => resolve(detail.data)));
      await client.send('judy', text);
      return message;
    }, text);
    assert.equal(came, text);
  }));
}

test('UDP dies: back on WebSocket, and on WebTransport when it lives again', withLoneEdges('webtransport', async ({ page, udp }) => {
  const begun = performance.now();
  udp.cut();
  await page.waitForFunction(() => client.transport === 'websocket');
  console.log(`UDP died before a real edge: WebSocket connected after ${Math.round(performance.now() - begun)} ms (wanted: 5,000)`);
  udp.mend();
  await page.waitForFunction(() => client.transport === 'webtransport');
  assert.deepEqual(await page.evaluate(() => client.ready().then(() => client.ping()).then((ms) => ms > 0)), true);
}, 1));

test('a certificate is replaced: a page stays connected, and the next one needs the new hash', withLoneEdges('webtransport', async ({ page, edges: [edge], files }) => {
  const about = { certificate: 'public' };
  const told = async (name) => (await metrics(edge)).value(name, about);
  const old = edge.certificate.hash;
  const before = await page.evaluate(() => client.id);
  assert.equal(await told('edge_certificate_changes_total'), 0);
  edge.certificate.renew();
  const begun = performance.now();
  await until('the new pair', async () => (await told('edge_certificate_changes_total')) === 1, SOON);
  console.log(`a new pair is in use after ${Math.round(performance.now() - begun)} ms (looked for every 10,000)`);
  assert.equal(await told('edge_certificate_not_after_time_seconds'), Date.parse(edge.certificate.x509.validTo) / 1000);

  const next = async (user, hash) => {
    const opened = await openPage(browser.context, `${files.url}/blank`);
    opened.setDefaultTimeout(SOON);
    const options = { token: token(user), certificateHashes: [hash], transports: ['webtransport'] };
    await opened.evaluate(({ endpoint, options }) => void (globalThis.client = watched(endpoint, options)), {
      endpoint: edge.endpoint,
      options,
    });
    return opened;
  };
  const late = await next('late', edge.certificate.hash);
  await late.waitForFunction(() => client.transport === 'webtransport');
  const stale = await next('stale', old);
  await stale.waitForFunction(() => client.log.some(({ type }) => type === 'error'));

  assert.deepEqual(await late.evaluate(() => client.send('judy', 'are you still there?')), { delivered: 1 });
  await page.waitForFunction(() => client.log.some(({ type, detail }) => type === 'message' && detail.user === 'late'));
  assert.equal(await page.evaluate(() => client.id), before);
  assert.equal(await stale.evaluate(() => client.log.some(({ type }) => type === 'connected')), false);
}, 1));
