/** The text for tmsh, read by Tcl itself, whose grammar it has, and held to the declaration object by object. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { renderAs3 } from '../../../src/backends/bigip/index.ts';
import type { As3Objects } from '../../../src/backends/bigip/as3-object.ts';
import { renderTmsh, tmshObjects } from '../../../src/backends/bigip/tmsh.ts';
import { tmshText, tmshWord } from '../../../src/backends/bigip/tmsh-text.ts';
import { requirePeer } from '../../support/peers.ts';
import { bigipOf, exampleWorld } from './example-world.ts';

/** A word as Tcl has it, and the words that are in it if it is a list; those of a text are no more than its words. */
interface Word {
  readonly text: string;
  readonly words: readonly Word[];
}

/** What the text is run after: each of its commands writes its words as JSON, in hexadecimal. */
const reader = String.raw`
proc tree {word depth} {
  set inner {}
  if {$depth > 0 && ![catch {llength $word}]} { foreach each $word { lappend inner [tree $each [expr {$depth - 1}]] } }
  binary scan [encoding convertto utf-8 $word] H* hex
  return "{\"text\":\"$hex\",\"words\":\[[join $inner ,]\]}"
}
proc ltm args { puts [tree [linsert $args 0 ltm] 6] }
proc sys args { puts [tree [linsert $args 0 sys] 6] }
`;

const decoded = ({ text, words }: Word): Word => ({ text: Buffer.from(text, 'hex').toString(), words: words.map(decoded) });

function commandsOf(tclsh: string, text: string): readonly (readonly Word[])[] {
  const out = execFileSync(tclsh, { input: reader + text, env: { ...process.env, LC_ALL: 'C.UTF-8' } });
  return out.toString().trim().split('\n').map((line) => decoded(JSON.parse(line) as Word).words);
}

/** `{ name value ... }` */
const settingsOf = ({ words }: Word): Readonly<Record<string, Word>> => Object.fromEntries(words.flatMap((word, index) => (index % 2 === 0 ? [[word.text, words[index + 1]!]] : [])));
const textsOf = (settings: Readonly<Record<string, Word>>): Readonly<Record<string, string>> => Object.fromEntries(Object.entries(settings).map(([name, { text }]) => [name, text]));
const wordsOf = (word: Word | undefined): readonly string[] => (word?.words ?? []).map(({ text }) => text);

