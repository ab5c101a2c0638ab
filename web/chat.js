// The chat page of an edge in development: people, rooms, receipts, and which way the messages go.
//
// Rooms are channels `room.NAME`, and a message is its text, so that terminals at the line door can join in. Until edges
// know who is in a channel, pages tell each other in the channel HERE. What others sent is only ever shown as text.

import { CausewayError, Client, LOCAL, NotKnownError, NotSentError } from './causeway.js';

/** @typedef {'room' | 'person'} Kind */

/**
 * @typedef {object} Message
 * @property {string} from
 * @property {string} text
 * @property {Date} at
 * @property {boolean} isOwn
 */

/**
 * One conversation: with a person, or in a room.
 *
 * @typedef {object} Talk
 * @property {Kind} kind
 * @property {string} name
 * @property {HTMLElement[]} rows  what was said, as it is shown
 * @property {Message | null} last
 * @property {number} unread
 * @property {string} draft
 * @property {import('./causeway.js').Subscription} [subscription]
 */

/** Where pages say that they are here: `{kind: 'hello' | 'here' | 'bye', tab}`. A hello is answered by all others. */
const HERE = 'chat.here';

/** How often a page says so, in ms, and when it is forgotten: a hidden page's timers come once a minute. */
const HERE_EVERY = 25_000;
const HERE_FOR = 150_000;

/** How many messages of a conversation are kept. */
const ROWS_MAX = 500;

/** How often the round trip is measured, in ms. */
const PING_EVERY = 2000;

/** A connection that is away for longer than this, in ms, is worth a line in the conversations. */
const AWAY = 3000;

/**
 * An element of the page; what is missing is our own mistake.
 *
 * @template {HTMLElement} [E=HTMLElement]
 * @param {string} id
 * @returns {E}
 */
const $ = (id) => /** @type {E} */ (document.getElementById(id));

const door = $('door');
const app = $('app');
const text = /** @type {HTMLTextAreaElement} */ ($('text'));
const findName = /** @type {HTMLInputElement} */ ($('find-name'));
const scroll = $('scroll');

/** @type {Client} */
let client;
let me = '';

/** @type {Map<string, Talk>} */
const talks = new Map();
/** @type {Talk} */
let current;

/**
 * Who is here: pages by their tab, each with its user and when it was last heard.
 *
 * @type {Map<string, { user: string, at: number }>}
 */
const pages = new Map();
const tab = crypto.randomUUID();

/** Connections that this page had: what they published comes back. @type {Set<string>} */
const ownClients = new Set();

/** When the connection went away, or 0. */
let awaySince = 0;

// The door.

/** @param {SubmitEvent} event */
async function enter(event) {
  event.preventDefault();
  const name = /** @type {HTMLInputElement} */ ($('name')).value.trim();
  if (!name) return;
  try {
    await tokenOf(name);
  } catch (error) {
    $('door-trouble').textContent = error instanceof Refused ? error.message : 'The edge does not answer.';
    return;
  }
  remember(name);
  start(name);
}

class Refused extends Error {}

/**
 * @param {string} user
 * @param {AbortSignal} [signal]
 */
async function tokenOf(user, signal) {
  const answer = await fetch(`/dev/token?user=${encodeURIComponent(user)}`, { signal, cache: 'no-store' });
  if (answer.status === 400) throw new Refused('This name will not do.');
  if (!answer.ok) throw new Refused('This edge gives no tokens here: it is not a development one.');
  return answer.text();
}

/** @param {string} user */
function start(user) {
  me = user;
  door.hidden = true;
  app.hidden = false;
  showYou();
  client = new Client(location.origin, {
    // Without a token the client ends; to ask again for a name that will not do would not help.
    token: ({ signal }) => tokenOf(me, signal).catch((error) => (error instanceof Refused ? '' : Promise.reject(error))),
  });
  // Before the client's own listener, which closes the connection.
  addEventListener('pagehide', () => say('bye'));
  client.addEventListener('connecting', showState);
  client.addEventListener('disconnected', showState);
  client.addEventListener('disconnected', () => gone());
  client.addEventListener('connecting', () => gone());
  client.addEventListener('connected', ({ detail }) => {
    ownClients.add(detail.client);
    showState();
    back();
  });
  client.addEventListener('message', ({ detail }) => arrived(talkOf('person', detail.user ?? 'server'), detail));
  client.addEventListener('error', ({ detail }) => console.info('causeway:', detail));
  const here = client.subscribe(HERE);
  here.addEventListener('subscribed', () => say('hello'));
  here.addEventListener('publication', ({ detail }) => heardOf(detail));
  open(talkOf('room', 'lobby'), false);
  client.connect();
  setInterval(() => say('here'), HERE_EVERY);
  setInterval(measure, PING_EVERY);
}

