// The console of a relay: asks it once a second how the cluster is, and shows that. It only reads.
//
// ```text
// /api/edges ─▶ cluster.js (rates, states) ─▶ figures, picture.js, plots.js, table, events
// /api/users/USER ─▶ where a user's clients are
// ```
//
// What others chose, names of users above all, is only ever shown as text.

import { Cluster, sum } from './cluster.js';
import { Picture, legend } from './picture.js';
import { Plot } from './plots.js';
import { NONE, ago, byName, bytes, clock, count, element, mark, millis, moment, rate, say } from './words.js';

/** @typedef {import('./cluster.js').Edge} Edge */
/** @typedef {ReturnType<Cluster['take']>} Shown */

/** Time between two questions, and how long an answer may take, in ms. */
const ASK_EVERY = 1000;
const ANSWER_MAX = 3000;

/**
 * @template {HTMLElement} [E=HTMLElement]
 * @param {string} id
 * @returns {E}
 */
const $ = (id) => /** @type {E} */ (document.getElementById(id));

const cluster = new Cluster();
const picture = new Picture($('picture'), (name) => choose(name === chosen ? null : name));
const plots = {
  messages: new Plot($('plots'), 'Messages of clients', [{ name: '', kind: 'first' }], (n) => `${rate(n)} /s`, 1),
  copies: new Plot($('plots'), 'Copies through the relay', [{ name: '', kind: 'first' }], (n) => `${rate(n)} /s`, 1),
  rtt: new Plot(
    $('plots'),
    'Round trip',
    [
      { name: '', kind: 'first' },
      { name: 'median ', kind: 'second' },
    ],
    millis,
    100,
  ),
  clients: new Plot($('plots'), 'Clients', [{ name: '', kind: 'first' }], count, 1),
};

/** The edge that is looked at closely. @type {string | null} */
let chosen = null;
/** @type {Shown | null} */
let shown = null;
/** When the relay last answered, by our own clock; and since when it does not. */
let answeredAt = 0;
let silentSince = 0;
let timer = 0;
let isAsking = false;

// Asking.

async function ask() {
  clearTimeout(timer);
  if (isAsking || document.hidden) return;
  isAsking = true;
  const begun = performance.now();
  /** @type {import('./cluster.js').Answer | null} */
  let answer = null;
  try {
    const response = await fetch('api/edges', { cache: 'no-store', signal: AbortSignal.timeout(ANSWER_MAX) });
    if (!response.ok) throw new Error((await response.text()).trim() || `it answers ${response.status}`);
    answer = await response.json();
  } catch (error) {
    silent(error);
  }
  isAsking = false;
  // Who looks at another page is not told anything, and asks for nothing.
  if (!document.hidden) timer = setTimeout(ask, Math.max(50, ASK_EVERY - (performance.now() - begun)));
  // Last: a mistake in how it is shown is ours, and not the relay's silence.
  if (answer) heard(answer);
}

/** @param {import('./cluster.js').Answer} answer */
function heard(answer) {
  if (silentSince || performance.now() - answeredAt > 5 * ASK_EVERY) cluster.pause();
  answeredAt = performance.now();
  silentSince = 0;
  shown = cluster.take(answer);
  shown.edges.sort((a, b) => byName(a.name, b.name));
  show(shown);
  $('trouble').hidden = true;
  $('main').toggleAttribute('data-old', false);
  tell('Live', 'good');
}

/** @param {unknown} error */
function silent(error) {
  silentSince ||= answeredAt || performance.now();
  const words = error instanceof Error ? error.message : '';
  // The relay's own words; else it did not even refuse.
  const why = /event loop/.test(words) ? `: ${words}` : '';
  say($('trouble-words'), `The relay does not answer${why}.`);
  $('trouble').hidden = false;
  showAge();
  $('main').toggleAttribute('data-old', true);
  tell('No answer', 'bad');
}

/** Apart from the words, or readers of screens would be told again and again. */
function showAge() {
  if (silentSince) say($('trouble-age'), shown ? `What you see is ${ago(performance.now() - silentSince)} old.` : '');
}

/** @param {string} words @param {string} tone */
function tell(words, tone) {
  say($('state'), words);
  mark($('state'), 'data-tone', tone);
}

// Showing.

