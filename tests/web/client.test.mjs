// causeway.js over WebSocket, against a server that does what edges cannot do on demand.

import assert from 'node:assert/strict';
import { test } from 'node:test';

import { suite, types, untilLog } from './lib/pages.mjs';
import { startServer } from './lib/server.mjs';

const withPage = suite();

/** Makes `client` in the page, and waits for its connection. */
async function connected({ page, server, edge }, options = {}) {
  const nth = server.connections.length + 1;
  await page.evaluate(({ edge, options }) => void (globalThis.client = watched(edge, options)), { edge, options });
  const connection = await server.connected(nth);
  await page.evaluate(() => client.ready());
  return connection;
}

const subscribe = (page, channel, options) =>
  page.evaluate(
    ({ channel, options }) => void (globalThis.room = subscribed(client, channel, options)),
    { channel, options },
  );

const terminal = [3500, 3501, 3999, 4500, 4999, 1009];
const passing = [1001, 1011, 3000, 3001, 3008, 3012, 4000, 4499];

test('connect and the subscriptions go out together', withPage(async ({ page, server, edge }) => {
  await page.evaluate((edge) => {
    globalThis.client = new causeway.Client(edge, { token: 'secret', data: { a: 1 } });
    client.subscribe('one');
    client.subscribe('two', { data: 2, joinLeave: true });
    client.connect();
  }, edge);
  await page.evaluate(() => client.subscription('two').ready());
  const [connect, one, two] = server.last.commands;
  assert.deepEqual(connect.connect, { token: 'secret', data: { a: 1 }, name: 'causeway.js' });
  assert.deepEqual(one.subscribe, { channel: 'one', recoverable: true });
  assert.deepEqual(two.subscribe, { channel: 'two', data: 2, recoverable: true, join_leave: true });
}));

test('what came of a message is told', withPage(async ({ page, server, edge }) => {
  const answers = {
    many: { data: { delivered: 2 } },
    nobody: { data: { delivered: 0 } },
    broken: { error: { code: 100, message: 'internal server error', temporary: true } },
    '#': { error: { code: 107, message: 'bad request' } },
  };
  server.answers.rpc = ({ method, data }) => method === 'send' && answers[data.to];
  await connected({ page, server, edge });
  const send = (to, options) => page.evaluate(({ to, options }) => outcome(client.send(to, 'x', options)), { to, options });
  assert.deepEqual(await send('many'), { value: { delivered: 2 } });
  assert.deepEqual(await send('nobody'), { value: { delivered: 0 } });
  assert.deepEqual(await send('broken'), { name: 'NotKnownError', code: 100, message: 'internal server error', temporary: true });
  assert.deepEqual(await send('#'), { name: 'CausewayError', code: 107, message: 'bad request', temporary: false });
  const silent = await send('silent', { timeout: 200 });
  assert.deepEqual([silent.name, silent.code], ['NotKnownError', 1]);
}));

test('a message that was written is not known when the connection ends', withPage(async ({ page, server, edge }) => {
  server.answers.rpc = () => undefined;
  const connection = await connected({ page, server, edge });
  await page.evaluate(() => void (globalThis.sending = outcome(client.send('bob', 'x'))));
  await server.until(() => connection.of('rpc').length === 1);
  connection.kill();
  const lost = await page.evaluate(() => sending);
  assert.deepEqual([lost.name, lost.code], ['NotKnownError', 2]);
  await server.connected(2);
  assert.equal(server.last.of('rpc').length, 0, 'nothing is written twice');
}));

test('commands wait for the connection, in order', withPage(async ({ page, server, edge }) => {
  const results = await page.evaluate(async (edge) => {
    globalThis.client = watched(edge);
    const all = [client.send('bob', 1), client.publish('room', 2), client.rpc('any', 3)];
    return Promise.all(all.map(outcome));
  }, edge);
  assert.deepEqual(results, [{ value: { delivered: 1 } }, {}, { value: { delivered: 1 } }]);
  const methods = server.last.commands.map((command) => Object.keys(command).find((key) => key !== 'id'));
  assert.deepEqual(methods, ['connect', 'rpc', 'publish', 'rpc']);
}));

