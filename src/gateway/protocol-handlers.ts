import type { ServedProtocol } from '../core/plan/plan.ts';
import { handleConnect } from './connect-handler.ts';
import { handleFtp } from './ftp-handler.ts';
import type { ProtocolHandler } from './protocol.ts';
import { handleReverse } from './reverse-handler.ts';
import { handleStream } from './stream-handler.ts';
import { handleUdp } from './udp-handler.ts';

export const protocolHandlers: Readonly<Record<ServedProtocol, ProtocolHandler>> = { FTP: handleFtp, HTTPConnect: handleConnect, Reverse: handleReverse, TCP: handleStream, UDP: handleUdp };