/** @param {Shown} now */
function show(now) {
  const { relay, edges, rates } = now;
  say($('relay-name'), `${relay.name} · ${relay.version} · up ${ago(now.now - relay.started)}`);
  document.title = `${relay.name} · Causeway`;
  const totals = total(now);
  showFigures(now, totals);
  picture.show({ edges, relay, forwarded: rates.forwarded }, chosen);
  const at = Date.now();
  plots.messages.add(at, [totals.received]);
  plots.copies.add(at, [rates.forwarded]);
  plots.rtt.add(at, [totals.worst, totals.median]);
  plots.clients.add(at, [totals.clients]);
  showTable(edges, now.now);
  showEvents(now);
  showDetail(now);
}

/** @param {Edge} edge */
const isUp = ({ health }) => health.tone === 'good' || health.tone === 'warn';

/** @param {Shown} now */
function total({ edges }) {
  const linked = edges.filter(isUp);
  const rtts = linked.flatMap(({ rtt }) => (rtt === null ? [] : [rtt])).sort((a, b) => a - b);
  return {
    linked: linked.length,
    lost: edges.filter(({ health }) => health.tone === 'bad').length,
    unready: linked.filter(({ health }) => health.tone === 'warn').length,
    clients: linked.reduce((all, { clients }) => all + clients, 0),
    capacity: linked.reduce((all, { told }) => all + told.capacity, 0),
    received: sum(edges.map(({ rates }) => rates.received)),
    pushes: sum(edges.map(({ rates }) => rates.pushes)),
    worst: rtts.at(-1) ?? null,
    median: rtts[Math.floor(rtts.length / 2)] ?? null,
    worstEdge: linked.find(({ rtt }) => rtt === rtts.at(-1))?.name ?? '',
  };
}

/** @type {Map<string, { box: HTMLElement, value: HTMLElement, note: HTMLElement }>} */
const figures = new Map();

/** @param {string} name @param {string} value @param {string} note @param {string} [tone] */
function figure(name, value, note, tone = '') {
  let parts = figures.get(name);
  if (!parts) {
    const box = element('div', 'tile');
    parts = { box, value: element('dd', 'tile-value'), note: element('dd', 'tile-note') };
    box.append(element('dt', '', name), parts.value, parts.note);
    $('figures').append(box);
    figures.set(name, parts);
  }
  say(parts.value, value);
  say(parts.note, note);
  mark(parts.box, 'data-tone', tone);
}

/** @param {Shown} now @param {ReturnType<typeof total>} totals */
function showFigures({ relay, rates, recent }, totals) {
  const others = [totals.lost > 0 && `${totals.lost} lost`, totals.unready > 0 && `${totals.unready} not ready`];
  const notes = others.filter(Boolean).join(', ');
  figure('Edges', count(totals.linked), notes || 'linked', totals.lost > 0 ? 'bad' : totals.unready > 0 ? 'warn' : '');
  figure('Clients', count(totals.clients), `of ${count(totals.capacity)}`);
  figure('Messages', `${rate(totals.received)} /s`, `pushes ${rate(totals.pushes)} /s`);
  figure('Through the relay', `${rate(rates.publications)} /s`, `copies ${rate(rates.forwarded)} /s`);
  figure('Round trip', millis(totals.worst), totals.worstEdge ? `worst: ${totals.worstEdge}` : 'no edge');
  const missing = recent.missing > 0 ? `missing ${count(recent.missing)}, ` : '';
  figure('Refused, 5 min', count(recent.refused), `${missing}${count(relay.refused)} in all`, recent.refused + recent.missing > 0 ? 'warn' : '');
  figure('Complete', relay.is_complete ? 'Yes' : 'No', relay.is_complete ? 'knows all edges' : 'an edge may be missing', relay.is_complete ? '' : 'warn');
  figure('Store', relay.is_store_up ? 'Up' : 'Away', `${count(relay.leases)} ${relay.leases === 1 ? 'lease' : 'leases'}`, relay.is_store_up ? '' : 'bad');
}

// The table.

/**
 * @typedef {object} Column
 * @property {string} title
 * @property {string} [about]
 * @property {(edge: Edge) => number | string | null} by  what it is sorted by
 * @property {(edge: Edge, now: number) => string} words
 */