/** @param {string | null} name */
function remember(name) {
  try {
    if (name) sessionStorage.setItem('chat.name', name);
    else sessionStorage.removeItem('chat.name');
  } catch {
    // A reload asks again.
  }
}

function remembered() {
  const asked = new URLSearchParams(location.search).get('name');
  try {
    return asked ?? sessionStorage.getItem('chat.name') ?? '';
  } catch {
    return asked ?? '';
  }
}

// Who is here.

/** @param {'hello' | 'here' | 'bye'} kind */
async function say(kind) {
  if (client.state !== 'connected') return;
  // Who does not hear of it hears the next one, or forgets this page by and by.
  await client.publish(HERE, { kind, tab }).catch(() => {});
}

/** @param {import('./causeway.js').Publication} publication */
function heardOf({ user, data }) {
  if (!user || typeof data?.tab !== 'string' || data.tab === tab) return;
  if (data.kind === 'bye') pages.delete(data.tab);
  else pages.set(data.tab, { user, at: Date.now() });
  // Not all at once.
  if (data.kind === 'hello') setTimeout(() => say('here'), Math.random() * 300);
  showSide();
}

/** @returns {Set<string>} */
function usersHere() {
  for (const [each, { at }] of pages) if (Date.now() - at > HERE_FOR) pages.delete(each);
  return new Set([...pages.values()].map(({ user }) => user));
}

// Conversations.

/**
 * @param {Kind} kind
 * @param {string} name
 * @returns {Talk}
 */
function talkOf(kind, name) {
  const key = `${kind}:${name}`;
  let talk = talks.get(key);
  if (talk) return talk;
  talk = { kind, name, rows: [], last: null, unread: 0, draft: '' };
  talks.set(key, talk);
  if (kind === 'room') join(talk);
  return talk;
}

/** @param {Talk} talk */
function join(talk) {
  const subscription = (talk.subscription = client.subscribe(`room.${talk.name}`));
  subscription.addEventListener('publication', ({ detail }) => {
    if (!ownClients.has(detail.info?.client ?? '')) arrived(talk, detail);
  });
  subscription.addEventListener('unsubscribed', ({ detail }) =>
    note(talk, `This room is closed to you: ${detail.reason}.`),
  );
}

/**
 * @param {Talk} talk
 * @param {boolean} [wantsView]
 */
function open(talk, wantsView = true) {
  if (current) current.draft = text.value;
  current = talk;
  talk.unread = 0;
  text.value = talk.draft;
  $('talk-title').textContent = titleOf(talk);
  const label = `Message to ${titleOf(talk)}`;
  $('text-label').textContent = label;
  text.placeholder = label;
  for (const row of talk.rows) row.toggleAttribute('data-new', false);
  $('messages').replaceChildren(...talk.rows);
  showEmpty();
  if (wantsView) app.dataset.view = 'talk';
  scroll.scrollTop = scroll.scrollHeight;
  showSide();
  // On a phone the keyboard would cover what one came to read.
  if (matchMedia('(hover: hover)').matches) text.focus();
}

/** @param {Talk} talk */
const titleOf = ({ kind, name }) => (kind === 'room' ? `#${name}` : name);

/**
 * @param {Talk} talk
 * @param {import('./causeway.js').Publication} publication
 */
function arrived(talk, { user, data }) {
  const said = typeof data === 'string' ? data : typeof data?.text === 'string' ? data.text : JSON.stringify(data);
  add(talk, { from: user ?? 'server', text: said, at: new Date(), isOwn: false });
  if (talk !== current || document.hidden) talk.unread += 1;
  showSide();
}

