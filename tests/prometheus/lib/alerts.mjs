// The alerts as their file has them. It is ours and always written alike, so that a few patterns read it; promtool says
// whether it is right.

import { readFileSync } from 'node:fs';
import path from 'node:path';

import { DASHBOARDS } from './promtool.mjs';

export const RULES = 'rules/causeway.yml';

/** Where the rules say that runbooks are: it stands for dashboards/runbooks, wherever that can be read. */
export const RUNBOOKS = 'https://runbooks.example';

/** Every alert: `{ name, text, duration, severity, summary, description, runbook }`. */
export function alerts() {
  const file = readFileSync(path.join(DASHBOARDS, RULES), 'utf8');
  return file
    .split(/^ {6}- alert: /m)
    .slice(1)
    .map((text) => ({
      name: text.match(/^\w+/)[0],
      text,
      duration: text.match(/^ {8}for: (\S+)$/m)?.[1],
      severity: text.match(/^ {8}labels: \{ severity: (\w+) \}$/m)?.[1],
      summary: text.match(/^ {10}summary: '(.*)'$/m)?.[1],
      description: text.match(/^ {10}description: >-\n((?: {12}.*\n)+)/m)?.[1].replaceAll(/\s+/g, ' '),
      runbook: text.match(/^ {10}runbook_url: (\S+)$/m)?.[1],
    }));
}

/** Every group of rules, in order: `{ name, rules: [{ kind, name, text }] }`, where `kind` is record or alert. */
export function groups() {
  const [, ...texts] = readFileSync(path.join(DASHBOARDS, RULES), 'utf8').split(/^ {2}- name: /m);
  return texts.map((text) => {
    const [, ...parts] = text.split(/^ {6}- (?=(?:record|alert): )/m);
    const rules = parts.map((part) => ({ kind: part.match(/^\w+/)[0], name: part.match(/: (\S+)/)[1], text: part }));
    return { name: text.match(/^\S+/)[0], rules };
  });
}

/** The expression of a rule, by its text. */
export const expression = ({ text }) => text.match(/^ {8}expr: (?:>-\n((?: {10}.*\n)+)|(.*)$)/m).slice(1).find(Boolean);
