import assert from 'node:assert/strict';
import { parseAllDocuments } from 'yaml';
import { commandLine } from './support/command-line.ts';

const sallyport = commandLine('/nonexistent/socket');
const server = ['generate', 'ftp-server', '--name', 'partner-drop', '-n', 'ftp', '--passive-ports', '30100-30109'];

describe('sallyport generate ftp-server', () => {
  it('writes what to apply, and above it what a BIG-IP is to be told', async () => {
    const { status, out, err } = await sallyport([...server, '--address', '203.0.113.40', '--cis']);
    assert.deepEqual([status, err], [0, '']);
    assert.match(out, /^# On the BIG-IP.*\n#   tmsh create ltm rule \/Common\/partner_drop_ftp_ports \{ when SERVER_CONNECTED \{ FTP::port 30100 30109 \} \}\n/);
    assert.deepEqual(parseAllDocuments(out).map((document) => (document.toJS() as { readonly kind: string }).kind), ['Namespace', 'PersistentVolumeClaim', 'Deployment', 'Policy', 'Service']);
  });

  it('writes the same as JSON', async () => {
    const options = [...server, '--mode', 'nodeport'];
    const yaml = parseAllDocuments((await sallyport(options)).out).map((document) => document.toJS() as unknown);
    const json = JSON.parse((await sallyport([...options, '-o', 'json'])).out) as { readonly kind: string; readonly items: unknown };
    assert.deepEqual([json.kind, json.items], ['List', yaml]);
  });

  it('refuses what cannot work, all of it at once, and writes nothing', async () => {
    const { status, out, err } = await sallyport(['generate', 'ftp-server', '--name', 'partner-drop', '-n', 'ftp', '--passive-ports', '20000-20009', '--mode', 'clusterip', '--cis']);
    assert.deepEqual([status, out], [2, '']);
    assert.match(err, /^error: such an FTP server cannot work\n.*\[address-missing\]\n {2}hint: .*\n.*\[cis-mode\]\n {2}hint: .*\n$/);
  });

  const misspelt: readonly (readonly [string, readonly string[], RegExp])[] = [
    ['a range', ['--passive-ports', '30100'], /"30100" is not a range of ports \(at --passive-ports\)\nhint: write it like 30100-30109/],
    ['ports that there are not', ['--passive-ports', '30100-70000'], /"30100-70000" is not a range of ports/],
    ['an address', ['--address', 'partner'], /"partner" is not an address \(at --address\)/],
    ['a name', ['--name', 'Partner_Drop'], /"Partner_Drop" is no name: it must be lower-case .* \(at --name\)/],
  ];
  for (const [what, options, error] of misspelt) {
    it(`says where ${what} is misspelt`, async () => {
      const { status, err } = await sallyport([...server, ...options]);
      assert.equal(status, 2);
      assert.match(err, error);
    });
  }
});
