// What goes to npm, and that both kinds of modules find it there.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import process from 'node:process';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url));
const manifest = JSON.parse(readFileSync(`${root}/package.json`, 'utf8'));

test('import and require find the same names', async () => {
  const module = await import('@parley/client');
  const common = createRequire(import.meta.url)('@parley/client');
  assert.deepEqual(Object.keys(module).sort(), ['Chat', 'Parley', 'ParleyError', 'SendError']);
  assert.deepEqual(Object.keys(common).sort(), Object.keys(module).sort());
  assert.equal(common.Parley.name, 'Parley');
});

test('the package holds what it needs, and nothing of the workshop', () => {
  const said = execFileSync('npm', ['pack', '--dry-run', '--json', '--ignore-scripts'], { cwd: root, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  const files = JSON.parse(said)[0].files.map(({ path }) => path);
  for (const wanted of ['package.json', 'README.md', 'LICENSE', 'dist/cjs/package.json', 'dist/cjs/index.d.ts']) assert.ok(files.includes(wanted), wanted);
  const named = Object.values(manifest.exports['.']).flatMap((entry) => Object.values(entry)).concat(manifest.main, manifest.module, manifest.types);
  for (const path of named) assert.ok(files.includes(path.replace('./', '')), path);
  const foreign = files.filter((path) => !/^(dist\/(esm|cjs)\/[\w.-]+|package\.json|README\.md|LICENSE)$/u.test(path));
  assert.deepEqual(foreign, []);
  assert.deepEqual(Object.keys(manifest.dependencies), ['socket.io-client']);
});

test('the types are those that the api pods tell of', () => {
  execFileSync(process.execPath, ['scripts/generate.mjs', '--check'], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
});

test('an app’s TypeScript gets the types that it should', () => {
  const tsc = createRequire(import.meta.url).resolve('typescript/bin/tsc');
  execFileSync(process.execPath, [tsc, '--project', 'tests/types/tsconfig.json'], { cwd: root, stdio: ['ignore', 'inherit', 'inherit'] });
});
