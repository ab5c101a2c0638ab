// A client that somebody else wrote: the npm package `centrifuge`, unchanged, with WebSocket from `ws`.

import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';

import { Centrifuge } from 'centrifuge';
import WebSocket from 'ws';

import { SECRET, startDev, startEdge } from './lib/cluster.mjs';
import { metrics } from './lib/http.mjs';
import { freePorts } from './lib/process.mjs';
import { Raw } from './lib/raw.mjs';
import { tokenFor, unix } from './lib/token.mjs';
import { Inbox, SOON, pause, until, within } from './lib/wait.mjs';

const open = new Set();

/** A client that is not yet connecting; it retries fast, so that tests need not wait for its patience. */
function client(url, options) {
  const made = new Centrifuge(url, { websocket: WebSocket, minReconnectDelay: 20, maxReconnectDelay: 100, ...options });
  open.add(made);
  made.states = [];
  made.on('state', ({ newState }) => made.states.push(newState));
  made.inbox = new Inbox();
  made.on('publication', (context) => made.inbox.push(context));
  return made;
}

const happens = (emitter, event, milliseconds = SOON) =>
  within(milliseconds, `'${event}'`, new Promise((resolve) => emitter.once(event, resolve)));

async function connected(url, user, { claims, secret, ...options } = {}) {
  const made = client(url, { token: tokenFor(user, claims, secret && { secret }), ...options });
  made.connect();
  await within(SOON, `${user} to be connected`, made.ready());
  return made;
}

/** Subscribes and waits for the reply; publications go to `.inbox`. */
async function subscribed(made, channel) {
  const subscription = made.newSubscription(channel);
  subscription.inbox = new Inbox();
  subscription.on('publication', (context) => subscription.inbox.push(context));
  subscription.subscribe();
  await within(SOON, `a subscription to ${channel}`, subscription.ready());
  return subscription;
}

const send = async (made, to, data) => (await made.rpc('send', { to, data })).data;

/** The code with which `promise` is rejected. */
const refusal = async (promise) => {
  const error = await promise.then(
    () => assert.fail('it was not refused'),
    (error) => error,
  );
  return error.code;
};