/** @type {Column[]} */
const COLUMNS = [
  { title: 'Edge', by: ({ name }) => name, words: ({ name }) => name },
  { title: 'State', by: ({ health }) => health.word, words: ({ health }) => health.word },
  { title: 'Clients', by: ({ clients }) => clients, words: ({ clients, told }) => `${count(clients)} / ${count(told.capacity)}` },
  { title: '↑ /s', about: 'publications to the relay', by: ({ rates }) => rates.in, words: ({ rates }) => rate(rates.in) },
  { title: '↓ /s', about: 'copies from the relay', by: ({ rates }) => rates.out, words: ({ rates }) => rate(rates.out) },
  { title: '↑ bytes/s', about: 'of publications to the relay', by: ({ rates }) => rates.bytesIn, words: ({ rates }) => bytes(rates.bytesIn) },
  { title: '↓ bytes/s', about: 'of copies from the relay', by: ({ rates }) => rates.bytesOut, words: ({ rates }) => bytes(rates.bytesOut) },
  { title: 'Round trip', about: 'of the last heartbeat', by: ({ rtt }) => rtt, words: ({ rtt }) => millis(rtt) },
  { title: 'Lost packets', about: 'by the relay, since this link began', by: ({ told }) => told.path?.lost_packets ?? null, words: ({ told }) => count(told.path?.lost_packets) },
  { title: 'Waiting', about: 'bytes in the queues to this edge', by: ({ told }) => told.queued_bytes, words: ({ told }) => bytes(told.queued_bytes) },
  { title: 'Channels', about: 'that it holds', by: ({ told }) => told.channels, words: ({ told }) => count(told.channels) },
  { title: 'Since', about: 'when this state began', by: ({ told }) => -told.since, words: ({ told }, now) => ago(now - told.since) },
];

let sortedBy = 0;
let isDescending = false;

/** @type {Map<string, { row: HTMLTableRowElement, cells: HTMLElement[], meter: HTMLElement, button: HTMLButtonElement }>} */
const rows = new Map();
let order = '';

function makeColumns() {
  COLUMNS.forEach(({ title, about }, at) => {
    const head = element('th');
    head.scope = 'col';
    const button = element('button', 'sort', title);
    button.type = 'button';
    if (about) button.title = about;
    button.addEventListener('click', () => {
      // Whoever asks for numbers asks for the largest.
      isDescending = at === sortedBy ? !isDescending : at > 1;
      sortedBy = at;
      showOrder();
      if (shown) showTable(shown.edges, shown.now);
    });
    head.append(button);
    $('columns').append(head);
  });
  showOrder();
}

function showOrder() {
  [...$('columns').children].forEach((head, at) => {
    if (at === sortedBy) head.setAttribute('aria-sort', isDescending ? 'descending' : 'ascending');
    else head.removeAttribute('aria-sort');
  });
}

/** @param {Edge} a @param {Edge} b */
function compare(a, b) {
  const by = COLUMNS[sortedBy]?.by ?? (({ name }) => name);
  const [x, y] = [by(a), by(b)];
  const way = isDescending ? -1 : 1;
  // Who is not known is last, either way.
  if (x === null || y === null) return Number(x === null) - Number(y === null) || byName(a.name, b.name);
  const first = typeof x === 'number' && typeof y === 'number' ? x - y : byName(String(x), String(y));
  return way * first || byName(a.name, b.name);
}

/** @param {Edge[]} edges @param {number} now */
function showTable(edges, now) {
  const sorted = [...edges].sort(compare);
  for (const edge of sorted) showRow(edge, now);
  const names = sorted.map(({ name }) => name);
  if (names.join(' ') !== order) {
    order = names.join(' ');
    const focused = document.activeElement;
    $('rows').replaceChildren(...names.flatMap((name) => rows.get(name)?.row ?? []));
    if (focused instanceof HTMLElement && $('rows').contains(focused)) focused.focus({ preventScroll: true });
    for (const name of rows.keys()) if (!names.includes(name)) rows.delete(name);
  }
  $('empty').hidden = edges.length > 0;
}

