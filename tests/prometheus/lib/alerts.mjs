// The alerts as their file has them. It is ours and always written alike, so that a few patterns read it; promtool says
// whether it is right.

import { readFileSync } from 'node:fs';
import path from 'node:path';

import { DASHBOARDS } from './promtool.mjs';

/** Every alert: `{ name, text, duration, severity, summary, description, runbook }`. */
export function alerts() {
  const file = readFileSync(path.join(DASHBOARDS, 'rules/alerts.yml'), 'utf8');
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
