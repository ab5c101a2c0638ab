// Makes web/causeway.d.ts from the JSDoc of web/causeway.js, without what is marked @internal.
//
//   node tests/web/types.mjs --write     after a change of causeway.js
//
// types.test.mjs checks that it was done.

import { readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';

import ts from 'typescript';

const HERE = import.meta.dirname;
export const MODULE = path.join(HERE, '../../web/causeway.js');
export const TYPES = path.join(HERE, '../../web/causeway.d.ts');

/** Types that only the module itself uses; a typedef cannot be marked. */
const INTERNAL = new Set(['Host', 'Transport', 'Urls']);

const HEAD = '// Made from causeway.js by tests/web/types.mjs; do not edit.\n\n';

/** What is wrong with the types of our files, in words, one a line; '' if nothing is. */
export function check() {
  const { fileNames, options } = readConfig();
  const ours = ts.createProgram(fileNames, options);
  // By itself: beside causeway.js the compiler would take that for what is imported.
  const user = ts.createProgram([path.join(HERE, 'usage.ts')], { ...options, allowJs: false, checkJs: false, rootDir: undefined });
  const host = { getCanonicalFileName: (name) => name, getCurrentDirectory: () => HERE, getNewLine: () => '\n' };
  return ts.formatDiagnostics([ours, user].flatMap((program) => ts.getPreEmitDiagnostics(program)), host);
}

/** The text of causeway.d.ts as it should be. */
export function declarations() {
  const options = { ...readConfig().options, noEmit: false, declaration: true, emitDeclarationOnly: true };
  const program = ts.createProgram([MODULE], options);
  let text = '';
  program.emit(undefined, (_, written) => (text = written));
  return HEAD + withoutTypedefs(withoutInternals(text));
}

function readConfig() {
  const { config } = ts.readConfigFile(path.join(HERE, 'tsconfig.json'), ts.sys.readFile);
  return ts.parseJsonConfigFileContent(config, ts.sys, HERE);
}

/** The compiler's own option for this does not look into what comes from JavaScript. */
function withoutInternals(text) {
  const file = ts.createSourceFile('causeway.d.ts', text, ts.ScriptTarget.Latest, true);
  const cuts = [];
  const isInternal = (node) =>
    (ts.isTypeAliasDeclaration(node) && INTERNAL.has(node.name.text)) ||
    ts.getJSDocTags(node).some((tag) => tag.tagName.text === 'internal');
  const visit = (node) => {
    if (isInternal(node)) cuts.push([node.getFullStart(), node.end]);
    else ts.forEachChild(node, visit);
  };
  ts.forEachChild(file, visit);
  for (const [start, end] of cuts.reverse()) text = text.slice(0, start) + text.slice(end);
  return text;
}

/** What a typedef said stands at its type already. */
function withoutTypedefs(text) {
  return text.replace(/\/\*\*(?:(?!\*\/)[^])*@typedef(?:(?!\*\/)[^])*\*\/\n/g, '');
}

if (process.argv[1] === import.meta.filename) {
  const current = readFileSync(TYPES, { encoding: 'utf8', flag: 'a+' });
  const wanted = declarations();
  if (process.argv.includes('--write')) writeFileSync(TYPES, wanted);
  else if (current !== wanted) throw new Error('causeway.d.ts is not current; run it with --write');
}
