// The same page in another browser: Firefox ESR, over BiDi, and somebody in Chromium on the other edge.

import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';

import puppeteer from 'puppeteer-core';

import { startSilence } from './lib/bridge.mjs';
import { startBrowser } from './lib/browser.mjs';
import { startServer } from './lib/server.mjs';
import { startDev } from '../node/lib/cluster.mjs';

const SOON = 30_000;

let dev;
let firefox;
let chromium;

before(async () => {
  dev = await startDev();
  const executablePath = process.env.FIREFOX ?? '/usr/bin/firefox-esr';
  firefox = await puppeteer.launch({ browser: 'firefox', executablePath, headless: true });
  chromium = await startBrowser();
});
after(async () => {
  await firefox?.close();
  await chromium?.stop();
  await dev?.stop();
});

const state = (page) => page.$eval('#state', (element) => element.textContent);

test('Firefox and Chromium write to each other across two edges, both over WebTransport', async () => {
  const [fox, chrome] = [await firefox.newPage(), await chromium.context.newPage()];
  const troubles = [];
  for (const page of [fox, chrome]) page.on('pageerror', (error) => troubles.push(`${error}`));
  for (const page of [fox, chrome]) page.setDefaultTimeout(SOON);
  await Promise.all([fox.goto(`${dev.edges[0].http}/?name=fox`), chrome.goto(`${dev.edges[1].http}/?name=chrome`)]);
  const isOn = (name) => document.getElementById('state').textContent === name;
  await fox.waitForFunction(isOn, {}, 'WebTransport');
  await chrome.waitForFunction(isOn, 'WebTransport');

  await fox.waitForSelector('[data-key="person:chrome"]');
  await fox.click('[data-key="person:chrome"]');
  await fox.type('#text', 'hello, Chromium');
  await fox.keyboard.press('Enter');
  await chrome.locator('[data-key="person:fox"]').click();
  await chrome.locator('.bubble', { hasText: 'hello, Chromium' }).waitFor();
  await chrome.locator('#text').fill('hello, Firefox');
  await chrome.keyboard.press('Enter');
  await fox.waitForFunction(() => [...document.querySelectorAll('.bubble')].some((each) => each.textContent === 'hello, Firefox'));
  await fox.waitForFunction(() => document.querySelector('.receipt').textContent === 'delivered');
  console.log(`Firefox over ${await state(fox)}, Chromium over ${await state(chrome)}`);

  await fox.click('input[value="websocket"]');
  await fox.waitForFunction(isOn, {}, 'WebSocket');
  await fox.type('#text', 'the other way');
  await fox.keyboard.press('Enter');
  await chrome.locator('.bubble', { hasText: 'the other way' }).waitFor();
  await fox.close();
  assert.deepEqual(troubles, []);
});

test('Firefox, where UDP is swallowed, is on WebSocket after the head start', async () => {
  const [server, silence, page] = [await startServer(), await startSilence(), await firefox.newPage()];
  try {
    await page.goto(`${dev.edges[0].http}/causeway.d.ts`);
    const took = await page.evaluate(
      async (websocket, webtransport) => {
        const { connect } = await import('/causeway.js');
        const begun = performance.now();
        const client = connect({ websocket, webtransport });
        await client.ready();
        const { transport } = client;
        client.disconnect();
        return [transport, Math.round(performance.now() - begun)];
      },
      server.url,
      silence.url,
    );
    console.log(`UDP swallowed, Firefox: ${took[0]} connected after ${took[1]} ms (wanted: 300)`);
    assert.equal(took[0], 'websocket');
    assert.ok(took[1] < 3000, `${took[1]} ms`);
  } finally {
    await page.close();
    silence.stop();
    await server.stop();
  }
});
