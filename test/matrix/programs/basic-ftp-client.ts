/**
 * Node's basic-ftp does the operations of the matrix, or carries the big file.
 *
 *     basic-ftp-client.ts HOST PORT USER PASSWORD DIRECTORY CA-FILE operate REPORT-KEPT NAME...
 *     basic-ftp-client.ts HOST PORT USER PASSWORD DIRECTORY CA-FILE carry
 *
 * CA-FILE is empty where the client is to speak no TLS.
 */
import { readFileSync, statSync } from 'node:fs';
import { Client } from 'basic-ftp';

const [host, port, user, password, directory, caFile, command, ...rest] = process.argv.slice(2) as [string, string, string, string, string, string, string, ...string[]];
const client = new Client(20_000);
try {
  await client.access({ host, port: Number(port), user, password, ...(caFile === '' ? {} : { secure: true, secureOptions: { ca: readFileSync(caFile), host } }) });
  if (command === 'carry') await carry();
  else await operate(rest[0]!, rest.slice(1));
} finally {
  client.close();
}

async function operate(reportKept: string, names: readonly string[]): Promise<void> {
  for (const { name } of await client.list()) process.stdout.write(`${name}\n`);
  await client.downloadTo('got.bin', 'statement.bin');
  await client.downloadTo('resumed.bin', 'statement.bin', statSync('resumed.bin').size);
  await client.uploadFrom('report.bin', `${directory}/report.bin`);
  await client.appendFrom('report.bin', `${directory}/resumed.bin`, { localStart: Number(reportKept) });
  for (const name of names) await client.downloadTo(`back/${name}`, `many/${name}`);
  for (const name of names) await client.uploadFrom(`many/${name}`, `${directory}/many/${name}`);
}

async function carry(): Promise<void> {
  await client.downloadTo('big.bin', 'big.bin');
  await client.uploadFrom('big.bin', `${directory}/big.bin`);
}