test('a command that is never written says so', withPage(async ({ page, server, edge }) => {
  server.answers.connect = () => undefined;
  const results = await page.evaluate(async (edge) => {
    globalThis.client = watched(edge);
    const stop = new AbortController();
    const late = outcome(client.send('bob', 'late', { timeout: 100 }));
    const aborted = outcome(client.send('bob', 'aborted', { signal: stop.signal }));
    stop.abort();
    const over = outcome(client.send('bob', 'over'));
    const before = [await late, await aborted];
    client.disconnect();
    return [...before, await over, await outcome(client.send('bob', 'after'))];
  }, edge);
  assert.deepEqual(results.map(({ name, code }) => [name, code]), [
    ['NotSentError', 1],
    ['AbortError', 20],
    ['NotSentError', 2],
    ['NotSentError', 2],
  ]);
  assert.equal(server.connections.flatMap((connection) => connection.of('rpc')).length, 0);
}));

test('65,536 bytes go out, and one more is refused without harm', withPage(async ({ page, server, edge }) => {
  await connected({ page, server, edge });
  const sizes = await page.evaluate(async () => {
    const frame = (id, text) => `{"id":${id},"publish":${JSON.stringify({ channel: 'c', data: text })}}`.length;
    const fits = 'é'.repeat(10) + 'x'.repeat(65_536 - frame(2, '') - 20);
    return [await outcome(client.publish('c', fits)), await outcome(client.publish('c', `${fits}x`)), client.state];
  });
  assert.deepEqual(sizes[0], {});
  assert.deepEqual([sizes[1].name, sizes[1].code], ['NotSentError', 3]);
  assert.equal(sizes[2], 'connected');
  assert.ok(server.last.frames.includes(65_536), `${server.last.frames}`);
}));

test('many commands at once keep to the size of a frame', withPage(async ({ page, server, edge }) => {
  await page.evaluate((edge) => {
    globalThis.client = new causeway.Client(edge);
    for (let n = 0; n < 128; n += 1) client.subscribe(`room-${n}`, { data: 'x'.repeat(1000) });
    client.connect();
  }, edge);
  await page.evaluate(() => client.subscription('room-127').ready());
  assert.equal(server.last.of('subscribe').length, 128);
  assert.equal(server.connections.length, 1);
  assert.ok(server.last.frames.length > 1 && server.last.frames.every((size) => size <= 65_536), `${server.last.frames}`);
}));

test('publications right behind their subscribe reply are seen', withPage(async ({ page, server, edge }) => {
  server.answers.subscribe = (_, connection, { id }) => {
    connection.send(`{"id":${id},"subscribe":{}}\n{"push":{"channel":"room","pub":{"data":1}}}\n{"push":{"channel":"room","pub":{"data":2}}}`);
  };
  await connected({ page, server, edge });
  await subscribe(page, 'room');
  const log = await untilLog(page, 'room', (log) => log.length >= 3);
  assert.deepEqual(types(log), ['subscribed', 'publication', 'publication']);
  assert.deepEqual(log.slice(1).map(({ detail }) => detail.data), [1, 2]);
}));

test('joins, leaves and messages of the server come as events', withPage(async ({ page, server, edge }) => {
  const connection = await connected({ page, server, edge });
  await subscribe(page, 'room');
  await page.evaluate(() => room.ready());
  const info = { user: 'bob', client: 'b' };
  connection.push({ channel: 'room', join: { info } });
  connection.push({ channel: 'room', leave: { info } });
  connection.push({ message: { data: 7 } });
  connection.push({ channel: '#alice', pub: { data: 8, info } });
  const log = await untilLog(page, 'client', (log) => log.filter(({ type }) => type === 'message').length === 2);
  assert.deepEqual(log.slice(-2).map(({ detail }) => [detail.user, detail.data]), [[null, 7], ['bob', 8]]);
  const room = await page.evaluate(() => globalThis.room.log);
  assert.deepEqual(types(room), ['subscribed', 'join', 'leave']);
}));

