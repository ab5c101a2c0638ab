// Chromium as Debian has it, headless, and pages in it that have causeway.js at hand.

import { mkdtempSync, rmSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';

import { chromium } from 'playwright-core';

const FLAGS = [
  '--no-sandbox',
  '--disable-gpu',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Starts a browser with a profile of its own; `args` are further flags. */
export async function startBrowser({ args = [], ...options } = {}) {
  const profile = mkdtempSync(path.join(os.tmpdir(), 'causeway-web-'));
  const executablePath = process.env.CHROMIUM ?? '/usr/bin/chromium';
  const context = await chromium.launchPersistentContext(profile, {
    executablePath,
    args: [...FLAGS, ...args],
    ...options,
  });
  const stop = async () => {
    await context.close();
    rmSync(profile, { recursive: true, force: true });
  };
  return { context, stop };
}

/**
 * Opens `url` (any page of the static server), loads causeway.js there as `causeway`, and notes all that a client made by
 * `watched` says in `client.log`.
 */
export async function openPage(context, url) {
  const page = await context.newPage();
  page.troubles = [];
  page.on('pageerror', (error) => page.troubles.push(`${error}`));
  await page.goto(url);
  await page.evaluate(async () => {
    const causeway = await import('/causeway.js');
    const now = () => performance.now();
    const watch = (target, types, log) => {
      for (const type of types) {
        target.addEventListener(type, ({ detail }) =>
          log.push({ at: now(), type, detail: detail instanceof Error ? `${detail}` : structuredClone(detail) }),
        );
      }
    };
    globalThis.causeway = causeway;
    globalThis.watched = (edges, options) => {
      const begun = now();
      const client = new causeway.Client(edges, options);
      client.begun = begun;
      client.log = [];
      const types = ['connecting', 'connected', 'disconnected', 'message', 'publication', 'join', 'leave', 'error'];
      watch(client, types, client.log);
      client.connect();
      return client;
    };
    globalThis.subscribed = (client, channel, options) => {
      const subscription = client.subscribe(channel, options);
      subscription.log = [];
      const types = ['subscribing', 'subscribed', 'unsubscribed', 'publication', 'join', 'leave', 'error'];
      watch(subscription, types, subscription.log);
      return subscription;
    };
    // What became of a promise, as something that can leave the page.
    globalThis.outcome = (promise) =>
      promise.then(
        (value) => (value === undefined ? {} : { value }),
        (error) => ({ name: error?.name, code: error?.code, message: error?.message, temporary: error?.temporary }),
      );
  });
  return page;
}
