// The judge of the scenarios bites: a history that is made up, one thing in it that must not be, one sentence about it.

import assert from 'node:assert/strict';
import { describe, test } from 'node:test';

import { History, differences, figures, judge, routesWanted } from './lib/history.mjs';

/** Ada on edge-1 writes to bob on edge-2, once a second from 1000 on; each message takes 2 ms. */
function fine() {
  const history = new History();
  const ada = Object.assign(history.connection('ada', 'edge-1'), { asked: 9, opened: 10 });
  const bob = Object.assign(history.connection('bob', 'edge-2'), { asked: 19, opened: 20 });
  for (const begun of [1000, 2000, 3000]) {
    const send = history.send(ada.id, 'bob', begun);
    history.receipts.push({ send: send.id, connection: bob.id, from: 'ada', at: begun + 1 });
    send.verdicts.push({ at: begun + 2, kind: 'delivered', n: 1 });
  }
  return { history, ada, bob, sends: history.sends, receipts: history.receipts };
}

const also = (history, user, edge, times) => Object.assign(history.connection(user, edge), times);
const offline = (at) => [{ at, kind: 'offline', n: 0 }];
const unknown = (at) => [{ at, kind: 'unknown', n: 0 }];

/** What was changed in the fine history, and what the judge must say of it, if anything. */
const CASES = [
  ['nothing', () => {}],

  ['a verdict is missing', ({ sends }) => sends[1].verdicts.pop(), /^I1: message 1 to bob got no verdict$/],
  ['there are two verdicts', ({ sends }) => sends[1].verdicts.push({ at: 2003, kind: 'delivered', n: 1 }), /^I1: .* 2 verdicts$/],
  ['a verdict is late', ({ sends }) => (sends[1].verdicts[0].at = 6501), /^I1: .* after 4501 ms$/],
  ['a verdict is just in time', ({ sends }) => (sends[1].verdicts[0].at = 6500)],
  [
    'the sender has gone before his verdict came',
    ({ ada, sends }) => {
      Object.assign(ada, { leaving: 3001, closed: 3001 });
      sends[2].verdicts.pop();
    },
  ],
  [
    'the sender has gone long after his verdict was due',
    ({ ada, sends }) => {
      Object.assign(ada, { leaving: 9000, closed: 9000 });
      sends[2].verdicts.pop();
    },
    /^I1: message 2 to bob got no verdict$/,
  ],
  [
    'the sender’s edge stood still, and answered when it went on',
    ({ history, sends }) => {
      history.freezes.push({ edge: 'edge-1', from: 1500, to: 9000 });
      sends[1].verdicts[0].at = 9100;
    },
  ],
  [
    'another edge stood still, and the sender waited too long',
    ({ history, sends }) => {
      history.freezes.push({ edge: 'edge-2', from: 1500, to: 9000 });
      sends[1].verdicts[0].at = 9100;
    },
    /^I1: .* after 7100 ms$/,
  ],

  ['a delivered message never came', ({ receipts }) => receipts.pop(), /^I2: .* delivered to 1, came on 0, and 0 ended/],
  [
    'a delivered message never came, since the device had gone',
    ({ bob, receipts }) => {
      receipts.pop();
      Object.assign(bob, { leaving: 3001, closed: 3001 });
    },
  ],
  [
    'a delivered message never came, and the device went before it was sent',
    ({ bob, receipts }) => {
      receipts.pop();
      Object.assign(bob, { leaving: 2900, closed: 2900 });
    },
    /^I2: .* delivered to 1, came on 0, and 0 ended/,
  ],
  [
    'a delivered message never came, since the device had gone before it was told that it is logged in',
    ({ history, sends }) => {
      also(history, 'bob', 'edge-1', { asked: 2500, leaving: 3001, closed: 3001 });
      sends[2].verdicts[0].n = 2;
    },
  ],
  [
    'a delivered message never came, and the device logged in only later',
    ({ history, sends }) => {
      also(history, 'bob', 'edge-1', { asked: 3500, opened: 3501, leaving: 3601, closed: 3601 });
      sends[2].verdicts[0].n = 2;
    },
    /^I2: .* delivered to 2, came on 1, and 0 ended/,
  ],
  ['a message came twice', ({ receipts }) => receipts.push({ ...receipts[2], at: 3002 }), /^I2: .* came twice on one connection$/],
  [
    'a rejected message came',
    ({ sends }) => (sends[0].verdicts = [{ at: 1002, kind: 'rejected', n: 0 }]),
    /^I2: .* was rejected, and came$/,
  ],
  ['a message of unknown fate came', ({ sends }) => (sends[0].verdicts = unknown(1002))],
  [
    'a message of unknown fate did not come',
    ({ sends, receipts }) => {
      sends[2].verdicts = unknown(3002);
      receipts.pop();
    },
  ],
  ['more devices are counted than there are', ({ sends }) => (sends[0].verdicts[0].n = 2), /^I2: .* delivered to 2, came on 1/],
  [
    'a second device is missed',
    ({ history }) => also(history, 'bob', 'edge-1', { opened: 2500 }),
    /^I2: message 2 .* delivered to 1, but 2 of his devices were there$/,
  ],
  [
    'a second device is missed while something is broken',
    ({ history }) => {
      also(history, 'bob', 'edge-1', { opened: 2500 });
      history.faults.push({ from: 2900, to: 3100 });
    },
  ],
  [
    'a second device gets what is not counted',
    ({ history, receipts }) => {
      const second = also(history, 'bob', 'edge-1', { opened: 2500, leaving: 3001, closed: 3050 });
      receipts.push({ send: 2, connection: second.id, from: 'ada', at: 3002 });
    },
    /^I2: .* delivered to 1 and came on 2$/,
  ],

  [
    'somebody who is there is called offline',
    ({ sends, receipts }) => {
      sends[2].verdicts = offline(3002);
      receipts.pop();
    },
    /^I3: .* called offline, but he was on edge-2 throughout$/,
  ],
  [
    'somebody who has just gone is called offline',
    ({ bob, sends, receipts }) => {
      Object.assign(bob, { leaving: 3001, closed: 3010 });
      sends[2].verdicts = offline(3002);
      receipts.pop();
    },
  ],
  [
    'somebody whom the server has just let go is called offline before he notices',
    ({ bob, sends, receipts }) => {
      Object.assign(bob, { leaving: 3100, closed: 3100, byServer: true });
      sends[2].verdicts = offline(3002);
      receipts.pop();
    },
  ],
  [
    'somebody is called offline who changes his device without leaving the edge',
    ({ history, bob, sends, receipts }) => {
      Object.assign(bob, { leaving: 3001, closed: 3001 });
      also(history, 'bob', 'edge-2', { opened: 2999 });
      sends[2].verdicts = offline(3003);
      receipts.pop();
    },
    /^I3: .* called offline, but he was on edge-2 throughout$/,
  ],
  [
    'somebody is called offline who changes the edge',
    ({ history, bob, sends, receipts }) => {
      Object.assign(bob, { leaving: 3001, closed: 3001 });
      also(history, 'bob', 'edge-1', { opened: 2999, leaving: 3002.5 });
      sends[2].verdicts = offline(3003);
      receipts.pop();
    },
  ],
  ['somebody is called offline and gets it later', ({ sends }) => (sends[1].verdicts = offline(2002)), /^I3: .* called offline, and came$/],
  [
    'somebody is called offline whose edge stands still for long',
    ({ history, sends, receipts }) => {
      history.freezes.push({ edge: 'edge-2', from: 1002, to: 8000 });
      sends[2].verdicts = offline(3002);
      receipts.pop();
    },
  ],
  [
    'somebody is called offline whose edge has stood still for a moment only',
    ({ history, sends, receipts }) => {
      history.freezes.push({ edge: 'edge-2', from: 1003, to: 8000 });
      sends[2].verdicts = offline(3002);
      receipts.pop();
    },
    /^I3: .* he was on edge-2 throughout$/,
  ],

  ['two messages come in the wrong order', ({ receipts }) => receipts.reverse(), /^I4: message [01] .* came after message/],
  [
    'two devices are not equally fast',
    ({ history, receipts }) => {
      const second = also(history, 'bob', 'edge-1', { opened: 20 });
      for (const send of history.sends) {
        send.verdicts[0].n = 2;
        receipts.push({ send: send.id, connection: second.id, from: 'ada', at: send.begun + 3 });
      }
    },
  ],

  [
    'a message comes to somebody else',
    ({ history, receipts }) => {
      const eve = also(history, 'eve', 'edge-2', { opened: 20 });
      receipts.push({ ...receipts[2], connection: eve.id });
    },
    /^I5: .* to bob came to eve$/,
  ],
  ['a message comes under a false name', ({ receipts }) => (receipts[0].from = 'eve'), /^I5: .* as if eve had sent it$/],
  ['a message comes before the login is answered', ({ bob }) => (bob.opened = 1500), /^I5: .* before he was logged in$/],
  ['a message comes that nobody sent', ({ receipts }) => receipts.push({ send: 77, connection: 1, from: 'ada', at: 1 }), /^I5: .* that nobody sent: 77$/],

  [
    'an edge has a lower epoch than before',
    ({ history }) => history.leases.push({ at: 1, ids: ['edge-1.5'] }, { at: 2, ids: ['edge-1.7'] }, { at: 3, ids: ['edge-1.5'] }),
    /^I6: edge-1 has epoch 5 after 7$/,
  ],
  [
    'an edge has a lower epoch beside the higher one',
    ({ history }) => history.leases.push({ at: 1, ids: ['edge-1.5'] }, { at: 2, ids: ['edge-1.5', 'edge-1.7'] }, { at: 3, ids: ['edge-1.7'] }),
  ],
];

