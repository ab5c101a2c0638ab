// Takes the pictures of the chat page that README.md shows: node tests/web/screenshots.mjs

import path from 'node:path';

import { startBrowser } from './lib/browser.mjs';
import { startDev } from '../node/lib/cluster.mjs';

const DOCS = path.join(import.meta.dirname, '../../docs');

/** Who says what, in the lobby. */
const SAID = [
  ['bob', 'Good morning! Is the second edge up?'],
  ['Carol', 'Since eight. A millisecond from here to you and back.'],
  ['Carol', 'I had WebSocket only for an hour, to compare. No difference that I could feel.'],
  ['alice', 'Then I will take the first one down at ten. Tell me if you notice anything.'],
  ['bob', 'I will not. That is the point, is it not?'],
  ['alice', 'We will see.'],
];

const dev = await startDev();
const browser = await startBrowser({ viewport: { width: 1040, height: 660 }, deviceScaleFactor: 1, locale: 'en-GB' });
try {
  const pages = {};
  for (const [at, name] of ['alice', 'bob', 'Carol', 'dave'].entries()) {
    pages[name] = await browser.context.newPage();
    await pages[name].goto(`${dev.edges[at % 2].http}/?name=${name}`);
    await pages[name].waitForFunction(() => /^Web/.test(document.getElementById('state').textContent));
  }
  const { alice, bob } = pages;
  const say = async (page, text) => {
    await page.bringToFront();
    await page.getByRole('textbox', { name: /^Message to/ }).fill(text);
    await page.keyboard.press('Enter');
    await page.waitForTimeout(400);
  };
  for (const [name, text] of SAID) await say(pages[name], text);
  await bob.getByRole('button', { name: /^alice/ }).click();
  await say(bob, 'Psst.');
  await alice.bringToFront();
  await alice.waitForTimeout(2500);
  await alice.emulateMedia({ colorScheme: 'light' });
  await alice.waitForTimeout(400);
  await alice.screenshot({ path: path.join(DOCS, 'chat-light.png') });
  await alice.getByRole('textbox', { name: /^Write to a person/ }).fill('erin');
  await alice.keyboard.press('Enter');
  await say(alice, 'Are you awake already?');
  await alice.emulateMedia({ colorScheme: 'dark' });
  await alice.getByRole('button', { name: /^bob/ }).click();
  await say(alice, 'Yes?');
  await say(bob, 'Nothing. I only wanted to know which way it goes.');
  await say(alice, 'Over the causeway.');
  await say(alice, 'Two edges and a relay, and this says that you have it:');
  await alice.mouse.move(600, 300);
  await alice.waitForTimeout(2500);
  await alice.screenshot({ path: path.join(DOCS, 'chat-dark.png') });
} finally {
  await browser.stop();
  await dev.stop();
}
