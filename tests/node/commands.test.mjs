// The command lines: usage, configuration in its three layers, certificates, tokens, and how each mistake is told.

import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHmac } from 'node:crypto';
import { chmodSync, copyFileSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { before, describe, test } from 'node:test';

import { SECRET, secretFile, startEdge } from './lib/cluster.mjs';
import { Child, ROOT, binary, run, temporary } from './lib/process.mjs';
import { Raw } from './lib/raw.mjs';
import { DEV_SECRET, unix } from './lib/token.mjs';

const BINARIES = ['causeway', 'edge', 'relay', 'certs'];
const VERSION = readFileSync(path.join(ROOT, 'Cargo.toml'), 'utf8').match(/^version = "(.+)"$/m)[1];

/** A file of settings; its path. */
function settings(text) {
  const file = path.join(temporary(), 'settings.toml');
  writeFileSync(file, text);
  return file;
}

/** Runs, and says everything when the code is another. */
async function exits(code, name, args, options) {
  const done = await run(name, args, options);
  assert.equal(done.code, code, `${name} ${args.join(' ')}\n${done.stdout}${done.stderr}`);
  assert.doesNotMatch(done.stderr, /panic/);
  return done;
}

describe('every binary', { concurrency: true, timeout: 60_000 }, () => {
  for (const name of BINARIES) {
    test(`${name} has --version and --help, and knows its mistakes`, async () => {
      assert.equal((await exits(0, name, ['--version'])).stdout, `${name} ${VERSION}\n`);
      const help = await exits(0, name, ['--help']);
      assert.match(help.stdout, /Usage: /);
      assert.equal(help.stderr, '');
      const wrong = await exits(2, name, ['--wrong']);
      assert.match(wrong.stderr, /--wrong/);
      assert.equal(wrong.stdout, '');
    });
  }

  test('names in its help all flags that the surface promises and that are built', async () => {
    const common = ['config', 'log-level', 'log-format', 'version', 'print-config'];
    const link = ['name', 'link-ca', 'link-cert', 'link-key', 'store', 'listen', 'admin-listen'];
    const promised = {
      causeway: [...common, 'listen', 'line-listen', 'admin-listen', 'max-clients'],
      edge: [...common, ...link, 'line-listen', 'relay', 'token-hmac-secret', 'token-hmac-secret-file', 'max-clients', 'allow-origin'],
      relay: [...common, ...link, 'admin-host'],
    };
    for (const [name, flags] of Object.entries(promised)) {
      const { stdout } = await exits(0, name, ['--help']);
      for (const flag of flags) assert.match(stdout, new RegExp(`--${flag}\\b`), `${name} --${flag}`);
    }
  });

  test('causeway knows its commands, and refuses others with 2', async () => {
    for (const args of [['help'], ['dev', '--help'], ['token', '--help'], ['check', '--help'], ['bench', '--help'], ['bench', 'pairs', '--help']]) {
      assert.match((await exits(0, 'causeway', args)).stdout, /Usage: /);
    }
    assert.match((await exits(2, 'causeway', ['fly'])).stderr, /"fly".*dev.*token.*check.*bench/);
    assert.match((await exits(2, 'causeway', ['token', '--wrong'])).stderr, /Usage: causeway token /);
    assert.match((await exits(2, 'causeway', ['check'])).stderr, /Usage: causeway check /);
  });
});

describe('settings', { concurrency: true, timeout: 60_000 }, () => {
  test('come from file, environment and flags, and the higher one wins', async () => {
    const file = settings('max_clients = 3\nlog_level = "debug"\nping_interval = "9s"\n');
    const env = { CAUSEWAY_LOG_LEVEL: 'trace', CAUSEWAY_MAX_CLIENTS: '4', CAUSEWAY_ALLOW_ORIGIN: 'https://a.example, https://b.example' };
    const { stdout } = await exits(0, 'edge', ['--config', file, '--max-clients', '5', '--print-config'], { env });
    assert.match(stdout, /^max_clients = 5 +# command line$/m);
    assert.match(stdout, /^log_level = "trace" +# .*CAUSEWAY_LOG_LEVEL/m);
    assert.match(stdout, new RegExp(`^ping_interval = "9s" +# ${file}:3$`, 'm'));
    assert.match(stdout, /^pong_timeout = "8s" +# default$/m);
    assert.match(stdout, /^allow_origin = \["https:\/\/a\.example", "https:\/\/b\.example"\]/m);
  });

  test('may name their file in the environment', async () => {
    const env = { CAUSEWAY_CONFIG: settings('max_clients = 3\n') };
    assert.match((await exits(0, 'causeway', ['--print-config'], { env })).stdout, /^max_clients = 3 /m);
  });

  test('printed are settings again, for all three', async () => {
    for (const name of ['causeway', 'edge', 'relay']) {
      const { stdout } = await exits(0, name, ['--print-config']);
      const again = await exits(0, name, ['--print-config', '--config', settings(stdout)]);
      const values = (text) => text.replaceAll(/ +# .*$/gm, '');
      assert.equal(values(again.stdout), values(stdout), name);
    }
  });

  test('show no secret, wherever it comes from', async () => {
    const secret = 'do-not-print-me';
    const file = secretFile(secret);
    for (const [args, env] of [
      [['--token-hmac-secret', secret]],
      [['--token-hmac-secret-file', file]],
      [['--config', settings(`token_hmac_secret = "${secret}"\n`)]],
      [['--config', settings(`token_hmac_secret_file = "${file}"\n`)]],
      [[], { CAUSEWAY_TOKEN_HMAC_SECRET: secret }],
      [[], { CAUSEWAY_TOKEN_HMAC_SECRET_FILE: file }],
    ]) {
      const { stdout, stderr } = await exits(0, 'edge', ['--print-config', ...args], { env });
      assert.match(stdout, /token_hmac_secret = "<redacted>"/);
      assert.doesNotMatch(stdout + stderr, /do-not-print-me/);
    }
  });

  test('with a secret bare on the command line are warned of, and work', async () => {
    const edge = await startEdge({ 'token-hmac-secret': SECRET }, { keyless: true });
    try {
      assert.match(edge.child.stderr, /--token-hmac-secret shows its secret to all users/);
      assert.ok(!edge.child.output.includes(SECRET));
    } finally {
      await edge.stop();
    }
  });

  test('with a secret in file and value at once are refused', async () => {
    await exits(2, 'edge', ['--token-hmac-secret', 'a', '--token-hmac-secret-file', 'b']);
    const env = { CAUSEWAY_TOKEN_HMAC_SECRET: 'a', CAUSEWAY_TOKEN_HMAC_SECRET_FILE: 'b' };
    assert.match((await exits(78, 'edge', [], { env })).stderr, /CAUSEWAY_TOKEN_HMAC_SECRET.* leave one out/);
  });

  test('with a secret that is missing or empty are refused, and the file is named', async () => {
    const empty = secretFile('');
    for (const file of ['/nowhere/secret', empty]) {
      for (const [args, env] of [
        [['--token-hmac-secret-file', file]],
        [[], { CAUSEWAY_TOKEN_HMAC_SECRET_FILE: file }],
        [['--config', settings(`token_hmac_secret_file = "${file}"\n`)]],
      ]) {
        assert.ok((await exits(78, 'edge', args, { env })).stderr.includes(file));
      }
    }
    assert.match((await exits(78, 'edge', [], { env: { CAUSEWAY_TOKEN_HMAC_SECRET: '' } })).stderr, /CAUSEWAY_TOKEN_HMAC_SECRET/);
  });

  for (const name of ['causeway', 'edge', 'relay']) {
    for (const [what, text, line, told] of [
      ['an unknown key', '# first\n\nlog_levle = "info"\n', 3, /unknown key "log_levle"; did you mean log_level\?/],
      ['a wrong type', 'log_level = 7\n', 1, /log_level: "?7"? is not right/],
      ['a wrong value', '\nlog_format = "xml"\n', 2, /log_format: "xml" is not right.*text, json/],
      ['a wrong address', '\n\n\nadmin_listen = "nowhere"\n', 4, /admin_listen.*nowhere/],
      ['a key given twice', 'log_level = "info"\nlog_level = "warn"\n', 2, /duplicate/],
      ['no TOML', 'listen = [\n', 1, /array/],
      ['a table', '\n[edge]\nlisten = "x"\n', 2, /unknown key "edge"/],
    ]) {
      test(`${name} refuses ${what} in its file with 78, file and line`, async () => {
        const file = settings(text);
        const { stderr, stdout } = await exits(78, name, ['--config', file]);
        assert.ok(stderr.startsWith(`error: ${file}:${line}: `), stderr);
        assert.match(stderr, told);
        assert.equal(stdout, '');
      });
    }

    test(`${name} refuses a wrong value of the environment with 78 and the variable`, async () => {
      for (const [variable, value] of [['CAUSEWAY_LOG_FORMAT', 'xml'], ['CAUSEWAY_ADMIN_LISTEN', 'x'], ['CAUSEWAY_LOG_LEVEL', 'inof']]) {
        const { stderr } = await exits(78, name, [], { env: { [variable]: value } });
        assert.ok(stderr.startsWith(`error: ${variable}: "${value}" is not right`), stderr);
      }
    });

    test(`${name} refuses a wrong value on the command line with 2 and the flag`, async () => {
      for (const [flag, value] of [['--log-format', 'xml'], ['--admin-listen', 'x'], ['--log-level', 'inof']]) {
        assert.match((await exits(2, name, [flag, value])).stderr, new RegExp(`'${value}' for '${flag} `));
      }
    });

    test(`${name} refuses a file that is not there`, async () => {
      assert.match((await exits(78, name, ['--config', '/nowhere/x.toml'])).stderr, /\/nowhere\/x\.toml: .*no such file/);
    });
  }

  test('of an edge are checked against each other', async () => {
    for (const [args, key] of [
      [{ ping_interval: '"1500ms"' }, 'ping_interval'],
      [{ ping_interval: '"0s"' }, 'ping_interval'],
      [{ ping_interval: '"5s"', pong_timeout: '"5s"' }, 'pong_timeout'],
      [{ pong_timeout: '"0s"' }, 'pong_timeout'],
      [{ max_clients: '0' }, 'max_clients'],
      [{ allow_origin: '["example.org"]' }, 'allow_origin'],
      [{ store: '"redis:/127.0.0.1"' }, 'store'],
      [{ store: '"redis://127.0.0.1"', store_prefix: '"{"' }, 'store_prefix'],
      [{ name: '"Edge_1"' }, 'name'],
    ]) {
      const file = settings(Object.entries({ name: '"e"', ...args }).map(([name, value]) => `${name} = ${value}\n`).join(''));
      const { stderr } = await exits(78, 'edge', ['--config', file]);
      assert.match(stderr, new RegExp(`settings\\.toml:\\d: ${key}: `));
    }
  });

  const ONE = '127.0.0.1:0';
  const TWO = '127.0.0.1:0,127.0.0.1:0';
  const edge = ['--name', 'e', '--listen', ONE, '--admin-listen', ONE];
  const dev = ['--listen', TWO, '--line-listen', TWO, '--admin-listen', TWO, '--relay-listen', ONE, '--relay-admin-listen', ONE];
  for (const [name, args, limit, told, started] of [
    ['edge', edge, 2000, /max-clients: 5000 clients need \d+ open files, the limit \(ulimit -Hn\) is 2000; at most (\d+) fit$/m, ['stderr', /listening/]],
    ['causeway', dev, 4000, /max-clients: 5000 clients on each of 2 edges need \d+ open files, .* is 4000; at most (\d+) each fit$/m, ['stdout', /Ctrl-C/]],
  ]) {
    test(`of ${name} that need more open files than there may be are refused with 78, and as many clients as fit are let in`, async () => {
      const limited = (clients) => {
        const script = `ulimit -Sn 500; ulimit -Hn ${limit}; exec "$@"`;
        return new Child('/bin/bash', ['-c', script, 'bash', binary(name), ...args, '--max-clients', clients]);
      };
      const refused = limited(5000);
      assert.equal((await refused.end()).code, 78, refused.output);
      assert.match(refused.stderr, told);
      const fitting = Number(refused.stderr.match(told)[1]);
      assert.equal((await limited(fitting + 1).end()).code, 78);
      const taken = limited(fitting);
      try {
        await taken.said(...started);
        // The soft limit was lower, and raised.
        assert.match(readFileSync(`/proc/${taken.process.pid}/limits`, 'utf8'), new RegExp(`^Max open files +${limit} +${limit} `, 'm'));
      } finally {
        await taken.kill();
      }
    });
  }

  test('of causeway dev keep it on this machine', async () => {
    const two = '127.0.0.1:0';
    for (const flag of ['listen', 'line-listen', 'admin-listen']) {
      for (const value of [`0.0.0.0:0,${two}`, `${two},0.0.0.0:0`, `192.0.2.1:0,${two}`, `[::]:0,${two}`]) {
        const { stderr } = await exits(2, 'causeway', [`--${flag}`, value]);
        assert.match(stderr, new RegExp(`for '--${flag} .*not a loopback address`));
      }
    }
    for (const flag of ['relay-listen', 'relay-admin-listen']) {
      assert.match((await exits(2, 'causeway', [`--${flag}`, '0.0.0.0:0'])).stderr, /not a loopback address/);
    }
    const { stderr } = await exits(78, 'causeway', [], { env: { CAUSEWAY_RELAY_LISTEN: '0.0.0.0:0' } });
    assert.match(stderr, /CAUSEWAY_RELAY_LISTEN: .*not a loopback address/);
  });
});

describe('causeway check', { concurrency: true, timeout: 60_000 }, () => {
  test('accepts what an edge takes, and says so', async () => {
    const file = settings('listen = "127.0.0.1:8000"\nname = "e"\nmax_clients = 3\nallow_origin = ["https://chat.example"]\n');
    assert.equal((await exits(0, 'causeway', ['check', file])).stdout, `${file}: fine for an edge\n`);
    await exits(0, 'edge', ['--config', file, '--print-config']);
  });

  test('refuses mistakes with 78, file, line and the nearest key', async () => {
    const file = settings('name = "e"\nmax_client = 3\n');
    const { stderr } = await exits(78, 'causeway', ['check', file]);
    assert.ok(stderr.includes(`${file}:2: unknown key "max_client"; did you mean max_clients?`), stderr);
    const both = settings('\nlog_level = "inof"\n');
    assert.ok((await exits(78, 'causeway', ['check', both])).stderr.startsWith(`error: ${both}:2: log_level: `));
    assert.match((await exits(78, 'causeway', ['check', '/nowhere.toml'])).stderr, /\/nowhere\.toml/);
  });

  test('shows no secret', async () => {
    const file = settings('token_hmac_secret = "do-not-print-me"\nnonsense = 1\n');
    const { stderr, stdout } = await exits(78, 'causeway', ['check', file]);
    assert.doesNotMatch(stderr + stdout, /do-not-print-me/);
  });
});

describe('causeway token', { concurrency: true, timeout: 60_000 }, () => {
  const claims = (token) => JSON.parse(Buffer.from(token.split('.')[1], 'base64url'));
  const isSignedWith = (token, secret) => {
    const [header, body, signature] = token.split('.');
    return createHmac('sha256', secret).update(`${header}.${body}`).digest('base64url') === signature;
  };

  test('prints a token that never expires, signed for causeway dev', async () => {
    const { stdout, stderr } = await exits(0, 'causeway', ['token', '--user', 'alice']);
    const token = stdout.trim();
    assert.equal(stdout, `${token}\n`);
    assert.match(stderr, /causeway dev/);
    assert.deepEqual(claims(token), { sub: 'alice' });
    assert.ok(isSignedWith(token, DEV_SECRET));
  });

  test('takes an expiry, and a secret from flag or environment', async () => {
    const asked = unix();
    const { stdout } = await exits(0, 'causeway', ['token', '--user', 'jürgen x', '--secret', SECRET, '--expires', '1h']);
    const { sub, exp } = claims(stdout.trim());
    assert.equal(sub, 'jürgen x');
    assert.ok(exp >= asked + 3600 && exp <= unix() + 3600, `${exp}`);
    assert.ok(isSignedWith(stdout.trim(), SECRET));
    const env = { CAUSEWAY_TOKEN_HMAC_SECRET: SECRET };
    assert.ok(isSignedWith((await exits(0, 'causeway', ['token', '--user', 'a'], { env })).stdout.trim(), SECRET));
  });

  test('opens an edge with that secret', async () => {
    const edge = await startEdge();
    try {
      const { stdout } = await exits(0, 'causeway', ['token', '--user', 'alice', '--secret', SECRET, '--expires', '1m']);
      const raw = await Raw.login(edge.url, 'alice', { token: stdout.trim() });
      assert.ok(raw.connected.ttl > 30 && raw.connected.ttl <= 60);
      raw.close();
    } finally {
      await edge.stop();
    }
  });

  test('refuses impossible users and expiries with 2', async () => {
    for (const user of ['', 'a,b', 'a#b', 'a\nb', 'u'.repeat(201)]) await exits(2, 'causeway', ['token', '--user', user]);
    for (const expires of ['soon', '-1h', '']) await exits(2, 'causeway', ['token', '--user', 'a', '--expires', expires]);
    await exits(2, 'causeway', ['token']);
  });
});

describe('a link identity', { concurrency: true, timeout: 60_000 }, () => {
  let links;
  const at = (file) => path.join(links, file);
  const flags = (name, { ca = 'ca.pem', cert = `${name}.pem`, key = `${name}.key` } = {}) => [
    ...['--name', name, '--link-ca', at(ca)],
    ...['--link-cert', at(cert), '--link-key', at(key)],
  ];

  before(async () => {
    links = temporary();
    await exits(0, 'certs', ['init', links]);
    for (const [name, role] of [['edge-1', 'edge'], ['relay-1', 'relay'], ['relay-2', 'relay']]) {
      await exits(0, 'certs', ['issue', links, '--name', name, '--role', role]);
    }
    await exits(0, 'certs', ['issue', links, '--name', 'both']);
    const other = temporary();
    await exits(0, 'certs', ['init', other]);
    await exits(0, 'certs', ['issue', other, '--name', 'relay-1', '--role', 'relay']);
    for (const file of ['ca.pem', 'relay-1.pem', 'relay-1.key']) copyFileSync(path.join(other, file), at(`foreign-${file}`));
    expire('relay-1');
    writeFileSync(at('broken.pem'), readFileSync(at('relay-1.pem'), 'utf8').slice(0, 300));
    writeFileSync(at('broken.key'), 'no key at all\n');
    writeFileSync(at('garbage.pem'), readFileSync(at('relay-1.pem'), 'utf8').replace(/\n[A-Za-z0-9+/]{10}/, '\nAAAAAAAAAA'));
  });

  /** A certificate of the same CA and name whose time is long over: `certs` makes none, so openssl does. */
  function expire(name) {
    const openssl = (...args) => execFileSync('openssl', args, { cwd: links, stdio: 'pipe' });
    const config = {
      ca: ['default_ca = all'],
      all: ['database = index', 'serial = serial', 'new_certs_dir = .', 'default_md = sha256', 'policy = any'],
      any: ['commonName = supplied'],
      leaf: [`subjectAltName = DNS:${name}`, 'extendedKeyUsage = clientAuth, serverAuth', 'basicConstraints = CA:FALSE'],
    };
    const sections = Object.entries(config).map(([section, lines]) => [`[${section}]`, ...lines, ''].join('\n'));
    writeFileSync(at('openssl.conf'), sections.join('\n'));
    writeFileSync(at('index'), '');
    writeFileSync(at('serial'), '07\n');
    openssl('req', '-new', '-key', `${name}.key`, '-subj', `/CN=${name}`, '-out', 'old.csr');
    const signer = ['-config', 'openssl.conf', '-cert', 'ca.pem', '-keyfile', 'ca.key', '-extensions', 'leaf'];
    const time = ['-startdate', '20200101000000Z', '-enddate', '20200131000000Z'];
    openssl('ca', '-batch', '-notext', ...signer, ...time, '-in', 'old.csr', '-out', 'old.pem');
  }

  test('is what relay asks for, with the commands that make one, and these work', async () => {
    const { stderr } = await exits(78, 'relay', ['--name', 'relay-7']);
    const commands = stderr.match(/^ +certs .+$/gm).map((line) => line.trim());
    assert.deepEqual(commands, ['certs init link', 'certs issue link --name relay-7 --role relay']);
    const cwd = temporary();
    const env = { PATH: `${path.dirname(binary('certs'))}:${process.env.PATH}` };
    for (const command of commands) {
      const child = new Child('/bin/sh', ['-c', command], { cwd, env });
      assert.equal((await child.end()).code, 0, child.output);
    }
    const given = stderr.match(/--link-ca \S+ --link-cert \S+ --link-key \S+/)[0].split(' ');
    const next = await exits(78, 'relay', ['--name', 'relay-7', ...given], { cwd });
    assert.match(next.stderr, /--store: "memory" is one process only.*causeway dev/);
  });

  test('does not help without a store that several processes share: 78, and what to run instead', async () => {
    const edge = await exits(78, 'edge', ['--relay', '127.0.0.1:7000', ...flags('edge-1')]);
    assert.match(edge.stderr, /"memory" is one process only.*--store redis:\/\/.*causeway dev/);
    const relay = await exits(78, 'relay', flags('relay-1'));
    assert.match(relay.stderr, /"memory" is one process only.*causeway dev/);
  });

  for (const [args, told] of [
    [['--store', 'postgres://127.0.0.1'], /--store: "postgres:\/\/127\.0\.0\.1" is no address of a Redis.*redis:\/\//],
    [['--store', 'redis://me:hunter2@127.0.0.1:x'], /--store: "redis:\/\/…@127\.0\.0\.1:x" is no address/],
    [['--store', 'rediss://127.0.0.1'], /--store: rediss:\/\/ is not built yet/],
    [['--store', 'redis://127.0.0.1', '--store-prefix', '{x}'], /--store-prefix: "\{x\}" is no prefix/],
    [['--store', 'redis://me:hunter2@127.0.0.1', '--store-password', 'hunter2'], /--store-password: .*leave one out/],
  ]) {
    test(`goes with a store, and ${args.slice(0, 4).join(' ').replace('hunter2', 'PASSWORD')} is none: 78, and no password is shown`, async () => {
      for (const [command, more] of [['relay', flags('relay-1')], ['edge', ['--relay', '127.0.0.1:7000', ...flags('edge-1')]]]) {
        const { stderr } = await exits(78, command, [...more, ...args]);
        assert.match(stderr, told);
        assert.doesNotMatch(stderr, /hunter2/);
      }
    });
  }

  test('is needed by an edge with a relay: without one it does not start', async () => {
    const { stderr } = await exits(78, 'edge', ['--name', 'edge-1', '--relay', 'x:1', '--store', 'redis://127.0.0.1']);
    assert.match(stderr, /--link-cert: .*certs init/s);
    await exits(78, 'edge', ['--name', 'edge-1', '--relay', 'x']);
  });

  for (const [what, name, files, told] of [
    ['a certificate that is cut off', 'relay-1', { cert: 'broken.pem' }, /broken\.pem: /],
    ['a certificate that is garbled', 'relay-1', { cert: 'garbage.pem' }, /garbage\.pem: /],
    ['a key that is none', 'relay-1', { key: 'broken.key' }, /broken\.key: /],
    ['a CA that is none', 'relay-1', { ca: 'broken.key' }, /broken\.key: .*--link-ca/],
    ['a certificate that is not there', 'relay-1', { cert: 'nowhere.pem' }, /nowhere\.pem: .*no such file/i],
    ['the key of another', 'relay-1', { key: 'relay-2.key' }, /relay-2\.key: not the private key of .*relay-1\.pem/],
    ['a certificate of a foreign CA', 'relay-1', { cert: 'foreign-relay-1.pem', key: 'foreign-relay-1.key' }, /not signed by a CA in .*ca\.pem/],
    ['a foreign CA', 'relay-1', { ca: 'foreign-ca.pem' }, /not signed by a CA in .*foreign-ca\.pem/],
    ['an expired certificate', 'relay-1', { cert: 'old.pem' }, /old\.pem: expired at 20.*certs issue/],
    ['a certificate of another name', 'relay-9', { cert: 'relay-1.pem', key: 'relay-1.key' }, /--name relay-1/],
    ['a certificate of another role', 'edge-1', {}, /not for a node of role relay.*--role relay/],
  ]) {
    test(`that is ${what} is refused with 78, and the file is named`, async () => {
      const { stderr } = await exits(78, 'relay', flags(name, files));
      assert.match(stderr, told);
      assert.doesNotMatch(stderr, /PRIVATE/);
    });
  }

  test('for both roles does for a relay', async () => {
    assert.match((await exits(78, 'relay', flags('both'))).stderr, /--store/);
  });

  test('is not read from a key that we may not read', { skip: process.getuid() === 0 && 'root may read everything' }, async () => {
    copyFileSync(at('relay-2.key'), at('secret.key'));
    chmodSync(at('secret.key'), 0o000);
    assert.match((await exits(78, 'relay', flags('relay-2', { key: 'secret.key' }))).stderr, /secret\.key: .*permission denied/);
  });
});
