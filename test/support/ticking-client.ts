/**
 * A client that never rests: `node ticking-client.ts tcp|udp SOURCE ADDRESS PORT [TEXT]`. It sends a line every 20 ms from one socket, and prints
 * what it hears, `ticks N` as echoes come, and `ended CODE` once a connection is over.
 */
import { createSocket } from 'node:dgram';
import { connect } from 'node:net';

const [transport, source, address, portText, text = 'tick'] = process.argv.slice(2) as [string, string, string, string, string?];
const port = Number(portText);
const everyMs = 20;

if (transport === 'udp') {
  const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4').on('message', (payload) => console.log(payload.toString().trim())).on('error', ({ message }) => console.log(`ended ${message}`));
  socket.bind(0, source, () => setInterval(() => socket.send(text, port, address), everyMs));
  console.log('sending');
} else {
  let heard = '';
  const socket = connect({ host: address, port, localAddress: source, noDelay: true }, () => setInterval(() => socket.destroyed || socket.write('.'), everyMs));
  socket.setEncoding('utf8').on('data', (data: string) => {
    const before = heard;
    heard += data;
    const greeting = heard.indexOf('\n');
    if (before === '' && greeting !== -1) console.log(heard.slice(0, greeting));
    console.log(`ticks ${heard.length - greeting - 1}`);
  });
  setInterval(() => undefined, 60_000); // it stays, to be asked what it has heard
  const end = (code: string): void => {
    console.log(`ended ${code}`);
    socket.destroy();
  };
  socket.on('error', (error: NodeJS.ErrnoException) => end(error.code ?? error.message)).on('end', () => end('closed'));
}