describe('a foreign client', { concurrency: true, timeout: 90_000 }, () => {
  let dev;
  let urls;
  before(async () => {
    dev = await startDev();
    urls = dev.edges.map((edge) => edge.url);
  });
  after(async () => {
    for (const made of open) made.disconnect();
    await dev?.stop();
  });

  test('connects, subscribes, and publishes across two edges, and gets its own publications', async () => {
    const [ada, bea] = await Promise.all([connected(urls[0], 'ada'), connected(urls[1], 'bea')]);
    const [here, there] = await Promise.all([subscribed(ada, 'news'), subscribed(bea, 'news')]);
    await here.publish({ text: 'hello' });
    const [own, foreign] = await Promise.all([here.inbox.next(), there.inbox.next()]);
    for (const publication of [own, foreign]) {
      assert.deepEqual(publication.data, { text: 'hello' });
      assert.equal(publication.channel, 'news');
      assert.equal(publication.info.user, 'ada');
      assert.match(publication.info.client, /^[0-9a-f-]{36}$/);
    }
    await bea.publish('news', 'back');
    assert.equal((await here.inbox.next()).data, 'back');
    assert.equal((await there.inbox.next()).data, 'back');
  });

  test('gets nothing of a channel that it has left', async () => {
    const [ada, bea] = await Promise.all([connected(urls[0], 'leaver'), connected(urls[1], 'stayer')]);
    const [here, there] = await Promise.all([subscribed(ada, 'left'), subscribed(bea, 'left')]);
    here.unsubscribe();
    await there.publish(1);
    await there.inbox.next();
    here.subscribe();
    await within(SOON, 'the subscription again', here.ready());
    await there.publish(2);
    assert.equal((await here.inbox.next()).data, 2, 'the first one is not there');
  });

  for (const [where, edge] of [['the same edge', 0], ['the other edge', 1]]) {
    test(`sends to one device on ${where} and is told 1, and the receiver sees who it was`, async () => {
      const [ada, bob] = await Promise.all([connected(urls[0], `ada-${edge}`), connected(urls[edge], `bob-${edge}`)]);
      assert.deepEqual(await send(ada, `bob-${edge}`, { hi: 'bob' }), { delivered: 1 });
      const { channel, data, info } = await bob.inbox.next();
      assert.deepEqual([channel, data, info.user], [`#bob-${edge}`, { hi: 'bob' }, `ada-${edge}`]);
    });

    test(`sends to two devices, the second on ${where}, and is told 2`, async () => {
      const user = `two-devices-${edge}`;
      const [ada, phone, laptop] = await Promise.all([
        connected(urls[0], `ada-to-two-${edge}`),
        connected(urls[0], user),
        connected(urls[edge], user),
      ]);
      assert.deepEqual(await send(ada, user, 'hi'), { delivered: 2 });
      const got = await Promise.all([phone.inbox.next(), laptop.inbox.next()]);
      assert.deepEqual(got.map(({ data }) => data), ['hi', 'hi']);
      // Each has it once: what comes next is the next one.
      assert.deepEqual(await send(ada, user, 'again'), { delivered: 2 });
      const next = await Promise.all([phone.inbox.next(), laptop.inbox.next()]);
      assert.deepEqual(next.map(({ data }) => data), ['again', 'again']);
    });
  }

  test('is told 2 when both devices are on the edge where it is not', async () => {
    const [ada, ...devices] = await Promise.all([
      connected(urls[0], 'far-sender'),
      connected(urls[1], 'far-devices'),
      connected(urls[1], 'far-devices'),
    ]);
    assert.deepEqual(await send(ada, 'far-devices', 1), { delivered: 2 });
    await Promise.all(devices.map((device) => device.inbox.next()));
  });

  test('is told 0 when nobody of that name is there, and again after he has gone', async () => {
    const [ada, bob] = await Promise.all([connected(urls[0], 'zero-ada'), connected(urls[1], 'zero-bob')]);
    assert.deepEqual(await send(ada, 'zero-nobody', 1), { delivered: 0 });
    assert.deepEqual(await send(ada, 'zero-bob', 1), { delivered: 1 });
    bob.disconnect();
    await until('bob to be offline', async () => (await send(ada, 'zero-bob', 1)).delivered === 0);
  });

  test('reaches somebody from the moment at which he was told that he is connected', async () => {
    const ada = await connected(urls[0], 'prompt-ada');
    for (let round = 0; round < 30; round += 1) {
      const bob = await connected(urls[1], `prompt-${round}`);
      assert.deepEqual(await send(ada, `prompt-${round}`, round), { delivered: 1 });
      bob.disconnect();
    }
  });

  test('publishes to a personal channel, which reaches its user like a directed message', async () => {
    const [ada, bob] = await Promise.all([connected(urls[0], 'pub-ada'), connected(urls[1], 'pub-bob')]);
    await ada.publish('#pub-bob', 'psst');
    const { channel, data, info } = await bob.inbox.next();
    assert.deepEqual([channel, data, info.user], ['#pub-bob', 'psst', 'pub-ada']);
  });

  test('keeps the order of what it sends to one user, and each has its receipt', async () => {
    const [ada, bob] = await Promise.all([connected(urls[0], 'order-ada'), connected(urls[1], 'order-bob')]);
    const numbers = Array.from({ length: 500 }, (_, number) => number);
    const receipts = await Promise.all(numbers.map((number) => send(ada, 'order-bob', number)));
    assert.ok(receipts.every(({ delivered }) => delivered === 1));
    for (const number of numbers) assert.equal((await bob.inbox.next()).data, number);
  });

  test('shows what its token says of it', async () => {
    const [ada, bob] = await Promise.all([
      connected(urls[0], 'info-ada', { claims: { info: { name: 'Ada', age: 36 } } }),
      connected(urls[1], 'info-bob'),
    ]);
    await send(ada, 'info-bob', 1);
    assert.deepEqual((await bob.inbox.next()).info.connInfo, { name: 'Ada', age: 36 });
  });

  test('is subscribed by the server to the channels of its token', async () => {
    const [ada, bob] = await Promise.all([
      connected(urls[0], 'token-channels', { claims: { channels: ['given'] } }),
      connected(urls[1], 'token-sender'),
    ]);
    await bob.publish('given', 'for you');
    const { channel, data } = await ada.inbox.next();
    assert.deepEqual([channel, data], ['given', 'for you']);
  });

  test('gets a new token when its first one has expired (109), and connects', async () => {
    const asked = [];
    const made = client(urls[0], {
      getToken: async () => {
        asked.push(asked.length);
        return tokenFor('expired', asked.length === 1 ? { exp: unix() - 120 } : {});
      },
    });
    const errors = [];
    made.on('error', ({ error }) => errors.push(error.code));
    made.connect();
    await within(SOON, 'the second try', made.ready());
    assert.deepEqual([asked.length, errors], [2, [109]]);
  });

  test('gets a new token with its subscriptions in the same frame, and has them all', async () => {
    let asked = 0;
    const made = client(urls[0], {
      getToken: async () => tokenFor('expired-subscriber', (asked += 1) === 1 ? { exp: unix() - 120 } : {}),
    });
    const subscriptions = ['x1', 'x2', 'x3'].map((channel) => made.newSubscription(channel));
    for (const subscription of subscriptions) subscription.subscribe();
    made.connect();
    await within(SOON, 'three subscriptions', Promise.all(subscriptions.map((subscription) => subscription.ready())));
    assert.equal(asked, 2);
  });

  test('refreshes its token during the session, and outlives the old one; who does not is closed with 3005', async () => {
    const begun = unix();
    const exp = begun + 2;
    let asked = 0;
    const fresh = client(urls[0], {
      getToken: async () => tokenFor('refresher', { exp: (asked += 1) === 1 ? exp : begun + 3600 }),
    });
    fresh.connect();
    await within(SOON, 'the refresher', fresh.ready());
    // A raw client that refreshes never, and one that does it by hand.
    const [stale, manual] = await Promise.all([
      Raw.login(urls[0], 'never-refreshes', { claims: { exp } }),
      Raw.login(urls[0], 'refreshes', { claims: { exp } }),
    ]);
    assert.equal(stale.connected.expires, true);
    assert.ok([1, 2].includes(stale.connected.ttl), `${stale.connected.ttl} s left of 2`);
    const { refresh } = await manual.ask({ refresh: { token: tokenFor('refreshes', { exp: begun + 3600 }) } });
    assert.deepEqual([refresh.expires, refresh.client], [true, manual.connected.client]);
    assert.ok(refresh.ttl > 3500 && refresh.ttl <= 3600, `${refresh.ttl}`);
    const { code, reason } = await stale.end(60_000);
    assert.deepEqual([code, reason], [3005, 'connection expired']);
    const lived = Date.now() / 1000 - exp;
    assert.ok(lived >= 24.5 && lived < 40, `it lived for ${lived} s after its token, and the grace is 25 s`);
    assert.equal(asked, 2);
    assert.deepEqual(fresh.states, ['connecting', 'connected'], 'never interrupted');
    assert.deepEqual(await send(fresh, 'refreshes', 'still here'), { delivered: 1 });
    assert.equal((await manual.publication()).data, 'still here');
    manual.close();
  });

  test('may not refresh with the token of another, nor with an expired one', async () => {
    const claims = { exp: unix() + 3600 };
    const ends = [
      [tokenFor('other', claims), 3500],
      [tokenFor('refused', claims, { secret: 'guessed' }), 3500],
      [tokenFor('refused', { exp: unix() - 120 }), 3005],
      ['', 3501],
    ];
    for (const [token, code] of ends) {
      const raw = await Raw.login(urls[0], 'refused', { claims });
      raw.send(raw.command({ refresh: { token } }));
      assert.equal((await raw.end()).code, code);
    }
  });

  test('subscribes to 100 channels which it had before it connected', async () => {
    const channels = Array.from({ length: 100 }, (_, number) => `room:${number}`);
    const made = client(urls[0], { token: tokenFor('hundred') });
    const subscriptions = channels.map((channel) => {
      const subscription = made.newSubscription(channel);
      subscription.inbox = new Inbox();
      subscription.on('publication', ({ data }) => subscription.inbox.push(data));
      subscription.subscribe();
      return subscription;
    });
    made.connect();
    await within(SOON, '100 subscriptions', Promise.all(subscriptions.map((subscription) => subscription.ready())));
    const other = await connected(urls[1], 'hundred-teller');
    await Promise.all(channels.map((channel) => other.publish(channel, channel)));
    const got = await Promise.all(subscriptions.map((subscription) => subscription.inbox.next()));
    assert.deepEqual(got, channels);
  });

  test('subscribes to 100 channels in one frame with its connect, and the connect is answered first', async () => {
    const raw = await Raw.open(urls[0]);
    const commands = [raw.command({ connect: { token: tokenFor('one-frame') } })];
    for (let number = 0; number < 100; number += 1) {
      commands.push(raw.command({ subscribe: { channel: `frame:${number}`, flag: 1 } }));
    }
    raw.send(commands.join('\n'));
    const replies = [];
    while (replies.length < commands.length) replies.push(await raw.message());
    assert.ok(replies[0].connect, JSON.stringify(replies[0]));
    assert.deepEqual(replies.map(({ id }) => id).sort((a, b) => a - b), replies.map((_, at) => at + 1));
    assert.ok(replies.slice(1).every(({ subscribe }) => subscribe));
    assert.ok(raw.frames < commands.length, `replies share frames: ${raw.frames}`);
    raw.close();
  });

  test('respects 3500: a forged token disconnects it for good', async () => {
    const made = client(urls[0], { token: tokenFor('forger', {}, { secret: 'guessed' }) });
    const gone = happens(made, 'disconnected');
    made.connect();
    const { code, reason } = await gone;
    assert.deepEqual([code, reason, made.state], [3500, 'invalid token', 'disconnected']);
    // Its longest delay would be 100 ms.
    await pause(500);
    assert.deepEqual(made.states, ['connecting', 'disconnected']);
  });

  test('has the channels of its users, and no others', async () => {
    const [alice, bob, carol] = await Promise.all(['alice', 'bob', 'carol'].map((user, at) => Raw.login(urls[at % 2], user)));
    for (const person of [alice, bob]) {
      assert.deepEqual((await person.ask({ subscribe: { channel: 'dialog#alice,bob' } })).subscribe, {});
    }
    assert.equal((await carol.ask({ subscribe: { channel: 'dialog#alice,bob' } })).error.code, 103);
    assert.equal((await carol.ask({ publish: { channel: 'dialog#alice,bob', data: 1 } })).error.code, 103);
    assert.deepEqual((await alice.ask({ subscribe: { channel: 'diary#alice' } })).subscribe, {});
    assert.equal((await bob.ask({ subscribe: { channel: 'diary#alice' } })).error.code, 103);
    alice.send(alice.command({ publish: { channel: 'dialog#alice,bob', data: 'dear bob' } }));
    assert.equal((await bob.publication()).data, 'dear bob');
    for (const person of [alice, bob, carol]) person.close();
  });

  test('has 128 channels, and the 129th is refused with 106', async () => {
    const raw = await Raw.login(urls[0], 'greedy', { claims: { channels: ['a-gift'] } });
    for (let number = 1; number < 128; number += 1) {
      assert.deepEqual((await raw.ask({ subscribe: { channel: `many:${number}` } })).subscribe, {}, `${number}`);
    }
    assert.equal((await raw.ask({ subscribe: { channel: 'many:128' } })).error.code, 106);
    assert.deepEqual((await raw.ask({ unsubscribe: { channel: 'many:1' } })).unsubscribe, {});
    assert.deepEqual((await raw.ask({ subscribe: { channel: 'many:128' } })).subscribe, {});
    raw.close();
  });

  test('has 128 channels when all are its own', async () => {
    const made = await connected(urls[0], 'greedy-js');
    const all = [];
    for (let number = 0; number < 128; number += 1) all.push(subscribed(made, `all:${number}`));
    await Promise.all(all);
    const last = made.newSubscription('all:128');
    const refused = happens(last, 'unsubscribed');
    last.subscribe();
    assert.equal((await refused).code, 106);
  });

  test('names channels of 255 bytes, and not of 256', async () => {
    const raw = await Raw.login(urls[0], 'long-names');
    assert.deepEqual((await raw.ask({ subscribe: { channel: 'c'.repeat(255) } })).subscribe, {});
    assert.equal((await raw.ask({ subscribe: { channel: 'c'.repeat(256) } })).error.code, 107);
    assert.equal((await raw.ask({ publish: { channel: 'c'.repeat(256), data: 1 } })).error.code, 107);
    raw.close();
  });

  test('is refused what is not its, with the code of the protocol', async () => {
    const raw = await Raw.login(urls[0], 'curious');
    const codes = async (request) => (await raw.ask(request)).error?.code;
    for (const [channel, code] of [
      ['$x', 103],
      ['-x', 107],
      ['ü', 107],
      ['#other', 103],
      ['#curious', 105],
      ['#a,b', 107],
    ]) {
      assert.equal(await codes({ subscribe: { channel } }), code, `subscribe ${channel}`);
    }
    assert.deepEqual((await raw.ask({ subscribe: { channel: 'twice' } })).subscribe, {});
    assert.equal(await codes({ subscribe: { channel: 'twice' } }), 105);
    for (const command of ['presence', 'presence_stats', 'history']) {
      assert.equal(await codes({ [command]: { channel: 'twice' } }), 108, command);
    }
    assert.equal(await codes({ rpc: { method: 'unknown', data: {} } }), 108);
    assert.equal(await codes({ rpc: { data: {} } }), 108);
    assert.equal(await codes({ publish: { channel: '$x', data: 1 } }), 103);
    assert.equal(await codes({ publish: { channel: 'twice' } }), 107);
    for (const data of [{}, { to: 'bob' }, { data: 1 }, { to: 7, data: 1 }, { to: '', data: 1 }, { to: 'a,b', data: 1 }, 'bob', null]) {
      assert.equal(await codes({ rpc: { method: 'send', data } }), 107, JSON.stringify(data));
    }
    assert.deepEqual((await raw.ask({ unsubscribe: { channel: 'never-had' } })).unsubscribe, {});
    raw.close();
  });

  test('is told 108 of what is not built, by the library too', async () => {
    const made = await connected(urls[0], 'asker');
    assert.equal(await refusal(made.presence('x')), 108);
    assert.equal(await refusal(made.presenceStats('x')), 108);
    assert.equal(await refusal(made.history('x', { limit: 1 })), 108);
    assert.equal(await refusal(made.rpc('nothing', {})), 108);
    assert.equal(made.state, 'connected');
  });

  test('has its payloads forwarded byte for byte, on its edge and across', async () => {
    const users = ['bytes-0', 'bytes-1'];
    const [sender, ...readers] = await Promise.all([
      Raw.login(urls[0], 'bytes-sender'),
      ...users.map((user, at) => Raw.login(urls[at], user)),
    ]);
    for (const reader of readers) await reader.ask({ subscribe: { channel: 'bytes' } });
    const payloads = [
      '{ "b" :1,  "a": [ 1,2 , 3 ],"b":2 }',
      '"\\u00fc\\u0041 \\/ ü 東京 😀 \\ud83d\\ude00"',
      '123456789012345678901234567890.10e+01',
      '-0.0',
      '{"\\u0061":null,"":{}}',
      '\t[ ]',
      'null',
    ];
    for (const [at, payload] of payloads.entries()) {
      sender.send(`{"id":${1000 + at},"publish":{"channel":"bytes","data":${payload}}}`);
      assert.equal(await sender.line(), `{"id":${1000 + at},"publish":{}}`);
      for (const reader of readers) {
        const line = await reader.line();
        assert.ok(line.includes(`"data":${payload.trim()},"info":`), `${line} has ${payload}`);
      }
      for (const [edge, user] of users.entries()) {
        sender.send(`{"id":${2000 + at},"rpc":{"method":"send","data":{"to":"${user}","data":${payload}}}}`);
        assert.equal(await sender.line(), `{"id":${2000 + at},"rpc":{"data":{"delivered":1}}}`);
        const line = await readers[edge].line();
        assert.ok(line.includes(`"data":${payload.trim()},"info":`), `${line} has ${payload}`);
      }
    }
    for (const raw of [sender, ...readers]) raw.close();
  });

  test('comes back by itself after its edge was killed and started again, with its subscriptions', async () => {
    const [port] = await freePorts(1);
    const settings = { listen: `127.0.0.1:${port}` };
    let edge = await startEdge(settings, { env: { CAUSEWAY_TOKEN_HMAC_SECRET: SECRET } });
    try {
      const made = await connected(edge.url, 'faithful', { secret: SECRET });
      const subscription = await subscribed(made, 'home');
      const lost = happens(made, 'connecting');
      edge.child.signal('SIGKILL');
      const { code } = await lost;
      assert.equal(code, 1, 'transport closed');
      await edge.child.end();
      edge = await startEdge(settings);
      await within(SOON, 'the connection again', made.ready());
      await within(SOON, 'the subscription again', subscription.ready());
      await subscription.publish('back');
      assert.equal((await subscription.inbox.next()).data, 'back');
      assert.deepEqual(await send(made, 'faithful', 1), { delivered: 1 });
      made.disconnect();
    } finally {
      await edge.stop();
    }
  });

  test('is told to come back by an edge that stops', async () => {
    const edge = await startEdge();
    const made = await connected(edge.url, 'guest', { secret: SECRET });
    const lost = happens(made, 'connecting');
    edge.child.signal('SIGTERM');
    assert.equal((await lost).code, 3001);
    made.disconnect();
    assert.equal((await edge.child.end()).code, 0);
  });

  test('disconnects cleanly, and its edge counts that as its own wish', async () => {
    const edge = await startEdge();
    try {
      const made = await connected(edge.url, 'polite', { secret: SECRET });
      made.disconnect();
      await until('the disconnect to be counted', async () => {
        const counted = await metrics(edge);
        return counted.value('edge_disconnects_total', { code: '3000' }) === 1 && counted.value('edge_clients') === 0;
      });
    } finally {
      await edge.stop();
    }
  });
});