/** @param {Edge} edge @param {number} now */
function showRow(edge, now) {
  let parts = rows.get(edge.name);
  if (!parts) {
    parts = makeRow(edge.name);
    rows.set(edge.name, parts);
  }
  const { row, cells, meter } = parts;
  COLUMNS.forEach(({ words }, at) => {
    const cell = cells[at];
    if (cell) say(cell, words(edge, now));
  });
  const state = cells[1];
  if (state) mark(state, 'data-tone', edge.health.tone);
  meter.style.setProperty('--fill', edge.fill.toFixed(3));
  row.toggleAttribute('data-chosen', edge.name === chosen);
  mark(parts.button, 'aria-expanded', String(edge.name === chosen));
}

/** @param {string} name */
function makeRow(name) {
  const row = element('tr');
  const head = element('th');
  head.scope = 'row';
  const button = element('button', 'row-name');
  button.type = 'button';
  button.title = name;
  button.addEventListener('click', () => choose(name === chosen ? null : name));
  head.append(button);
  const state = element('span', 'badge');
  const clients = element('span', 'meter-words');
  const meter = element('span', 'meter');
  meter.append(clients);
  /** @type {HTMLElement[]} */
  const cells = [button, state, clients];
  row.append(head);
  for (const inner of [state, meter]) {
    const cell = element('td');
    cell.append(inner);
    row.append(cell);
  }
  for (let at = cells.length; at < COLUMNS.length; at += 1) {
    const cell = element('td', 'number');
    cells.push(cell);
    row.append(cell);
  }
  return { row, cells, meter, button };
}

// One edge.

/** @param {string | null} name */
function choose(name) {
  chosen = name;
  if (!shown) return;
  picture.show({ edges: shown.edges, relay: shown.relay, forwarded: shown.rates.forwarded }, chosen);
  showTable(shown.edges, shown.now);
  showDetail(shown);
}

/** @type {Map<string, HTMLElement>} */
const facts = new Map();

/** @param {Shown} now */
function showDetail(now) {
  const edge = now.edges.find(({ name }) => name === chosen);
  $('detail').hidden = !edge;
  if (!edge) return;
  const { told, rates } = edge;
  const { status, path } = told;
  say($('detail-title'), edge.name);
  const yes = (/** @type {boolean} */ is) => (is ? 'yes' : 'no');
  /** @type {[string, string][]} */
  const all = [
    ['State', `${edge.health.word}, for ${ago(now.now - told.since)}`],
    ['Heard', `${ago(told.heard_ms_ago)} ago`],
    ['Address', path?.address ?? NONE],
    ['Version', told.version],
    ['Epoch', String(told.epoch)],
    ['Lease', told.is_leased ? 'written' : 'not written'],
    ['Ready for clients', status ? yes(status.is_ready) : NONE],
    ['Messages of its clients', `${rate(rates.received)} /s, ${count(status?.received)} in all`],
    ['Pushes to its clients', `${rate(rates.pushes)} /s, ${count(status?.pushes)} in all`],
    ['Ended as not known', count(status?.unknown)],
    ['Heartbeat, QUIC', `${millis(edge.rtt)}, ${millis(path?.rtt_us)}`],
    ['Packets lost, sent', `${count(path?.lost_packets)} of ${count(path?.sent_packets)}`],
    ['Congestion window', bytes(path?.congestion_window_bytes)],
    ['Over the link', `↑ ${bytes(path?.received_bytes)} ↓ ${bytes(path?.sent_bytes)}`],
  ];
  for (const [name, words] of all) {
    let value = facts.get(name);
    if (!value) {
      value = element('dd');
      facts.set(name, value);
      $('detail-facts').append(element('dt', '', name), value);
    }
    say(value, words);
  }
}

// What happened.

/** @type {Record<string, string>} */
const TONES = {
  started: 'good',
  linked: 'good',
  back: 'good',
  complete: 'good',
  'store back': 'good',
  left: 'warn',
  superseded: 'warn',
  refused: 'warn',
  renewed: 'warn',
  incomplete: 'warn',
  lost: 'bad',
  reaped: 'bad',
  froze: 'bad',
  'store away': 'bad',
};

/** What is listed, the oldest first, as JSON. @type {string[]} */
let listed = [];

/** @param {Shown} now */
function showEvents({ events }) {
  const told = events.map((event) => JSON.stringify(event));
  // The oldest may have gone, and later ones come: what is listed begins with those, and ends before these.
  let gone = 0;
  while (!listed.slice(gone).every((event, at) => event === told[at])) gone += 1;
  const stay = listed.length - gone;
  listed = told;
  for (let at = 0; at < gone; at += 1) $('events').lastElementChild?.remove();
  $('events').prepend(...events.slice(stay).map(showEvent).reverse());
}

