/** Listens on a port of 127.0.0.1 in the network that this process is in, and hands the listener to its parent, which is in another. */
import { createServer } from 'node:net';

const listener = createServer().listen(Number(process.argv[2]), '127.0.0.1', () => process.send!({}, listener, {}, () => listener.close()));
process.once('disconnect', () => process.exit()); // it does not outlive its parent