test('history and presence are asked for', withPage(async ({ page, server, edge }) => {
  server.answers.history = ({ limit }) => ({ publications: [{ data: limit, offset: 4 }], epoch: 'e', offset: 5 });
  server.answers.presence = () => ({ presence: { b: { user: 'bob', client: 'b' } } });
  await connected({ page, server, edge });
  const { publications, position } = await page.evaluate(() => client.history('room', { limit: 3, reverse: true }));
  assert.deepEqual(server.last.of('history'), [{ channel: 'room', limit: 3, reverse: true }]);
  assert.deepEqual([publications[0].data, publications[0].offset, position], [3, 4, { offset: 5, epoch: 'e' }]);
  assert.deepEqual(await page.evaluate(() => client.presence('room')), [{ user: 'bob', client: 'b' }]);
}));

test('a subscription goes on where it was', withPage(async ({ page, server, edge }) => {
  const replies = [
    { recoverable: true, positioned: true, epoch: 'one', offset: 7 },
    {
      recoverable: true, positioned: true, epoch: 'one', offset: 9, was_recovering: true, recovered: true,
      publications: [{ data: 'c', offset: 10 }, { data: 'd', offset: 11 }],
    },
    { recoverable: true, positioned: true, epoch: 'two', offset: 2, was_recovering: true },
  ];
  server.answers.subscribe = (_, { number }) => replies[number - 1];
  const first = await connected({ page, server, edge });
  await subscribe(page, 'room');
  await page.evaluate(() => room.ready());
  first.publish('room', 'a', 8);
  first.publish('room', 'b', 9);
  first.publish('room', 'b', 9);
  await untilLog(page, 'room', (log) => log.some(({ detail }) => detail.data === 'b'));
  first.kill();
  const second = await server.connected(2);
  await untilLog(page, 'room', (log) => log.some(({ detail }) => detail.data === 'd'));
  assert.deepEqual(second.of('subscribe'), [{ channel: 'room', recoverable: true, recover: true, offset: 9, epoch: 'one' }]);
  assert.deepEqual(await page.evaluate(() => room.position), { offset: 11, epoch: 'one' });
  second.kill();
  const third = await server.connected(3);
  const log = await untilLog(page, 'room', (log) => log.filter(({ type }) => type === 'subscribed').length === 3);
  assert.deepEqual(third.of('subscribe'), [{ channel: 'room', recoverable: true, recover: true, offset: 11, epoch: 'one' }]);
  assert.deepEqual(log.filter(({ type }) => type === 'publication').map(({ detail }) => detail.data), ['a', 'b', 'c', 'd']);
  const outcomes = log.filter(({ type }) => type === 'subscribed').map(({ detail }) => [detail.wasRecovering, detail.recovered]);
  assert.deepEqual(outcomes, [[false, false], [true, true], [true, false]]);
  assert.deepEqual(await page.evaluate(() => room.position), { offset: 2, epoch: 'two' });
}));

test('a subscription begins where a former page was', withPage(async ({ page, server, edge }) => {
  await connected({ page, server, edge });
  await subscribe(page, 'room', { since: { offset: 3, epoch: 'e' } });
  await page.evaluate(() => room.ready());
  assert.deepEqual(server.last.of('subscribe'), [{ channel: 'room', recoverable: true, recover: true, offset: 3, epoch: 'e' }]);
}));

