/**
 * A host that answers whoever connects: `node echo-host.ts PORT`, by TCP and UDP at all its addresses. It first says `you ADDRESS PORT`, then
 * everything that it is told. What comes by UDP it prints, and answers unless it begins with "silent".
 */
import { createSocket } from 'node:dgram';
import { createServer } from 'node:net';

const port = Number(process.argv[2]);
const plain = (address = ''): string => address.replace(/^::ffff:/, '');

const server = createServer((socket) => {
  socket.setNoDelay(true).on('error', () => socket.destroy());
  socket.write(`you ${plain(socket.remoteAddress)} ${socket.remotePort}\n`);
  socket.pipe(socket);
});
const datagrams = createSocket('udp6').on('message', (payload, { address, port: from }) => {
  const text = payload.toString();
  console.log(`datagram ${plain(address)} ${text}`);
  if (!text.startsWith('silent')) datagrams.send(`you ${plain(address)} ${from}\n`, from, address);
});
await Promise.all([new Promise<void>((resolve) => server.listen(port, '::', resolve)), new Promise<void>((resolve) => datagrams.bind(port, '::', resolve))]);
console.log('ready');