describe('what tmsh is told', () => {
  const plan = exampleWorld();
  const gateway = bigipOf(plan);
  const { declaration, conditions } = renderAs3(plan, gateway);
  const declared = (declaration as unknown as Record<string, Record<string, As3Objects>>)['Sallyport']!['shared']!;
  /** Of a class, by name, as far as it matters here. */
  const ofClass = <T>(name: string) => Object.entries(declared).flatMap(([object, value]) => (value.class === name ? [[object, value as unknown as T] as const] : []));
  let tclsh: string;
  let read: readonly { readonly component: string; readonly path: string; readonly body: Word }[];
  const at = (component: string, path: string): Readonly<Record<string, Word>> => {
    const [found, ...more] = read.filter((object) => object.component === component && object.path === path);
    assert.ok(found !== undefined && more.length === 0, `${component} ${path}`);
    return settingsOf(found.body);
  };
  const inShared = (component: string, name: string) => at(component, `/Sallyport/shared/${name}`);

  before(function () {
    tclsh = requirePeer(this, 'tclsh');
    read = commandsOf(tclsh, renderTmsh(plan, gateway).text).map((words) => ({ component: words.slice(0, -2).map(({ text }) => text).join(' '), path: words.at(-2)!.text, body: words.at(-1)! }));
  });

  it('is every object of the declaration but its files, the servers, and nothing else', () => {
    const named = Object.entries(declared).flatMap(([name, object]) => (typeof object !== 'object' || ['Certificate', 'CA_Bundle'].includes(object.class) ? [] : [object.class === 'SNAT_Translation' ? `/Sallyport/${object['address'] as string}` : `/Sallyport/shared/${name}`]));
    const servers = ['10.4.0.53', '198.51.100.9', '198.51.100.21', 'a.partner.example', 'b.partner.example', '198.51.100.3', '198.51.100.22', '198.51.100.7', '198.51.100.8'].map((name) => `/Sallyport/${name}`);
    assert.deepEqual(read.map(({ path }) => path).sort(), [...named, ...servers].sort());
    assert.deepEqual(renderTmsh(plan, gateway).conditions, conditions);
  });

  it('has each virtual server where the declaration has it, with its profiles and iRules and no pool', () => {
    const servers = ofClass<{ virtualAddresses: string[]; virtualPort: number; iRules: string[]; profileFTP?: { use: string } }>('Service_TCP');
    assert.equal(servers.length, 5);
    for (const [name, { virtualAddresses: [address], virtualPort, iRules, profileFTP }] of servers) {
      const { destination, mask, rules, profiles, pool, 'source-address-translation': snat, 'source-port': port, persist, 'ip-protocol': protocol } = inShared('ltm virtual', name);
      const isIpv6 = address!.includes(':');
      assert.deepEqual([destination?.text, mask?.text], isIpv6 ? [`/Sallyport/${address!}.${virtualPort}`, 'ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff'] : [`/Sallyport/${address!}:${virtualPort}`, '255.255.255.255']);
      assert.deepEqual(wordsOf(rules), iRules.map((rule) => `/Sallyport/shared/${rule}`));
      assert.deepEqual(Object.entries(settingsOf(profiles!)).map(([path, more]) => [path, ...wordsOf(more)]), [
        ['/Sallyport/shared/client-ssl', 'context', 'clientside'],
        ['/Sallyport/shared/tcp', 'context', 'all'],
        ...(profileFTP === undefined ? [] : [[`/Sallyport/shared/${profileFTP.use}`, 'context', 'all']]),
      ]);
      assert.deepEqual([pool, wordsOf(snat), port?.text, persist?.text, protocol?.text], [undefined, ['type', 'none'], 'change', 'none', 'tcp']);
    }
  });

  it('has the servers of each pool, in their order, each of which is a node', () => {
    const pools = ofClass<{ members: { servicePort: number; serverAddresses?: string[]; hostname?: string; priorityGroup?: number }[]; reselectTries?: number; monitors?: (string | { use: string })[] }>('Pool');
    assert.ok(pools.length > 5);
    for (const [name, { members, reselectTries, monitors }] of pools) {
      const pool = inShared('ltm pool', name);
      assert.deepEqual(
        Object.entries(settingsOf(pool['members']!)).map(([path, more]) => [path, settingsOf(more)['priority-group']?.text]),
        members.map(({ servicePort, serverAddresses, hostname, priorityGroup }) => [`/Sallyport/${serverAddresses?.[0] ?? hostname!}:${servicePort}`, priorityGroup === undefined ? undefined : String(priorityGroup)]),
      );
      for (const { serverAddresses, hostname } of members) {
        const { address, fqdn } = at('ltm node', `/Sallyport/${serverAddresses?.[0] ?? hostname!}`);
        if (hostname === undefined) assert.equal(address?.text, serverAddresses![0]);
        else assert.deepEqual(textsOf(settingsOf(fqdn!)), { 'address-family': 'ipv4', autopopulate: 'enabled', name: hostname });
      }
      assert.deepEqual([pool['reselect-tries']?.text, pool['min-active-members']?.text], [reselectTries?.toString(), '1'], 'priority groups do nothing without it');
      assert.equal(pool['monitor']?.text, monitors === undefined ? undefined : monitors[0] === 'tcp' ? '/Common/tcp' : '/Sallyport/shared/connects');
    }
  });

  it('has the SNAT pools, and the limit of each of their addresses', () => {
    for (const [name, { snatAddresses }] of ofClass<{ snatAddresses: string[] }>('SNAT_Pool')) assert.deepEqual(wordsOf(inShared('ltm snatpool', name)['members']), snatAddresses.map((address) => `/Sallyport/${address}`));
    for (const [, { address, maxConnections }] of ofClass<{ address: string; maxConnections: number }>('SNAT_Translation')) assert.deepEqual(textsOf(at('ltm snat-translation', `/Sallyport/${address}`)), { address, 'connection-limit': String(maxConnections) });
  });

  it('has the records of each data group', () => {
    const groups = ofClass<{ records: { key: string; value: string }[] }>('Data_Group');
    assert.equal(groups.length, 4);
    for (const [name, { records }] of groups) {
      const group = inShared('ltm data-group internal', name);
      assert.equal(group['type']?.text, 'string');
      assert.deepEqual(Object.entries(settingsOf(group['records']!)).map(([key, more]) => ({ key, value: settingsOf(more)['data']?.text })), records);
    }
  });

  it('has the iRules, letter by letter', () => {
    const rules = ofClass<{ iRule: string }>('iRule');
    assert.equal(rules.length, 2);
    for (const [name, { iRule }] of rules) assert.equal(read.find(({ component, path }) => component === 'ltm rule' && path === `/Sallyport/shared/${name}`)!.body.text, `\n${iRule}`);
  });

  it('has the profiles, whose client-SSL one asks for a certificate and refers to the files', () => {
    const { options, 'cert-key-chain': chain, ...profile } = inShared('ltm profile client-ssl', 'client-ssl');
    assert.deepEqual(textsOf(profile), {
      ciphers: 'none',
      'cipher-group': '/Sallyport/shared/ciphers',
      'peer-cert-mode': 'require',
      authenticate: 'always',
      'ca-file': '/Common/sallyport_edge_ca.crt',
      'client-cert-ca': '/Common/sallyport_edge_ca.crt',
      renegotiation: 'disabled',
      'cache-timeout': '0',
      'handshake-timeout': '10',
    });
    assert.deepEqual([...wordsOf(options)].sort(), ['dont-insert-empty-fragments', 'no-dtls', 'no-dtlsv1.2', 'no-ssl', 'no-sslv3', 'no-tlsv1', 'no-tlsv1.1']);
    assert.deepEqual(textsOf(settingsOf(settingsOf(chain!)['set0']!)), { cert: '/Common/sallyport_edge.crt', key: '/Common/sallyport_edge.key', chain: '/Common/sallyport_edge_chain.crt' });
    assert.deepEqual(textsOf(inShared('ltm profile ftp', 'ftp')), { port: '20', 'ftps-mode': 'disallow', 'allow-active-mode': 'disabled', 'inherit-parent-profile': 'enabled' });
    assert.deepEqual(textsOf(inShared('ltm profile tcp', 'tcp')), { 'idle-timeout': '3600', 'syn-max-retrans': '2', 'syn-rto-base': '1428' });
    assert.deepEqual(textsOf(inShared('ltm monitor inband', 'connects')), { failures: '3', 'failure-interval': '30', 'response-time': '0', 'retry-time': '30' });
    const { cipher, 'dh-groups': groups } = textsOf(inShared('ltm cipher rule', 'cipher-rule'));
    assert.deepEqual([cipher!.split(':').length, groups], [9, 'X25519:P256:P384']);
    assert.deepEqual(Object.keys(settingsOf(inShared('ltm cipher group', 'ciphers')['allow']!)), ['/Sallyport/shared/cipher-rule']);
  });

  it('has the way of the log', () => {
    assert.deepEqual(textsOf(inShared('sys log-config destination remote-high-speed-log', 'log-stream')), { 'pool-name': '/Sallyport/shared/log-receivers', protocol: 'tcp' });
    assert.deepEqual(Object.keys(settingsOf(inShared('sys log-config publisher', 'log')['destinations']!)), ['/Sallyport/shared/log-stream']);
  });

  it('says every property of the declaration, or nothing at all', () => {
    const withMore = (object: object) => ({ ...declaration, Sallyport: { class: 'Tenant', shared: { class: 'Application', template: 'generic', 'vs_10.4.0.10_15443': { ...declared['vs_10.4.0.10_15443']!, ...object } } } });
    assert.throws(() => tmshObjects(withMore({ maxConnections: 5 }), 'Sallyport'), /tmsh has words for maxConnections of class Service_TCP/);
    assert.throws(() => tmshObjects(withMore({ class: 'Service_HTTP' }), 'Sallyport'), /tmsh has words for class Service_HTTP/);
  });

  it('is one word of whatever text, for Tcl', () => {
    const texts = fc.sample(fc.string({ unit: fc.constantFrom('a', 'B', '3', '/', ':', '.', '-', ' ', '_', '"', '\\', '{', '}', '[', ']', '$', ';', '#', '\t', 'ß', '☃'), minLength: 0, maxLength: 12 }), 400);
    const read = commandsOf(tclsh, texts.map((text) => tmshText({ component: 'ltm node', path: text, body: { value: text, list: [text, text] } })).join(''));
    assert.deepEqual(read.map((words) => [words[2]!.text, settingsOf(words[3]!)['value']!.text, wordsOf(settingsOf(words[3]!)['list'])]), texts.map((text) => [text, text, [text, text]]));
    assert.deepEqual([tmshWord('198.51.100.7:443'), tmshWord('a b')], ['198.51.100.7:443', '"a b"']);
  });

  it('takes an iRule only if braces about it are read as they stand', () => {
    const rule = (body: string) => () => tmshText({ component: 'ltm rule', path: '/a/b', body });
    for (const body of ['when A {\n', '}\n{\n', 'set a "{"\n', 'set a \\\n1\n', 'set a 1']) assert.throws(rule(body), /an iRule stands in braces as it is/, body);
    assert.equal(rule('set a "\\{"\n')(), 'ltm rule /a/b {\nset a "\\{"\n}\n');
  });
});