/** @param {SubmitEvent} [event] */
function submit(event) {
  event?.preventDefault();
  const said = text.value.trim();
  if (!said) return;
  text.value = '';
  const talk = current;
  const row = add(talk, { from: me, text: said, at: new Date(), isOwn: true });
  scroll.scrollTop = scroll.scrollHeight;
  const sending =
    talk.kind === 'room'
      ? client.publish(`room.${talk.name}`, said).then(() => ({ words: 'sent', tone: '' }))
      : client.send(talk.name, said).then(({ delivered }) => receipt(talk, delivered));
  const slow = setTimeout(() => showReceipt(row, { words: 'sending…', tone: '' }), 150);
  sending
    .catch((error) => failure(error))
    .then((outcome) => {
      clearTimeout(slow);
      showReceipt(row, outcome);
      if (outcome.tone !== '') $('said').textContent = outcome.words;
    });
}

/**
 * @param {Talk} talk
 * @param {number} delivered
 */
function receipt(talk, delivered) {
  // The edges know better than what its page said last.
  if (delivered === 0) for (const [each, { user }] of pages) if (user === talk.name) pages.delete(each);
  showSide();
  if (delivered === 0) return { words: `${talk.name} is offline, and did not get it`, tone: 'warn' };
  return { words: delivered === 1 ? 'delivered' : `delivered to ${delivered} of ${talk.name}’s windows`, tone: 'good' };
}

/** @param {unknown} error */
function failure(error) {
  if (error instanceof NotKnownError) return { words: 'not known whether it arrived', tone: 'warn' };
  if (error instanceof NotSentError && error.code === LOCAL.tooLarge)
    return { words: 'not sent: too long', tone: 'bad' };
  if (error instanceof NotSentError) return { words: 'not sent: there is no connection', tone: 'bad' };
  if (error instanceof CausewayError) return { words: `refused: ${error.message}`, tone: 'bad' };
  throw error;
}

// What is shown of them.

/**
 * @param {Talk} talk
 * @param {Message} message
 */
function add(talk, message) {
  const { last } = talk;
  const row = element('li', 'message');
  const isSoon = last !== null && message.at.getTime() - last.at.getTime() < 120_000;
  row.toggleAttribute('data-own', message.isOwn);
  row.toggleAttribute('data-follows', isSoon && last.from === message.from && last.isOwn === message.isOwn);
  const time = /** @type {HTMLTimeElement} */ (element('time', '', clock(message.at)));
  time.dateTime = message.at.toISOString();
  if (message.isOwn) {
    const foot = element('p', 'message-foot');
    foot.append(element('span', 'receipt'), time);
    row.append(element('p', 'bubble', message.text), foot);
  } else {
    const head = element('p', 'message-head');
    head.append(element('strong', '', message.from), time);
    row.append(face('person', message.from), head, element('p', 'bubble', message.text));
  }
  row.toggleAttribute('data-new', true);
  row.addEventListener('animationend', () => row.toggleAttribute('data-new', false));
  talk.last = message;
  append(talk, row);
  return row;
}

/**
 * @param {Talk} talk
 * @param {string} words
 */
function note(talk, words) {
  talk.last = null;
  append(talk, element('li', 'note', words));
}

/**
 * @param {Talk} talk
 * @param {HTMLElement} row
 */
function append(talk, row) {
  const isAtEnd = scroll.scrollHeight - scroll.scrollTop - scroll.clientHeight < 80;
  talk.rows.push(row);
  const surplus = talk.rows.length > ROWS_MAX ? talk.rows.shift() : undefined;
  if (talk !== current) return;
  surplus?.remove();
  $('messages').append(row);
  showEmpty();
  if (isAtEnd) scroll.scrollTop = scroll.scrollHeight;
}

/**
 * @param {HTMLElement} row
 * @param {{ words: string, tone: string }} outcome
 */
function showReceipt(row, { words, tone }) {
  row.dataset.tone = tone;
  const shown = /** @type {HTMLElement} */ (row.querySelector('.receipt'));
  shown.dataset.tone = tone;
  shown.textContent = words;
}

function showEmpty() {
  const { kind, name, rows } = current;
  $('talk-empty').hidden = rows.length > 0;
  $('talk-empty').textContent =
    kind === 'room'
      ? 'Nothing was said here since you came.'
      : `Say something to ${name}. You will see whether it arrived.`;
}