test('subscriptions that the server made go on where they were', withPage(async ({ page, server, edge }) => {
  const subs = [
    { '#alice': {}, news: { recoverable: true, epoch: 'e', offset: 4 } },
    { '#alice': {}, news: { recoverable: true, epoch: 'e', offset: 5, was_recovering: true, recovered: true, publications: [{ data: 6, offset: 6 }] } },
  ];
  server.answers.connect = (_, { number }) => ({ client: 'c', version: 'Causeway test', subs: subs[number - 1] });
  const first = await connected({ page, server, edge });
  assert.equal(first.of('connect')[0].subs, undefined);
  first.publish('news', 5, 5);
  await untilLog(page, 'client', (log) => log.some(({ type }) => type === 'publication'));
  first.kill();
  const second = await server.connected(2);
  assert.deepEqual(second.of('connect')[0].subs, { news: { recover: true, offset: 5, epoch: 'e' } });
  const log = await untilLog(page, 'client', (log) => log.filter(({ type }) => type === 'publication').length === 2);
  assert.equal(log.at(-1).detail.data, 6);
  assert.deepEqual(log.at(-2).detail.subscriptions[1], {
    channel: 'news', wasRecovering: true, recovered: true, position: { offset: 5, epoch: 'e' }, data: undefined,
  });
}));

test('insufficient state is caught up with, an end by the server is one', withPage(async ({ page, server, edge }) => {
  server.answers.subscribe = () => ({ recoverable: true, epoch: 'e', offset: 7 });
  const connection = await connected({ page, server, edge });
  await subscribe(page, 'room');
  await page.evaluate(() => room.ready());
  connection.push({ channel: 'room', unsubscribe: { code: 2500, reason: 'insufficient state' } });
  await server.until(() => connection.of('subscribe').length === 2, 'a second subscribe');
  assert.deepEqual(connection.of('subscribe')[1], { channel: 'room', recoverable: true, recover: true, offset: 7, epoch: 'e' });
  await untilLog(page, 'room', (log) => log.filter(({ type }) => type === 'subscribed').length === 2);
  connection.push({ channel: 'room', unsubscribe: { code: 2000, reason: 'server unsubscribe' } });
  const log = await untilLog(page, 'room', (log) => log.at(-1).type === 'unsubscribed');
  assert.deepEqual(log.at(-1).detail, { code: 2000, reason: 'server unsubscribe' });
  assert.equal(server.connections.length, 1);
}));

test('a subscription that is refused for now comes back, one for good does not', withPage(async ({ page, server, edge }) => {
  let asked = 0;
  server.answers.subscribe = ({ channel }) => {
    if (channel === 'closed') return { error: { code: 103, message: 'permission denied' } };
    asked += 1;
    return asked < 3 ? { error: { code: 100, message: 'internal server error', temporary: true } } : {};
  };
  await connected({ page, server, edge });
  await subscribe(page, 'closed');
  const ended = await page.evaluate(() => outcome(room.ready()));
  assert.match(ended.message, /permission denied \(103\)/);
  await subscribe(page, 'busy');
  await page.evaluate(() => room.ready());
  assert.equal(asked, 3);
}));

test('a subscription is left when its signal says so, and made anew', withPage(async ({ page, server, edge }) => {
  const connection = await connected({ page, server, edge });
  await page.evaluate(async () => {
    const stop = new AbortController();
    globalThis.room = subscribed(client, 'room', { signal: stop.signal });
    await room.ready();
    stop.abort();
  });
  await server.until(() => connection.of('unsubscribe').length === 1);
  const again = await page.evaluate(async () => {
    const second = client.subscribe('room');
    let refused = '';
    try {
      client.subscribe('room');
    } catch (error) {
      refused = error.code;
    }
    await second.ready();
    return [room.state, second.state, refused];
  });
  assert.deepEqual(again, ['unsubscribed', 'subscribed', 105]);
  connection.publish('room', 'x');
}));

