// The line door: people at terminals, on one edge and on two, and what they type by mistake.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { startDev, startEdge } from './lib/cluster.mjs';
import { request } from './lib/http.mjs';
import { run } from './lib/process.mjs';
import { Raw } from './lib/raw.mjs';
import { Terminal, netcat } from './lib/terminal.mjs';
import { signed, unix } from './lib/token.mjs';
import { until } from './lib/wait.mjs';

describe('terminals', { timeout: 60_000 }, () => {
  let dev;
  const open = new Set();
  before(async () => (dev = await startDev()));
  after(async () => {
    for (const terminal of open) terminal.close();
    await dev?.stop();
  });

  const kept = (terminal) => {
    open.add(terminal);
    return terminal;
  };
  const login = async (edge, user) => kept(await Terminal.login(dev.edges[edge].line, user));
  const connect = (edge) => kept(new Terminal(dev.edges[edge].line));

  test('two people with nc on two edges write to each other', async () => {
    const [alice, bob] = dev.edges.map((edge) => netcat(edge.line));
    try {
      alice.process.stdin.write('login alice\n');
      bob.process.stdin.write('login bob\n');
      await Promise.all([alice.said('stdout', /^ok logged in as alice\n/), bob.said('stdout', /^ok logged in as bob\n/)]);
      alice.process.stdin.write('send bob hello, how are you?\n');
      await bob.said('stdout', /^msg alice hello, how are you\?\n/m);
      await alice.said('stdout', /^ok delivered 1\n/m);
      bob.process.stdin.write('send alice fine\n');
      await alice.said('stdout', /^msg bob fine\n/m);
      await bob.said('stdout', /^ok delivered 1\n/m);
      alice.process.stdin.write('quit\n');
      await alice.said('stdout', /^ok bye\n/m);
      assert.equal(alice.stdout, 'ok logged in as alice\nok delivered 1\nmsg bob fine\nok bye\n');
      assert.equal(bob.stdout, 'ok logged in as bob\nmsg alice hello, how are you?\nok delivered 1\n');
    } finally {
      await Promise.all([alice.kill(), bob.kill()]);
    }
  });

  test('what is said in a channel reaches all who joined, on both edges, until they leave', async () => {
    const [ann, ben, cid] = await Promise.all([login(0, 'ann'), login(1, 'ben'), login(1, 'cid')]);
    for (const person of [ann, ben, cid]) assert.equal(await person.ask('join tea'), 'ok');
    ann.type('say tea hello all');
    await Promise.all([ben.expect('pub tea ann hello all'), cid.expect('pub tea ann hello all')]);
    const own = [await ann.line(), await ann.line()].sort();
    assert.deepEqual(own, ['ok', 'pub tea ann hello all'], 'the answer, and the own publication');
    assert.equal(await ben.ask('leave tea'), 'ok');
    ann.type('say tea second');
    await cid.expect('pub tea ann second');
    // What ben gets next is this, and not the second publication.
    ann.type('send ben done');
    await ben.expect('msg ann done');
    assert.equal(await cid.ask('join tea'), 'err 105 already subscribed');
  });

  test('who is answered with error 108, since presence is not built yet', async () => {
    const person = await login(0, 'who-asker');
    assert.match(await person.ask('who tea'), /^err 108 /);
    assert.equal(await person.ask('join tea2'), 'ok');
  });

  test('nonsense is answered with an error and a hint, and the connection stays', async () => {
    const person = await login(0, 'clumsy');
    for (const nonsense of ['hello', 'SEND bob hi', 'login', 'send', 'send bob', 'join', 'say tea', '{"id":1}', 'GET / HTTP/1.1']) {
      assert.match(await person.ask(nonsense), /^err \d+ .+try: login .+send .+join .+quit/, nonsense);
    }
    assert.equal(await person.ask('join after-nonsense'), 'ok');
  });

  test('an empty line is not answered', async () => {
    const person = await login(0, 'enter-presser');
    person.write('\n\r\n   \n');
    assert.equal(await person.ask('join x'), 'ok');
  });

  test('a message to somebody who is absent is answered with delivered 0', async () => {
    const person = await login(0, 'lonely');
    assert.match(await person.ask('send nobody-at-all hi'), /^ok delivered 0\b/);
  });

  test('somebody who hangs up is absent from then on', async () => {
    const [stays, goes] = await Promise.all([login(0, 'stays'), login(1, 'goes')]);
    assert.equal(await stays.ask('send goes hi'), 'ok delivered 1');
    goes.close();
    await until('goes to be gone', async () => (await stays.ask('send goes hi')).startsWith('ok delivered 0'));
  });

  test('somebody at two terminals gets everything on both', async () => {
    const [sender, left, right] = await Promise.all([login(0, 'sender'), login(0, 'double'), login(1, 'double')]);
    assert.equal(await sender.ask('send double hi'), 'ok delivered 2');
    await Promise.all([left.expect('msg sender hi'), right.expect('msg sender hi')]);
  });

  test('a message to oneself arrives', async () => {
    const person = await login(0, 'narcissus');
    person.type('send narcissus hi');
    assert.deepEqual([await person.line(), await person.line()].sort(), ['msg narcissus hi', 'ok delivered 1']);
  });

  test('a line of 65,536 bytes passes, and one more byte ends the connection with 1009', async () => {
    const person = await login(0, 'verbose');
    const line = (bytes) => `${'send nobody '.padEnd(bytes - 1, 'x')}\n`;
    person.write(line(65_536));
    await person.expect(/^ok delivered 0/);
    person.write(line(65_537));
    await person.expect('err 1009 message size limit');
    await person.end();
  });

  test('a line that never ends is cut off at the same size', async () => {
    const person = connect(0);
    person.write('x'.repeat(200_000));
    await person.expect('err 1009 message size limit');
    await person.end();
  });

  test('binary garbage is answered line by line, and the connection stays', async () => {
    const person = await login(0, 'binary');
    const lines = 300;
    for (let i = 0; i < lines; i += 1) {
      person.write(Buffer.from([0x80 | (i & 0x7f), 0, 0xff, i & 0xfe || 1, 0xc0, 0x0a].filter((byte, at) => at === 5 || byte !== 0x0a)));
    }
    for (let i = 0; i < lines; i += 1) await person.expect(/^err \d+ /);
    assert.equal(await person.ask('join after-garbage'), 'ok');
  });

  test('many lines in one write are answered one by one, and arrive in order across edges', async () => {
    const [sender, reader] = await Promise.all([login(0, 'fast'), login(1, 'reader')]);
    const numbers = Array.from({ length: 300 }, (_, number) => number);
    sender.type(...numbers.map((number) => `send reader ${number}`));
    for (const number of numbers) await reader.expect(`msg fast ${number}`);
    for (const _ of numbers) await sender.expect('ok delivered 1');
  });

  test('a line may come in pieces, and end as telnet ends it', async () => {
    const person = connect(0);
    for (const piece of ['lo', 'gin tel', 'net', '\r', '\n']) {
      await new Promise((resolve) => person.socket.write(piece, resolve));
    }
    await person.expect('ok logged in as telnet');
  });

  test('commands before the login are refused, and the login is still possible', async () => {
    const person = connect(0);
    for (const command of ['join tea', 'send bob hi', 'say tea hi', 'who tea', 'leave tea']) {
      assert.match(await person.ask(command), /^err 101 /, command);
    }
    assert.equal(await person.ask('login late'), 'ok logged in as late');
  });

  test('a second login is refused, and the first one stays', async () => {
    const person = await login(0, 'first');
    assert.match(await person.ask('login second'), /^err \d+ /);
    person.type('send first hi');
    assert.deepEqual([await person.line(), await person.line()].sort(), ['msg first hi', 'ok delivered 1']);
    assert.match(await person.ask('send second hi'), /^ok delivered 0/);
  });

  test('names may be in any script, and impossible ones are refused', async () => {
    const person = await login(0, 'jürgen 東京');
    const sender = await login(1, 'sender2');
    sender.type('send Ωmega hi');
    await sender.expect(/^ok delivered 0/);
    person.close();
    for (const wrong of ['a,b', 'a#b', 'x'.repeat(201)]) {
      const other = connect(0);
      assert.match(await other.ask(`login ${wrong}`), /^err 3500 /, wrong);
    }
  });

  test('a token opens the line door too, from /dev/token and from causeway token', async () => {
    const { status, body } = await request(`${dev.edges[1].http}/dev/token?user=tina`);
    assert.equal(status, 200);
    const printed = await run('causeway', ['token', '--user', 'tom', '--expires', '1h']);
    assert.equal(printed.code, 0);
    const [tina, tom] = [connect(0), connect(1)];
    assert.equal(await tina.ask(`login ${body}`), 'ok logged in as tina');
    assert.equal(await tom.ask(`login ${printed.stdout.trim()}`), 'ok logged in as tom');
    tina.type('send tom hi');
    await tom.expect('msg tina hi');
  });

  test('a forged token opens nothing, and an expired one says so and leaves another try', async () => {
    const forger = connect(0);
    assert.match(await forger.ask(`login ${signed({ sub: 'alice' }, { secret: 'guessed' })}`), /^err 3500 /);
    await forger.end();
    const late = connect(0);
    assert.match(await late.ask(`login ${signed({ sub: 'alice', exp: unix() - 120 })}`), /^err 109 /);
    assert.equal(await late.ask('login in-time'), 'ok logged in as in-time');
  });

  test('nobody drives another terminal with control characters', async () => {
    const [villain, victim] = await Promise.all([login(0, 'villain'), login(1, 'victim')]);
    villain.type('send victim \x1b[2J\x07red\x9b31m');
    const line = await victim.expect(/^msg villain .*red/);
    assert.doesNotMatch(line, /[\x00-\x1f\x7f-\x9f]/);
    const browser = await Raw.login(dev.edges[0].url, 'browser-villain');
    await browser.tell('victim', 'one\nmsg boss forged\r\ttwo');
    await victim.expect('msg browser-villain one msg boss forged  two');
    browser.close();
  });

  test('terminals and browsers reach each other', async () => {
    const terminal = await login(0, 'old-school');
    const browser = await Raw.login(dev.edges[1].url, 'modern');
    assert.equal(await browser.tell('old-school', 'hi'), 1);
    await terminal.expect('msg modern hi');
    await browser.tell('old-school', { a: 1 });
    await terminal.expect('msg modern {"a":1}');
    assert.equal(await terminal.ask('send modern he said "hi"'), 'ok delivered 1');
    const { data, info } = await browser.publication();
    assert.deepEqual([data, info.user], ['he said "hi"', 'old-school']);
    browser.close();
  });

  test('outside development a name is not enough', async () => {
    const edge = await startEdge();
    const stranger = kept(new Terminal(edge.line));
    assert.match(await stranger.ask('login alice'), /^err 3500 /);
    await stranger.end();
    assert.equal((await request(`${edge.http}/dev/token?user=alice`)).status, 404);
    await edge.stop();
  });
});