function showSide() {
  const here = usersHere();
  const rooms = [...talks.values()].filter(({ kind }) => kind === 'room');
  const known = [...talks.values()]
    .filter(({ kind, name }) => kind === 'person' && !here.has(name))
    .map(({ name }) => name);
  const byName = new Intl.Collator().compare;
  const people = [...[...here].filter((user) => user !== me).sort(byName), ...known.sort(byName)];
  keep(
    $('rooms'),
    rooms.map((talk) => item('room', talk.name, undefined)),
  );
  keep(
    $('people'),
    people.map((name) => item('person', name, here.has(name))),
  );
  $('people-empty').hidden = people.length > 0;
  const others = [...here].filter((user) => user !== me).length;
  $('people-count').textContent = others > 0 ? `${others} here` : '';
  showNote(here);
  const unread = [...talks.values()].reduce((sum, talk) => sum + talk.unread, 0);
  document.title = unread > 0 ? `(${unread}) Causeway` : 'Causeway';
}

/** @param {Set<string>} here */
function showNote(here) {
  const { kind, name } = current;
  const person = here.has(name) ? 'Here now' : 'Not seen here; the receipt will tell';
  $('talk-note').textContent = kind === 'room' ? 'Everybody who joins sees this' : person;
}

/**
 * Replaces the items of a list, and leaves the focus where it was.
 *
 * @param {HTMLElement} list
 * @param {HTMLElement[]} items
 */
function keep(list, items) {
  const focused = list.contains(document.activeElement) ? document.activeElement?.getAttribute('data-key') : null;
  list.replaceChildren(
    ...items.map((each) => {
      const entry = element('li', '');
      entry.append(each);
      return entry;
    }),
  );
  if (focused) items.find(({ dataset }) => dataset.key === focused)?.focus();
}

/**
 * @param {Kind} kind
 * @param {string} name
 * @param {boolean | undefined} isHere
 */
function item(kind, name, isHere) {
  const talk = talks.get(`${kind}:${name}`);
  const button = /** @type {HTMLButtonElement} */ (element('button', 'item'));
  button.type = 'button';
  button.dataset.key = `${kind}:${name}`;
  button.setAttribute('aria-current', String(talk !== undefined && talk === current));
  button.toggleAttribute('data-unread', (talk?.unread ?? 0) > 0);
  button.toggleAttribute('data-away', isHere === false);
  button.append(face(kind, name, isHere), element('span', 'item-name', name));
  const about = [kind === 'room' ? `#${name}` : name];
  if (isHere !== undefined) about.push(isHere ? 'here' : 'not seen here');
  if (talk && talk.unread > 0) {
    button.append(element('span', 'unread', String(talk.unread)));
    about.push(`${talk.unread} new`);
  }
  button.setAttribute('aria-label', about.join(', '));
  button.addEventListener('click', () => open(talkOf(kind, name)));
  return button;
}

/**
 * @param {Kind} kind
 * @param {string} name
 * @param {boolean} [isHere]
 */
function face(kind, name, isHere) {
  const shown = element('span', 'face', kind === 'room' ? '#' : ([...name][0] ?? '').toUpperCase());
  shown.dataset.kind = kind;
  shown.setAttribute('aria-hidden', 'true');
  if (isHere !== undefined) shown.dataset.here = String(isHere);
  shown.style.setProperty('--hue', String(hueOf(name)));
  return shown;
}

/** A colour for a name, the same on every page. @param {string} name */
function hueOf(name) {
  let hash = 7;
  for (const letter of name) hash = (hash * 31 + (letter.codePointAt(0) ?? 0)) % 3600;
  return hash % 360;
}

function showYou() {
  const words = element('span', '', 'You are ');
  words.append(element('strong', '', me));
  const leave = /** @type {HTMLButtonElement} */ (element('button', '', 'Change'));
  leave.type = 'button';
  leave.addEventListener('click', () => {
    remember(null);
    location.assign('/');
  });
  $('you').replaceChildren(face('person', me), words, leave);
}

/**
 * @param {string} tag
 * @param {string} className
 * @param {string} [words]
 * @returns {HTMLElement}
 */
function element(tag, className, words) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (words !== undefined) made.textContent = words;
  return made;
}

/** @param {Date} at */
const clock = (at) => at.toLocaleTimeString([], { hour: '2-digit', minute: '2-digit' });

// The connection.

/** @type {Record<string, string>} */
const NAMES = { webtransport: 'WebTransport', websocket: 'WebSocket' };

