/**
 * An FTP client that takes its time: `node late-data-client.ts SOURCE ADDRESS PORT FILE GO`. It asks where FILE may be had and says `told`;
 * once there is a file GO it opens the data connection, and says `received BYTES`.
 */
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import { waitFor } from '../../src/demo/processes.ts';
import { converse, readToEnd } from './ftp-dialogue.ts';

const [localAddress, host, port, file, go] = process.argv.slice(2) as [string, string, string, string, string];
const control = converse(connect({ host, port: Number(port), localAddress }));
await control.reply();
await control.command('USER anonymous');
const dataPort = await control.passive();
console.log('told');
await waitFor(go, 60_000, () => existsSync(go) || undefined);
const data = connect({ host, port: dataPort, localAddress });
const received = readToEnd(data);
await control.command(`RETR ${file}`);
console.log(`received ${(await received).length}`);
control.socket.destroy();