test('a token that cannot be renewed ends with its expiry', withPage(async ({ page, server, edge }) => {
  server.answers.connect = () => ({ error: { code: 109, message: 'token expired' } });
  await page.evaluate((edge) => void (globalThis.client = watched(edge, { token: 'old' })), edge);
  const log = await untilLog(page, 'client', (log) => log.at(-1)?.type === 'disconnected');
  assert.deepEqual(log.at(-1).detail, { code: 109, reason: 'token expired' });
}));

/** Makes `client` with tokens `1`, `2`, …; why each was asked for is in `client.asked`. */
const withTokens = (page, edge) =>
  page.evaluate((edge) => {
    const asked = [];
    globalThis.client = watched(edge, {
      token: ({ reason }) => {
        asked.push(reason);
        return `${asked.length}`;
      },
    });
    client.asked = asked;
  }, edge);

test('an expired token is renewed, in connect, by refresh, and when the server says so', withPage(async ({ page, server, edge }) => {
  server.answers.connect = ({ token }) =>
    token === '1'
      ? { error: { code: 109, message: 'token expired' } }
      : { client: 'c', version: 'Causeway test', expires: true, ttl: token === '2' ? 2 : 600 };
  await withTokens(page, edge);
  const second = await server.connected(2);
  assert.equal(second.of('connect')[0].token, '2');
  await server.until(() => second.of('refresh').length === 1, 'a refresh');
  assert.deepEqual(second.of('refresh'), [{ token: '3' }]);
  second.disconnect(3005, 'connection expired');
  const third = await server.connected(3);
  assert.equal(third.of('connect')[0].token, '4');
  assert.deepEqual(await page.evaluate(() => client.asked), ['connect', 'expired', 'refresh', 'expired']);
  third.kill();
  assert.equal((await server.connected(4)).of('connect')[0].token, '4', 'a good token is kept');
}));

test('no token is an end, a failure to get one is not', withPage(async ({ page, server, edge }) => {
  const log = await page.evaluate(async (edge) => {
    let asked = 0;
    globalThis.client = watched(edge, {
      token: async () => {
        asked += 1;
        if (asked < 3) throw new Error('the network is away');
        return '';
      },
    });
    await outcome(client.ready());
    return client.log;
  }, edge);
  assert.deepEqual(types(log), ['connecting', 'error', 'error', 'disconnected']);
  assert.equal(log.at(-1).detail.code, 4);
  assert.equal(server.connections.length, 0);
}));

test("a subscription's own token is fetched, renewed and refreshed", withPage(async ({ page, server, edge }) => {
  server.answers.subscribe = ({ token }) =>
    token === 'room-1' ? { error: { code: 109, message: 'token expired' } } : { expires: true, ttl: 2 };
  server.answers.sub_refresh = () => ({ expires: true, ttl: 600 });
  const connection = await connected({ page, server, edge });
  await page.evaluate(async () => {
    let asked = 0;
    const token = async ({ channel }) => `${channel}-${(asked += 1)}`;
    globalThis.room = subscribed(client, 'room', { token });
    await room.ready();
  });
  assert.deepEqual(connection.of('subscribe').map(({ token }) => token), ['room-1', 'room-2']);
  await server.until(() => connection.of('sub_refresh').length === 1, 'a refresh');
  assert.deepEqual(connection.of('sub_refresh'), [{ channel: 'room', token: 'room-3' }]);
  connection.push({ channel: 'room', unsubscribe: { code: 2501, reason: 'subscription expired' } });
  await server.until(() => connection.of('subscribe').length === 3, 'another subscribe');
  assert.equal(connection.of('subscribe')[2].token, 'room-4');
}));

for (const code of terminal) {
  test(`code ${code} is an end`, withPage(async ({ page, server, edge }) => {
    const connection = await connected({ page, server, edge });
    await subscribe(page, 'room');
    connection.disconnect(code, 'because');
    const log = await untilLog(page, 'client', (log) => log.at(-1).type === 'disconnected');
    assert.deepEqual(log.at(-1).detail, { code, reason: 'because' });
    const after = await page.evaluate(async () => {
      await new Promise((resolve) => setTimeout(resolve, 300));
      return [client.state, (await outcome(client.send('bob', 1))).name];
    });
    assert.deepEqual(after, ['disconnected', 'NotSentError']);
    assert.equal(server.connections.length, 1);
  }));
}

