// Numbers and times as people read them, and elements that hold them. What others chose is only ever set as text.

const whole = new Intl.NumberFormat('en', { maximumFractionDigits: 0 });
const short = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat('en', { notation: 'compact', maximumSignificantDigits: 3 });

/** What is not known. */
export const NONE = '–';

/** @param {number | null | undefined} n */
export const count = (n) => (n == null ? NONE : n < 100_000 ? whole.format(n) : compact.format(n));

/** How many a second. @param {number | null | undefined} n */
export const rate = (n) => (n == null ? NONE : n === 0 ? '0' : n < 10 ? short.format(n) : count(n));

/** @param {number | null | undefined} n */
export function bytes(n) {
  if (n == null) return NONE;
  const units = ['B', 'kB', 'MB', 'GB', 'TB'];
  let at = 0;
  for (; n >= 1000 && at < units.length - 1; at += 1) n /= 1000;
  return `${n < 10 && at > 0 ? short.format(n) : whole.format(n)} ${units[at]}`;
}

/** @param {number | null | undefined} us microseconds */
export function millis(us) {
  if (us == null) return NONE;
  const ms = us / 1000;
  return `${ms < 1 ? ms.toFixed(2) : ms < 10 ? ms.toFixed(1) : whole.format(ms)} ms`;
}

/** How long, roughly. @param {number} ms */
export function ago(ms) {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 120) return `${seconds} s`;
  if (seconds < 7200) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 172_800) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} days`;
}

/** @param {number} at unix ms */
export const clock = (at) => new Date(at).toLocaleTimeString('en-GB');

/** Day and time. @param {number} at unix ms */
export const moment = (at) => new Date(at).toLocaleString('en-GB');

/** edge-2 before edge-10. */
export const byName = new Intl.Collator('en', { numeric: true }).compare;

/**
 * @template {keyof HTMLElementTagNameMap} T
 * @param {T} tag
 * @param {string} [className]
 * @param {string} [words]
 * @returns {HTMLElementTagNameMap[T]}
 */
export function element(tag, className, words) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (words !== undefined) made.textContent = words;
  return made;
}

/**
 * @template {keyof SVGElementTagNameMap} T
 * @param {T} tag
 * @param {Record<string, string | number>} [attributes]
 * @returns {SVGElementTagNameMap[T]}
 */
export function shape(tag, attributes = {}) {
  const made = document.createElementNS('http://www.w3.org/2000/svg', tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, String(value));
  return made;
}

/** Sets a text only where it differs: what stays costs no layout. @param {Element} target @param {string} words */
export function say(target, words) {
  if (target.textContent !== words) target.textContent = words;
}

/** The same for an attribute. @param {Element} target @param {string} name @param {string | number} value */
export function mark(target, name, value) {
  if (target.getAttribute(name) !== String(value)) target.setAttribute(name, String(value));
}
