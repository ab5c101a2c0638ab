// What clients saw, and whether it may be so: the judge of the promises I1 to I7.
//
// Clients write down what happened to them, with the time at which they noticed (`performance.now()`); nothing in here
// knows a socket. The judge sees only the clients' side, so that it excuses what a client cannot tell apart: a connection
// that the server ended was surely there only until a little before its client noticed.
//
//   I1  each send gets exactly one verdict, in time
//   I2  delivered n: n connections have it, each once, or ended before they read it; every device gets it
//   I3  offline: the user was not on an edge throughout, and does not get it later either
//   I4  one sender's messages reach one connection in order
//   I5  nothing reaches anybody but its addressee, nor before he has logged in
//   I6  a lower epoch of an edge never replaces a higher one
//   I7  the routes in Redis are those of the clients that are there (`differences`)

/** A verdict comes after 4 s at the latest; the rest is for a busy machine. */
export const VERDICT_MAX = 4500;

/**
 * An edge is lost 3.3 s after it was last heard, which may have been 1 s before it fell silent, or more if it was busy.
 * One that stands still for less than this is not ended.
 */
const UNNOTICED_MAX = 2000;

/** A client may be so late to notice that its server has let it go. */
const NOTICED_AFTER = 250;

export class History {
  /** `{ id, user, edge, asked, opened, leaving, closed, byServer }`: the login sent at, answered at; there until, over at. */
  connections = [];
  /** `{ id, connection, to, begun, verdicts: [{ at, kind, n }] }`; ids grow. */
  sends = [];
  /** `{ send, connection, from, at }`: a message came. */
  receipts = [];
  /** `{ edge, from, to }`: that edge's process stood still, and served again at `to`. */
  freezes = [];
  /** `{ from, to }`: meanwhile a verdict may count fewer than get it: an answer was lost. */
  faults = [];
  /** `{ at, ids }`: who had a lease. */
  leases = [];

  connection(user, edge) {
    const never = { asked: Infinity, opened: Infinity, leaving: Infinity, closed: Infinity };
    const made = { id: this.connections.length, user, edge, ...never, byServer: false };
    this.connections.push(made);
    return made;
  }

  send(connection, to, begun = performance.now()) {
    const made = { id: this.sends.length, connection, to, begun, verdicts: [] };
    this.sends.push(made);
    return made;
  }

  /** Runs `body` as a fault, so that verdicts may be less than exact. */
  async during(body) {
    const fault = { from: performance.now(), to: Infinity };
    this.faults.push(fault);
    try {
      return await body();
    } finally {
      fault.to = performance.now();
    }
  }
}

/** Everything that must not be, as sentences; none is good. */
export function judge(history) {
  const known = index(history);
  return [
    ...history.sends.flatMap((send) => [...inTime(send, history), ...counted(send, known), ...absent(send, known)]),
    ...history.receipts.flatMap((receipt) => addressed(receipt, known)),
    ...ordered(history, known),
    ...epochs(history),
  ];
}

/** How much there was of what. */
export function figures(history) {
  const kinds = { delivered: 0, offline: 0, unknown: 0, rejected: 0, none: 0 };
  let slowest = 0;
  for (const { begun, verdicts } of history.sends) {
    kinds[verdicts[0]?.kind ?? 'none'] += 1;
    if (verdicts[0]) slowest = Math.max(slowest, verdicts[0].at - begun);
  }
  return { sends: history.sends.length, connections: history.connections.length, ...kinds, slowest: Math.round(slowest) };
}

function index({ connections, sends, receipts, freezes, faults }) {
  const grouped = (list, by) => {
    const groups = new Map();
    for (const one of list) {
      const key = by(one);
      if (!groups.has(key)) groups.set(key, []);
      groups.get(key).push(one);
    }
    return (key) => groups.get(key) ?? [];
  };
  return {
    connections: new Map(connections.map((connection) => [connection.id, connection])),
    sends: new Map(sends.map((send) => [send.id, send])),
    ofUser: grouped(connections, ({ user }) => user),
    ofSend: grouped(receipts, ({ send }) => send),
    freezes,
    faults,
  };
}

const shown = ({ id, to, connection }, known) => {
  const from = known?.connections.get(connection);
  return `message ${id}${from ? ` of ${from.user} on ${from.edge}` : ''} to ${to}`;
};

// A send whose connection ended may stay without a verdict; one on an edge that stood still was not yet accepted.
function inTime(send, { connections, freezes }) {
  const { leaving, edge, closed } = connections[send.connection];
  const thawed = freezes.filter((freeze) => freeze.edge === edge && freeze.from < send.begun + VERDICT_MAX && send.begun < freeze.to);
  const deadline = Math.max(send.begun, ...thawed.map(({ to }) => to)) + VERDICT_MAX;
  const wrong = [];
  if (send.verdicts.length === 0 && Math.min(leaving, closed) > deadline) wrong.push(`I1: ${shown(send)} got no verdict`);
  if (send.verdicts.length > 1) wrong.push(`I1: ${shown(send)} got ${send.verdicts.length} verdicts`);
  for (const { at } of send.verdicts) {
    if (at > deadline) wrong.push(`I1: ${shown(send)} got its verdict after ${Math.round(at - send.begun)} ms`);
  }
  return wrong;
}