test('other codes are not', withPage(async ({ page, server, edge }) => {
  await connected({ page, server, edge }, { timings: { settled: 0 } });
  for (const [at, code] of passing.entries()) {
    (await server.connected(at + 1)).disconnect(code, 'because');
    await server.connected(at + 2);
  }
  const log = await untilLog(page, 'client', `(log) => log.filter(({ type }) => type === 'connected').length > ${passing.length}`);
  assert.deepEqual([...new Set(types(log))], ['connecting', 'connected']);
}));

test('an error to connect is an end, unless it is temporary', withPage(async ({ page, server, edge }) => {
  server.answers.connect = (_, { number }) =>
    number < 3
      ? { error: { code: 100, message: 'internal server error', temporary: true } }
      : { error: { code: 103, message: 'permission denied' } };
  await page.evaluate((edge) => void (globalThis.client = watched(edge)), edge);
  const log = await untilLog(page, 'client', (log) => log.at(-1)?.type === 'disconnected');
  assert.deepEqual(types(log), ['connecting', 'error', 'error', 'disconnected']);
  assert.equal(log.at(-1).detail.code, 103);
  assert.equal(server.connections.length, 3);
}));

test('an edge that has gone silent is left', withPage(async ({ page, server, edge }) => {
  const connection = await connected({ page, server, edge });
  const begun = performance.now();
  connection.mute();
  await server.connected(2);
  await page.evaluate(() => client.ready());
  const log = await page.evaluate(() => client.log);
  console.log(`silent edge: connected elsewhere after ${Math.round(performance.now() - begun)} ms`);
  assert.equal(log[2].detail.code, 5);
  assert.ok(performance.now() - begun < 15_000);
}));

test('a server that pings gets pongs, and is left when it stops', withPage(async ({ page, server, edge }) => {
  server.answers.connect = () => ({ client: 'c', version: '6.9.1 OSS', ping: 1, pong: true });
  const connection = await connected({ page, server, edge }, { timings: { pingGrace: 1000, probeAfter: 200 } });
  connection.send('{}');
  await server.until(() => connection.commands.some((command) => Object.keys(command).length === 0), 'a pong');
  await server.connected(2);
  assert.equal(connection.of('ping').length, 0, 'others take the ping command for a mistake');
  const unsupported = await page.evaluate(() => client.ready().then(() => outcome(client.ping())));
  assert.equal(unsupported.code, 108);
}));

test('a quiet connection is asked whether it lives, and stays', withPage(async ({ page, server, edge }) => {
  const connection = await connected({ page, server, edge }, { timings: { probeAfter: 100 } });
  await server.until(() => connection.of('ping').length >= 5, 'five pings');
  const round = await page.evaluate(() => client.ping());
  console.log(`round trip to the scripted server: ${round.toFixed(1)} ms`);
  assert.ok(connection.isOpen && round > 0);
}));

test('a server that ends every connection is not stormed', withPage(async ({ page, server, edge }) => {
  server.answers.connect = (_, connection) => void setTimeout(() => connection.disconnect(3004, 'internal server error'));
  await page.evaluate((edge) => void (globalThis.client = watched(edge)), edge);
  await new Promise((resolve) => setTimeout(resolve, 6000));
  console.log(`connections to a server that ends each at once, in 6 s: ${server.connections.length}`);
  assert.ok(server.connections.length >= 2 && server.connections.length <= 25, `${server.connections.length}`);
}));

test('the next edge is tried when one is away', withPage(async ({ page, server }) => {
  const edges = [{ websocket: 'ws://127.0.0.1:9/connection/websocket' }, { websocket: server.url }];
  await page.evaluate((edges) => void (globalThis.client = watched(edges)), edges);
  await server.connected(1);
  await page.evaluate(() => client.ready());
}));

