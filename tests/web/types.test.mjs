// What ships: types that hold, declarations that are current, and few bytes.

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { test } from 'node:test';
import { brotliCompressSync, gzipSync } from 'node:zlib';

import esbuild from 'esbuild';

import { MODULE, TYPES, check, declarations } from './types.mjs';

/** Bytes of causeway.js, minified and compressed by gzip. */
const BUDGET = 12 * 1024;

test('the types hold, ours and those of a page that uses them', () => {
  assert.equal(check(), '');
});

test('causeway.d.ts is what the JSDoc says', () => {
  assert.equal(readFileSync(TYPES, 'utf8'), declarations(), 'node tests/web/types.mjs --write');
});

test('causeway.js is small', () => {
  const source = readFileSync(MODULE);
  const minified = esbuild.transformSync(source.toString(), { minify: true, format: 'esm', target: 'es2022' }).code;
  const zipped = gzipSync(minified, { level: 9 }).length;
  console.log(`causeway.js: ${source.length} B as it is, ${gzipSync(source).length} B of that by gzip`);
  console.log(`  minified ${minified.length} B, by gzip ${zipped} B of ${BUDGET}, by brotli ${brotliCompressSync(minified).length} B`);
  assert.ok(zipped <= BUDGET, `${zipped} bytes`);
});

test('causeway.js imports nothing', async () => {
  const { metafile } = await esbuild.build({ entryPoints: [MODULE], bundle: true, write: false, metafile: true, format: 'esm' });
  assert.equal(Object.keys(metafile.inputs).length, 1);
});
