import assert from 'node:assert/strict';
import fc from 'fast-check';
import { bytesOfText, isWithin, parseDirectory, parsePolicyPath, readPath, rootPath, type FtpPath } from '../../../src/core/ftp/path.ts';

const out = '/outgoing/2026' as FtpPath;

describe('a path in an ftp command', () => {
  const read: readonly (readonly [what: string, name: string, path: string])[] = [
    ['a relative name', 'a.txt', '/outgoing/2026/a.txt'],
    ['an absolute name', '/incoming/a.txt', '/incoming/a.txt'],
    ['slashes beyond need', 'a//b/', '/outgoing/2026/a/b'],
    ['"." segments', './a/./b', '/outgoing/2026/a/b'],
    ['".." at the beginning', '../2025/a.txt', '/outgoing/2025/a.txt'],
    ['".." up to the root', '../..', '/'],
    ['spaces and dots within', 'a report. v1 .txt', '/outgoing/2026/a report. v1 .txt'],
    ['a hidden file', '.profile', '/outgoing/2026/.profile'],
    ['three dots with more behind', '...and more', '/outgoing/2026/...and more'],
    ['UTF-8', bytesOfText('größe/文.txt'), bytesOfText('/outgoing/2026/größe/文.txt')],
    ['Latin-1', 'gr\xf6\xdfe.txt', '/outgoing/2026/gr\xf6\xdfe.txt'],
    ['a tilde at the end', 'a.txt~', '/outgoing/2026/a.txt~'],
    ['a wildcard in the last segment', '*.csv', '/outgoing/2026/*.csv'],
    ['an ellipsis in a name', bytesOfText('more….txt'), bytesOfText('/outgoing/2026/more….txt')],
    ['a time of day', '12:30.txt', '/outgoing/2026/12:30.txt'],
  ];
  for (const [what, name, path] of read) {
    it(`is read with ${what}`, () => assert.deepEqual(readPath(name, out), { ok: true, path }));
  }

  const refused: readonly (readonly [what: string, name: string, fault: RegExp])[] = [
    ['nothing', '', /empty/],
    ['".." behind a directory, which may be a link', 'a/../b', /"\.\."/],
    ['".." in an absolute path', '/outgoing/../etc', /"\.\."/],
    ['".." beyond the root', '../../../etc', /"\.\."/],
    ['backslashes', '..\\..\\etc', /backslash/],
    ['a full-width backslash', bytesOfText('..＼etc'), /backslash/],
    ['a yen sign, a backslash in Japanese code pages', bytesOfText('a¥b'), /backslash/],
    ['a home directory', '~root/x', /home directory/],
    ['a home directory in full width', bytesOfText('～root'), /home directory/],
    ['an overlong slash', '..\xc0\xafetc', /overlong/],
    ['an overlong dot', '/outgoing/\xc0\xae\xc0\xae/etc', /overlong/],
    ['an overlong slash of three bytes', 'a\xe0\x80\xafb', /overlong/],
    ['an overlong dot whose second byte is no continuation', '/outgoing/\xc0n\xc0n/x', /overlong/],
    ['a full-width slash', bytesOfText('..／etc'), /slash/],
    ['a division slash', bytesOfText('..∕etc'), /slash/],
    ['a fraction slash', bytesOfText('..⁄etc'), /slash/],
    ['full-width dots', bytesOfText('．．/etc'), /dots/],
    ['one-dot leaders', bytesOfText('․․/etc'), /dots/],
    ['an ellipsis alone', bytesOfText('…'), /dots/],
    ['dots with a space behind', '.. /etc', /dots/],
    ['three dots', '.../etc', /dots/],
    ['a segment of spaces', 'a/  /b', /dots/],
    ['dots around what is not to be seen', bytesOfText('.\u200b.'), /dots/],
    ['dots around a byte that is no UTF-8', '.\xbf.', /dots/],
    ['dots with a no-break space', bytesOfText('..\u00a0'), /dots/],
    ['a space in front', ' /etc/passwd', /space/],
    ['a byte in front that a server may drop', '\xbf/etc/passwd', /dots|"\/"/],
    ['a tab', '..\t', /control/],
    ['a Telnet byte', '.\xff\xff.', /Telnet/],
    ['a wildcard before the last segment', '*/x', /wildcard/],
    ['a wildcard that matches ".."', '.*', /wildcard/],
    ['a question mark that may match ".."', '??', /wildcard/],
    ['a bracket that may match ".."', '[.][.]', /wildcard/],
    ['a wildcard that matches ".." in a path', '/outgoing/.?/', /wildcard/],
    ['braces', '{..,a}', /braces/],
    ['a drive', 'C:/x', /drive/],
    ['another host', '//host/share', /"\/\/"/],
    ['a data set of z/OS', "'SYS1.PARMLIB'", /quotation/],
    ['quotation marks', '"/etc/passwd"', /quotation/],
    ['dots before a quotation mark', "outgoing/..'", /quotation/],
  ];
  for (const [what, name, fault] of refused) {
    it(`is not read with ${what}`, () => {
      const reading = readPath(name, out);
      assert.match(reading.ok ? `read as ${reading.path}` : reading.fault, fault);
    });
  }

  it('means nothing relative to a directory that is not known', () => {
    assert.match(String(readPath('a.txt', null).ok), /false/);
    assert.deepEqual(readPath('/a.txt', null), { ok: true, path: '/a.txt' });
  });

  it('is within a prefix by whole segments', () => {
    const within = (path: string, prefix: string) => isWithin(path as FtpPath, prefix as FtpPath);
    assert.deepEqual([within('/a', '/a'), within('/a/b', '/a'), within('/ab', '/a'), within('/A', '/a'), within('/', '/a'), within('/x', '/')], [true, true, false, false, false, true]);
  });
});