test('the next edge is tried when one ends before it answers connect', withPage(async ({ page, server }) => {
  const other = await startServer();
  try {
    other.answers.connect = (_, connection) => void connection.kill();
    const edges = [{ websocket: other.url }, { websocket: server.url }];
    await page.evaluate((edges) => void (globalThis.client = watched(edges)), edges);
    await server.connected(1);
    await page.evaluate(() => client.ready());
  } finally {
    await other.stop();
  }
}));

test('a token that never comes is asked for again', withPage(async ({ page, server }) => {
  await page.evaluate((edge) => {
    let asked = 0;
    const token = () => (asked++ === 0 ? new Promise(() => {}) : 'second');
    globalThis.client = watched(edge, { token, timings: { token: 200 } });
  }, { websocket: server.url });
  await server.connected(1);
  await page.evaluate(() => client.ready());
}));

test('a page that is left or frozen lets go, and comes back', withPage(async ({ page, server, edge }) => {
  await connected({ page, server, edge });
  await subscribe(page, 'room');
  await page.evaluate(() => room.ready());
  const say = (target, type) =>
    page.evaluate(([target, type]) => globalThis[target].dispatchEvent(new Event(type)), [target, type]);
  for (const [nth, target, leaves, returns] of [[1, 'window', 'pagehide', 'pageshow'], [2, 'document', 'freeze', 'resume']]) {
    await say(target, leaves);
    await server.until(() => !server.connections[nth - 1].isOpen, 'the end of the connection');
    assert.equal(server.connections[nth - 1].closeCode, 3000);
    assert.equal(await page.evaluate(() => client.state), 'connecting');
    assert.equal(server.connections.length, nth);
    await say(target, returns);
    await server.connected(nth + 1);
    await page.evaluate(() => room.ready());
  }
}));

test('a network that comes back is used at once', withPage(async ({ page, server, edge }) => {
  const connection = await connected({ page, server, edge }, { timings: { retryFirst: 3_600_000 } });
  connection.kill();
  await untilLog(page, 'client', (log) => log.at(-1).type === 'connecting');
  await page.evaluate(() => dispatchEvent(new Event('online')));
  await server.connected(2);
}));

test('who disconnects is left alone, and subscribed again when he connects', withPage(async ({ page, server, edge }) => {
  const connection = await connected({ page, server, edge });
  await subscribe(page, 'room');
  await page.evaluate(async () => {
    await room.ready();
    client.disconnect();
  });
  await server.until(() => !connection.isOpen);
  assert.equal(connection.closeCode, 3000);
  const state = await page.evaluate(async () => {
    const before = [client.state, room.state];
    client.connect();
    await room.ready();
    return [...before, client.state];
  });
  assert.deepEqual(state, ['disconnected', 'subscribing', 'connected']);
}));

test('what was said just before an end goes out', withPage(async ({ page, server, edge }) => {
  const connection = await connected({ page, server, edge });
  const last = await page.evaluate(() => {
    const sending = outcome(client.send('bob', 'goodbye'));
    client.disconnect();
    return sending;
  });
  assert.equal(last.name, 'NotKnownError');
  await server.until(() => connection.of('rpc').length === 1, 'the last word');
}));

test('signals end a client and the waiting for one', withPage(async ({ page, server, edge }) => {
  server.answers.connect = () => undefined;
  const results = await page.evaluate(async (edge) => {
    const stop = new AbortController();
    globalThis.client = watched(edge, { signal: stop.signal });
    const timeout = (await outcome(client.ready({ signal: AbortSignal.timeout(50) }))).name;
    const over = outcome(client.ready());
    stop.abort();
    client.connect();
    return [timeout, (await over).name, client.state];
  }, edge);
  assert.deepEqual(results, ['TimeoutError', 'NotSentError', 'disconnected']);
}));