describe('the judge', () => {
  for (const [what, change, told] of CASES) {
    test(`${told ? 'tells' : 'does not mind'} that ${what}`, () => {
      const made = fine();
      change(made);
      const wrong = judge(made.history);
      if (!told) return assert.deepEqual(wrong, []);
      assert.ok(wrong.some((sentence) => told.test(sentence)), `${told} in ${JSON.stringify(wrong)}`);
      // One misdeed is told as that one: all that is said is of one kind.
      assert.deepEqual([...new Set(wrong.map((sentence) => sentence.slice(0, 2)))], [told.source.slice(1, 3)], wrong.join('\n'));
    });
  }

  test('counts', () => {
    const { history, sends } = fine();
    sends[0].verdicts = [];
    sends[1].verdicts = unknown(2500);
    assert.deepEqual(figures(history), { sends: 3, connections: 2, delivered: 1, offline: 0, unknown: 1, rejected: 0, none: 1, slowest: 500 });
  });
});

test('routes are compared in both directions (I7)', () => {
  const { history } = fine();
  also(history, 'bob', 'edge-1', { opened: 30 });
  also(history, 'bob', 'edge-1', { opened: 40 });
  also(history, 'gone', 'edge-1', { opened: 30, leaving: 40, closed: 40 });
  also(history, 'knocking', 'edge-1', {});
  const wanted = routesWanted(history, (edge) => `${edge}.7`);
  assert.deepEqual(wanted, new Map([['#ada', ['edge-1.7']], ['#bob', ['edge-1.7', 'edge-2.7']]]));
  assert.deepEqual(differences(wanted, wanted), []);
  const found = new Map([['#bob', ['edge-1.7', 'edge-2.6']], ['#gone', ['edge-1.7']]]);
  assert.deepEqual(differences(wanted, found), [
    'I7: #ada lacks edge-1.7',
    'I7: #bob lacks edge-2.7',
    'I7: #bob has edge-2.6, where he is not',
    'I7: #gone has edge-1.7, where he is not',
  ]);
});