function showState() {
  const badge = $('state');
  const { transport, state } = client;
  badge.textContent = transport ? (NAMES[transport] ?? transport) : state === 'connecting' ? 'Connecting' : 'Off';
  badge.dataset.tone = transport ? 'good' : state === 'connecting' ? 'warn' : 'bad';
  if (!transport) $('latency').textContent = '';
}

function gone() {
  awaySince ||= performance.now();
}

function back() {
  const away = awaySince > 0 ? performance.now() - awaySince : 0;
  awaySince = 0;
  if (away > AWAY && current.rows.length > 0) {
    for (const talk of talks.values()) note(talk, `You were not connected for ${Math.round(away / 1000)} s`);
  }
  measure();
}

async function measure() {
  if (client.state !== 'connected' || document.hidden) return;
  try {
    const ms = await client.ping();
    $('latency').textContent = ms < 10 ? `${ms.toFixed(1)} ms` : `${Math.round(ms)} ms`;
  } catch {
    $('latency').textContent = '';
  }
}

/** @param {Event} event */
async function choose({ target }) {
  const { value } = /** @type {HTMLInputElement} */ (target);
  if (value === 'off') await say('bye');
  client.disconnect();
  if (value === 'off') return;
  client.transports = value === 'auto' ? ['webtransport', 'websocket'] : ['websocket'];
  client.connect();
}

// Keys and buttons.

/** @param {SubmitEvent} event */
function find(event) {
  event.preventDefault();
  const asked = findName.value.trim();
  const name = asked.replace(/^[#@]/, '');
  if (!name) return;
  if (asked.startsWith('#') && !/^[\w.-]{1,60}$/.test(name)) {
    findName.setCustomValidity('Rooms have letters, digits, dots and dashes');
    findName.reportValidity();
    return;
  }
  findName.value = '';
  open(talkOf(asked.startsWith('#') ? 'room' : 'person', name));
}

/** @param {KeyboardEvent} event */
function key(event) {
  const isTyping = event.target instanceof HTMLElement && event.target.matches('input:not([type="radio"]), textarea');
  if (event.key === '/' && !isTyping && !app.hidden) {
    event.preventDefault();
    findName.focus();
  } else if (event.key === 'Escape' && event.target === findName) {
    findName.value = '';
    text.focus();
  } else if (event.altKey && (event.key === 'ArrowDown' || event.key === 'ArrowUp') && !app.hidden) {
    event.preventDefault();
    step(event.key === 'ArrowDown' ? 1 : -1);
  }
}

/** Opens the next or the last conversation of those listed. @param {number} by */
function step(by) {
  const items = /** @type {HTMLButtonElement[]} */ ([...document.querySelectorAll('.item')]);
  const at = items.findIndex((each) => each.getAttribute('aria-current') === 'true');
  items[(at + by + items.length) % items.length]?.click();
}

$('door-form').addEventListener('submit', (event) => void enter(/** @type {SubmitEvent} */ (event)));
$('compose').addEventListener('submit', (event) => submit(/** @type {SubmitEvent} */ (event)));
$('find').addEventListener('submit', (event) => find(/** @type {SubmitEvent} */ (event)));
findName.addEventListener('input', () => findName.setCustomValidity(''));
$('transports').addEventListener('change', choose);
$('back').addEventListener('click', () => (app.dataset.view = 'list'));
text.addEventListener('keydown', (event) => {
  // An Enter that ends the input of, say, a Japanese word is not one that sends.
  if (event.key === 'Enter' && !event.shiftKey && !event.isComposing) submit(void event.preventDefault());
});
document.addEventListener('keydown', key);
document.addEventListener('visibilitychange', () => {
  if (document.hidden || app.hidden) return;
  current.unread = 0;
  showSide();
});

const other = { 8001: 8002, 8002: 8001 }[location.port];
if (other) {
  const link = /** @type {HTMLAnchorElement} */ (element('a', '', 'the other edge'));
  link.href = `${location.protocol}//${location.hostname}:${other}/`;
  link.target = '_blank';
  link.rel = 'noopener';
  $('door-hint').replaceChildren('Open ', link, ' in a second window, as somebody else, and write to each other.');
}

const known = remembered();
if (known) start(known);
else $('name').focus();