/** @param {import('./cluster.js').Happened} event */
function showEvent({ at, kind, edge, text }) {
  const item = element('li');
  const time = element('time', '', clock(at));
  time.title = moment(at);
  const badge = element('span', 'badge', kind);
  badge.dataset.tone = TONES[kind] ?? '';
  const words = element('p', 'event-text', text);
  if (edge) words.prepend(element('strong', '', edge), text ? ' ' : '');
  item.append(time, badge, words);
  return item;
}

// Looking for a user.

/** Doors of edges, as people call them. @type {Record<string, string>} */
const DOORS = { websocket: 'WebSocket', webtransport: 'WebTransport', line: 'line door' };

/** The search that is under way, or was: a later one ends it. */
let search = new AbortController();

/** @param {SubmitEvent} event */
async function find(event) {
  event.preventDefault();
  const user = /** @type {HTMLInputElement} */ ($('find-user')).value;
  if (!user) return;
  search.abort();
  const own = (search = new AbortController());
  const tooLong = setTimeout(() => own.abort(), ANSWER_MAX);
  $('found').hidden = false;
  $('found').toggleAttribute('data-asking', true);
  say($('found-title'), user);
  say($('found-note'), 'Asking …');
  $('found-clients').replaceChildren();
  /** @type {() => void} */
  let show;
  try {
    // By his personal channel, #user: a user may be called "..", which in an address is the way up.
    const answer = await fetch(`api/users/%23${encodeURIComponent(user)}`, { cache: 'no-store', signal: own.signal });
    if (answer.ok) {
      const found = await answer.json();
      show = () => showFound(found);
    } else {
      const words = answer.status === 400 ? 'No user can have this name.' : `Not found out: ${(await answer.text()).trim()}.`;
      show = () => say($('found-note'), words);
    }
  } catch {
    show = () => say($('found-note'), 'The relay does not answer.');
  } finally {
    clearTimeout(tooLong);
  }
  if (own !== search) return;
  $('found').toggleAttribute('data-asking', false);
  show();
}

/** @param {{ user: string, is_complete: boolean, total: number, clients: { edge: string, door: string, since: number }[], did_not_answer: string[] }} answer */
function showFound({ user, is_complete, total, clients, did_not_answer }) {
  say($('found-title'), user);
  const notes = [total === 0 ? 'Connected nowhere.' : total === 1 ? 'One connection.' : `${count(total)} connections.`];
  if (clients.length < total) notes.push(`The first ${clients.length} are shown.`);
  if (did_not_answer.length > 0) notes.push(`Of the edges that hold his channel, ${did_not_answer.join(', ')} did not answer.`);
  if (!is_complete) notes.push('The relay is not complete: an edge that it does not know may have more.');
  say($('found-note'), notes.join(' '));
  const now = Date.now();
  const items = clients.map(({ edge, door, since }) => {
    const item = element('li');
    const button = element('button', 'row-name', edge);
    button.type = 'button';
    button.addEventListener('click', () => choose(edge));
    const time = element('span', 'found-since', `since ${clock(since)}, ${ago(now - since)} ago`);
    time.title = moment(since);
    item.append(button, element('span', 'badge', DOORS[door] ?? door), time);
    return item;
  });
  $('found-clients').replaceChildren(...items);
}

// Keys, and the page itself.

/** @param {KeyboardEvent} event */
function key(event) {
  const isTyping = event.target instanceof HTMLInputElement;
  if (event.key === '/' && !isTyping && !event.ctrlKey && !event.metaKey && !event.altKey) {
    event.preventDefault();
    $('find-user').focus();
  } else if (event.key === 'Escape') {
    if (!$('found').hidden) $('found').hidden = true;
    else choose(null);
  }
}

$('find').addEventListener('submit', (event) => void find(/** @type {SubmitEvent} */ (event)));
$('found-close').addEventListener('click', () => ($('found').hidden = true));
$('detail-close').addEventListener('click', () => choose(null));
document.addEventListener('keydown', key);
document.addEventListener('visibilitychange', () => void ask());
legend($('legend'));
makeColumns();
setInterval(showAge, ASK_EVERY);
void ask();
