// Takes the pictures that README.md shows: node tests/web/screenshots.mjs [chat] [console]

import path from 'node:path';

import { startBrowser } from './lib/browser.mjs';
import { SECRET, startDev } from '../node/lib/cluster.mjs';
import { withFleet } from '../node/lib/fleet.mjs';
import { Raw } from '../node/lib/raw.mjs';
import { tokenFor } from '../node/lib/token.mjs';
import { pause } from '../node/lib/wait.mjs';

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

async function takeChat() {
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
}

/** Clients of each edge, of 40. */
const CROWDS = [31, 12, 24, 38, 7, 19, 28];

async function takeConsole() {
  await withFleet({ edges: CROWDS.length, settings: { 'max-clients': 40 } }, async (fleet) => {
    await fleet.start();
    const login = (edge, user) => Raw.login(edge.url, user, { token: tokenFor(user, {}, { secret: SECRET }) });
    const crowd = CROWDS.flatMap((size, at) => Array.from({ length: size }, (_, n) => ({ user: `u${at}-${n}`, edge: fleet.edges[at] })));
    const people = await Promise.all(crowd.map(async ({ edge, user }) => ({ user, client: await login(edge, user) })));
    for (const at of [0, 1, 3]) await login(fleet.edges[at], 'alice');
    let isOver = false;
    const talk = async ({ client, user }, at) => {
      for (let n = 0; !isOver; n += 1) {
        const to = people[(at * 7 + n * 3) % people.length];
        // What comes meanwhile is not read: those who talk only listen to their receipts.
        client.send(client.command({ rpc: { method: 'send', data: { to: to.user, data: `${user} says ${n}` } } }));
        await pause(60 + 40 * Math.sin(n / 20 + at) + 10 * (at % 9));
      }
    };
    const talking = people.filter((_, at) => at % 3 === 0).map(talk);
    const browser = await startBrowser({ viewport: { width: 1280, height: 960 }, deviceScaleFactor: 1, locale: 'en-GB' });
    try {
      const page = await browser.context.newPage();
      await page.goto(`${fleet.relay.admin}/console`);
      await page.waitForTimeout(58_000);
      await page.emulateMedia({ colorScheme: 'light' });
      await page.screenshot({ path: path.join(DOCS, 'console-light.png') });
      await page.emulateMedia({ colorScheme: 'dark' });
      await page.locator('#find-user').fill('alice');
      await page.keyboard.press('Enter');
      await fleet.edges[5].kill();
      await page.locator('#events li').filter({ hasText: 'reaped' }).waitFor();
      await page.locator('#find-user').blur();
      await page.waitForTimeout(2000);
      await page.screenshot({ path: path.join(DOCS, 'console-dark.png') });
    } finally {
      isOver = true;
      await Promise.all(talking);
      await browser.stop();
    }
  });
}

const chosen = process.argv.slice(2);
if (chosen.length === 0 || chosen.includes('chat')) await takeChat();
if (chosen.length === 0 || chosen.includes('console')) await takeConsole();
process.exit();
