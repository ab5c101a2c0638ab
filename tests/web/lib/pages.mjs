// One browser for a file of tests, and a page, a scripted server and a bridge for each of them.

import { after, before } from 'node:test';

import { startBridge } from './bridge.mjs';
import { openPage, startBrowser } from './browser.mjs';
import { startFiles } from './files.mjs';
import { startServer } from './server.mjs';

/** For the tests of a file: what they share starts before the first and stops after the last. */
export function suite(options) {
  const shared = {};
  before(async () => {
    shared.files = await startFiles({ '/blank': () => '<!doctype html>' });
    shared.browser = await startBrowser(options);
  });
  after(async () => {
    await shared.browser?.stop();
    await shared.files?.stop();
  });

  /** Runs `body` with a page, a server, and a bridge if `wants.bridge`; all of them end with it. */
  const withPage = (body, wants = {}) => async (t) => {
    const open = [];
    const opened = (each, end) => (open.unshift(end), each);
    try {
      const server = opened(await startServer(), () => server.stop());
      const bridge = wants.bridge ? opened(await startBridge(server), () => bridge.stop()) : undefined;
      const page = opened(await openPage(shared.browser.context, `${shared.files.url}/blank`), () => page.close());
      await page.evaluate(() => sessionStorage.clear());
      const edge = { websocket: server.url, ...(bridge && { webtransport: bridge.url }) };
      const hashes = bridge ? [bridge.hash] : [];
      await body({ t, page, server, bridge, edge, hashes, ...shared });
      if (page.troubles.length > 0) throw new Error(`the page said: ${page.troubles}`);
    } finally {
      for (const end of open) await end();
    }
  };
  return withPage;
}

/** What the events of a log were, without their times. */
export const types = (log) => log.map(({ type }) => type);

/** Waits until `found(log)` holds in the page, where `what` is `client` or `room`; returns the log. */
export async function untilLog(page, what, found) {
  await page.waitForFunction(`(${found})(globalThis.${what}.log)`, undefined, { timeout: 20_000, polling: 20 });
  return page.evaluate(`globalThis.${what}.log`);
}