function counted(send, known) {
  const devices = known.ofUser(send.to);
  const receipts = known.ofSend(send.id).filter(({ connection }) => known.connections.get(connection).user === send.to);
  const got = new Set(receipts.map(({ connection }) => connection));
  const wrong = [];
  if (got.size < receipts.length) wrong.push(`I2: ${shown(send, known)} came twice on one connection`);
  const [verdict] = send.verdicts;
  if (verdict?.kind === 'rejected' && got.size > 0) wrong.push(`I2: ${shown(send, known)} was rejected, and came`);
  if (verdict?.kind !== 'delivered') return wrong;
  const { n, at } = verdict;
  // Its edge may have taken it in although it never read the answer to its login.
  const ended = devices.filter(({ id, asked, closed }) => !got.has(id) && asked < at && send.begun <= closed && closed < Infinity);
  const lost = n - got.size - ended.length;
  if (lost > 0) wrong.push(`I2: ${shown(send, known)} was delivered to ${n}, came on ${got.size}, and ${ended.length} ended meanwhile`);
  if (known.faults.some(({ from, to }) => from <= at && send.begun <= to)) return wrong;
  if (got.size > n) wrong.push(`I2: ${shown(send, known)} was delivered to ${n} and came on ${got.size}`);
  const throughout = devices.filter((device) => device.opened <= send.begun && at <= surelyUntil(device));
  if (n < throughout.length) wrong.push(`I2: ${shown(send, known)} was delivered to ${n}, but ${throughout.length} of his devices were there`);
  return wrong;
}

function absent(send, known) {
  const [verdict] = send.verdicts;
  if (verdict?.kind !== 'offline') return [];
  const wrong = [];
  if (known.ofSend(send.id).length > 0) wrong.push(`I3: ${shown(send, known)} was called offline, and came`);
  for (const { edge, from, to } of presences(known.ofUser(send.to))) {
    const isExcused = known.freezes.some((freeze) => freeze.edge === edge && freeze.from + UNNOTICED_MAX <= verdict.at && send.begun <= freeze.to);
    if (from <= send.begun && verdict.at <= to && !isExcused) {
      wrong.push(`I3: ${shown(send, known)} was called offline, but he was on ${edge} throughout`);
    }
  }
  return wrong;
}

/** When somebody was on which edge: one connection may take over from another. */
function presences(connections) {
  const merged = [];
  for (const connection of connections.filter(({ opened }) => opened < Infinity).sort((a, b) => a.opened - b.opened)) {
    const { edge, opened } = connection;
    const until = surelyUntil(connection);
    const last = merged.findLast((presence) => presence.edge === edge);
    if (last && opened <= last.to) last.to = Math.max(last.to, until);
    else merged.push({ edge, from: opened, to: until });
  }
  return merged;
}

const surelyUntil = ({ leaving, byServer }) => leaving - (byServer ? NOTICED_AFTER : 0);

function addressed({ send: id, connection, from, at }, known) {
  const { user, edge, opened } = known.connections.get(connection);
  const send = known.sends.get(id);
  if (!send) return [`I5: ${user} on ${edge} got a message that nobody sent: ${JSON.stringify(id)}`];
  const wrong = [];
  if (send.to !== user) wrong.push(`I5: ${shown(send, known)} came to ${user}`);
  if (from !== known.connections.get(send.connection).user) wrong.push(`I5: ${shown(send, known)} came as if ${from} had sent it`);
  if (at < opened) wrong.push(`I5: ${shown(send, known)} came before he was logged in`);
  return wrong;
}

function ordered({ receipts }, known) {
  const last = new Map();
  const wrong = [];
  for (const { send: id, connection } of receipts) {
    const send = known.sends.get(id);
    if (!send) continue;
    const path = `${send.connection} ${connection}`;
    const before = last.get(path);
    if (before > id) wrong.push(`I4: ${shown(send, known)} came after message ${before}`);
    last.set(path, Math.max(id, before ?? id));
  }
  return wrong;
}

function epochs({ leases }) {
  const highest = new Map();
  const wrong = [];
  for (const { ids } of leases) {
    const seen = new Map();
    for (const id of ids) {
      const [, name, epoch] = id.match(/^(.+)\.(\d+)$/) ?? [];
      if (name) seen.set(name, Math.max(Number(epoch), seen.get(name) ?? 0));
    }
    for (const [name, epoch] of seen) {
      if (epoch < (highest.get(name) ?? 0)) wrong.push(`I6: ${name} has epoch ${epoch} after ${highest.get(name)}`);
      highest.set(name, Math.max(epoch, highest.get(name) ?? 0));
    }
  }
  return wrong;
}

/** The routes that Redis must show: personal channel → ids of the edges where that user is now. */
export function routesWanted(history, idOf) {
  const wanted = new Map();
  for (const { user, edge, opened, closed } of history.connections) {
    if (opened === Infinity || closed < Infinity) continue;
    const channel = `#${user}`;
    wanted.set(channel, [...new Set([...(wanted.get(channel) ?? []), idOf(edge)])].sort());
  }
  return wanted;
}

/** I7: what Redis lacks, and what it has of nobody. */
export function differences(wanted, found) {
  const wrong = [];
  for (const [channel, ids] of wanted) {
    for (const id of ids) if (!found.get(channel)?.includes(id)) wrong.push(`I7: ${channel} lacks ${id}`);
  }
  for (const [channel, ids] of found) {
    for (const id of ids) if (!wanted.get(channel)?.includes(id)) wrong.push(`I7: ${channel} has ${id}, where he is not`);
  }
  return wrong;
}