describe('the directory in a 257 reply', () => {
  const said: readonly (readonly [reply: string, directory: string | undefined])[] = [
    ['257 "/outgoing" is the current directory', '/outgoing'],
    ['257 "/"', '/'],
    ['257 "/a ""b"" c" created', '/a "b" c'],
    ['257-"/outgoing/" is\n257 current', '/outgoing'],
    ['257 "/a"b" c"', undefined],
    ['257 /outgoing', undefined],
    ['257 "outgoing"', undefined],
    ['257 "/a/../b"', undefined],
    ['250 "/outgoing"', undefined],
    ["257 \"'HLQ.'\" is the working directory", undefined],
  ];
  for (const [reply, directory] of said) {
    it(`${directory === undefined ? 'is not taken from' : `is ${directory} in`} ${reply.replace('\n', '|')}`, () => assert.equal(parseDirectory(reply), directory));
  }
});

describe('a path in a policy', () => {
  for (const text of ['/', '/outgoing', '/größe/a b']) it(`may be ${text}`, () => assert.deepEqual(parsePolicyPath(text), { ok: true, path: bytesOfText(text) }));
  for (const [text, fault] of [['outgoing', /begin/], ['', /begin/], ['/a/', /"\/a"/], ['/a//b', /"\/a\/b"/], ['/a/./b', /"\/a\/b"/], ['/a/../b', /"\.\."/], ['/a\\b', /backslash/], ['/*', /wildcards/], ['/~a', /home/]] as const) {
    it(`may not be ${JSON.stringify(text)}`, () => {
      const reading = parsePolicyPath(text);
      assert.match(reading.ok ? 'is read' : reading.fault, fault);
    });
  }
});

/**
 * Servers as they might be: each gives the places that a name may lead to, by its own way of taking names apart. Written apart from what
 * is tested, and without its bounds.
 */
