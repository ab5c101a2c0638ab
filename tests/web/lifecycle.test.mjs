// A page that goes into the browser's cache of pages, and comes back out of it with its connection.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { suite, untilLog } from './lib/pages.mjs';

// Playwright turns that cache off.
const withPage = suite({ ignoreDefaultArgs: ['--disable-back-forward-cache'] });

for (const bridge of [false, true]) {
  const name = bridge ? 'webtransport' : 'websocket';
  test(`a page that is left and returned to connects anew, over ${name}`, withPage(async ({ page, server, edge, hashes, files }) => {
    await page.evaluate(
      async ({ edge, options }) => {
        globalThis.client = watched(edge, options);
        await client.ready();
        globalThis.room = subscribed(client, 'room');
        await room.ready();
        addEventListener('pageshow', ({ persisted }) => (globalThis.wasKept = persisted));
      },
      { edge, options: { certificateHashes: hashes, timings: { headStart: 3_600_000 } } },
    );
    assert.equal(server.last.transport, name);
    await page.goto(`${files.url}/causeway.d.ts`);
    await server.until(() => server.open.length === 0, 'the end of the connection');
    await page.goBack({ waitUntil: 'commit' });
    assert.equal(await page.evaluate(() => globalThis.wasKept), true, 'the browser kept the page');
    await server.connected(2);
    const log = await untilLog(page, 'client', (log) => log.filter(({ type }) => type === 'connected').length === 2);
    assert.deepEqual(log.find(({ type, detail }) => type === 'connecting' && detail.code === 6)?.detail.reason, 'the page is left');
    await page.evaluate(() => room.ready());
    assert.equal(server.open.length, 1);
  }, { bridge }));
}