const servers: Readonly<Record<string, (name: string, directory: string) => string[]>> = {
  'POSIX': (name, directory) => [resolve(name, directory)],
  'one that decodes UTF-8 without checking': (name, directory) => [resolve(decode(name), directory)],
  'one that drops what is no UTF-8': (name, directory) => [resolve(text(name).replaceAll('\ufffd', ''), directory)],
  'one with backslashes and drives': (name, directory) => [resolve(text(name).replaceAll(/[\\¥]/g, '/').replace(/^[A-Za-z]:/, '//drive'), directory)],
  'one that trims dots and spaces': (name, directory) => [resolve(text(name).split('/').map((each) => (/^[\s.]*$/.test(each) && each.trim().length > 1 ? '..' : each.trim())).join('/'), directory)],
  'one that folds compatibility forms': (name, directory) => [resolve(text(name).normalize('NFKC').replaceAll(/[∕⁄]/g, '/').replaceAll(/[∖]/g, '/').replaceAll('\u200b', ''), directory)],
  'one that expands home directories': (name, directory) => [resolve(/^~[^/]*/.test(name) ? name.replace(/^~[^/]*/, '/home/someone') : name, directory)],
  'one with a Telnet layer that drops 255': (name, directory) => [resolve(name.replaceAll('\xff', ''), directory)],
  'one that drops leading spaces': (name, directory) => [resolve(name.trimStart(), directory)],
  'one that strips quotation marks': (name, directory) => [resolve(name.replaceAll(/^["']|["']$/g, ''), directory)],
  'one that expands braces and wildcards': (name, directory) => expand(name).map((each) => resolve(each, directory)),
};

function resolve(name: string, directory: string): string {
  if (name.startsWith('//')) return `//${name}`;
  const path: string[] = [];
  for (const segment of (name.startsWith('/') ? name : `${directory}/${name}`).split('/')) {
    if (segment === '..') path.pop();
    else if (segment !== '' && segment !== '.') path.push(segment);
  }
  return `/${path.join('/')}`;
}

function text(name: string): string {
  return Buffer.from(name, 'latin1').toString('utf8');
}

function decode(name: string): string {
  return name.replaceAll(/[\xc0-\xdf].|[\xe0-\xef]../gs, (sequence) => {
    const [lead, ...rest] = Buffer.from(sequence, 'latin1');
    const code = rest.reduce((sum, each) => (sum << 6) | (each & 0x3f), lead! & (rest.length === 1 ? 0x1f : 0x0f));
    return code < 0x80 ? String.fromCharCode(code) : sequence;
  });
}

/** Braces, and wildcards where they may match `..`; a name that they match otherwise stays within its directory. */
function expand(name: string): string[] {
  const brace = /\{([^{}]*)\}/.exec(name);
  if (brace !== null) return brace[1]!.split(',').flatMap((each) => expand(name.replace(brace[0], () => each)));
  return [name, name.split('/').map((segment) => (/[*?[]/.test(segment) && (/^[.?[]/.test(segment)) ? '..' : segment)).join('/')];
}

describe('what is read of any name', () => {
  const pieces = ['..', '.', '/', '//', '\\', '~', ' ', 'a', 'etc', 'outgoing', '2026', '/outgoing', '*', '.*', '?', '[.]', '{', '}', ',', '\xc0\xaf', '\xc0\xae', '\xe0\x80\xae', '\xc0n', '\xc0/', '\xff', '\xbf', '\xe9', 'C:', "'", '"', '\t', ...['．', '․', '／', '∕', '∖', '¥', '…', '\u200b', '\u00a0', 'é', '～', '＼'].map(bytesOfText)];
  const anyName = fc.oneof(fc.array(fc.constantFrom(...pieces), { maxLength: 9 }).map((all) => all.join('')), fc.string({ unit: fc.integer({ min: 0, max: 255 }).map((code) => String.fromCharCode(code)), maxLength: 12 }));

  for (const [server, places] of Object.entries(servers)) {
    it(`stays where it was found to be at ${server}`, () => {
      fc.assert(
        fc.property(anyName, fc.constantFrom('/', '/outgoing', '/outgoing/2026'), (name, directory) => {
          const reading = readPath(name, directory as FtpPath);
          if (!reading.ok) return;
          for (const prefix of ['/outgoing', '/outgoing/2026']) {
            if (!isWithin(reading.path, prefix as FtpPath)) continue;
            for (const place of places(name, directory)) assert.ok(`${place}/`.startsWith(`${prefix}/`), `${JSON.stringify(name)} in ${directory} was read as ${reading.path}, but is ${place}`);
          }
        }),
        { numRuns: 5_000 },
      );
    });
  }

  it('is absolute and in its shortest form', () => {
    fc.assert(
      fc.property(anyName, (name) => {
        const reading = readPath(name, rootPath);
        if (reading.ok) assert.ok(reading.path === '/' || reading.path.split('/').slice(1).every((segment) => !['', '.', '..'].includes(segment)), reading.path);
      }),
    );
  });
});
