/** Drives the reducer of an FTP session as its shell would, and keeps what it did. */
import assert from 'node:assert/strict';
import { beginFtpSession, createFtpRules, stepFtpSession } from '../../../src/core/ftp/index.ts';
import type { DataEnd, FtpConstraints, FtpEvent, FtpNotice, FtpSessionState, FtpTransferStart } from '../../../src/core/ftp/index.ts';
import type { IpAddress } from '../../../src/core/ip-address.ts';

export const serverAddress = '192.0.2.7' as IpAddress;
export const clientPort = 50_001;
export const serverPort = 60_001;

const unlimited: FtpConstraints = { readOnly: false, noDelete: false, paths: null, users: null, maxTransferBytes: null, maxBytesPerSecond: null, unknownCommands: 'Refuse' };

export interface SessionOptions {
  readonly clientFacingAddress?: string;
  readonly serverAddress?: string;
  /** The client's own, where it may be active. */
  readonly clientAddress?: string;
  /** Ours, where the server is active. */
  readonly serverFacingAddress?: string;
  readonly tlsPassedThrough?: boolean;
  readonly keeper?: 'client' | 'server';
  readonly rules?: readonly Partial<FtpConstraints>[];
  /** An active client is connected to at once; or when the test says so. */
  readonly dials?: 'done' | 'held';
  /** What becomes of a channel that is asked for; by default it is ready at once. */
  readonly channels?: 'ready' | 'failed' | 'held';
}

export function begin(options: SessionOptions = {}) {
  let state: FtpSessionState = beginFtpSession({
    clientFacingAddress: (options.clientFacingAddress ?? '10.0.0.5') as IpAddress,
    clientAddress: (options.clientAddress ?? null) as IpAddress | null,
    serverAddress: (options.serverAddress ?? serverAddress) as IpAddress,
    serverFacingAddress: (options.serverFacingAddress ?? null) as IpAddress | null,
    tlsPassedThrough: options.tlsPassedThrough ?? false,
    keeper: options.keeper ?? null,
  }, options.rules === undefined ? null : createFtpRules(options.rules.map((each) => ({ ...unlimited, ...each }))));
  const seen = { client: '', server: '', channels: [] as ChannelSeen[], ends: [] as { readonly client: DataEnd; readonly server: DataEnd }[], done: [] as string[], transfers: [] as FtpTransferStart[], transfersEnded: [] as (readonly [id: number, code: number | null])[], notices: [] as FtpNotice[], serverEnded: false, end: undefined as string | undefined };
  const feed = (event: FtpEvent): void => {
    const step = stepFtpSession(state, event);
    state = step.state;
    for (const effect of step.effects) {
      assert.equal(seen.end, undefined, 'nothing follows the end');
      if (effect.type === 'send-client') seen.client += effect.text;
      else if (effect.type === 'send-server') seen.server += effect.text;
      else if (effect.type === 'notice') seen.notices.push(effect.notice);
      else if (effect.type === 'transfer-begun') seen.transfers.push(effect.transfer);
      else if (effect.type === 'transfer-ended') seen.transfersEnded.push([effect.id, effect.code]);
      else if (effect.type === 'end-server') seen.serverEnded = true;
      else if (effect.type === 'end') seen.end = effect.reason;
      else if (effect.type === 'open-channel') {
        seen.channels.push({ client: portOf(effect.client), server: portOf(effect.server) });
        seen.ends.push({ client: effect.client, server: effect.server });
      }
      else seen.done.push(effect.type);
    }
    if (options.dials !== 'held' && step.effects.some(({ type }) => type === 'dial-client')) feed({ type: 'client-dialled' });
    const last = step.effects.at(-1);
    if (last?.type !== 'open-channel' || options.channels === 'held') return;
    if (options.channels === 'failed') feed({ type: 'channel-failed' });
    else feed(ready(last));
  };
  return {
    seen,
    feed,
    state: () => state,
    client: (text: string) => feed({ type: 'client-bytes', text }),
    server: (text: string) => feed({ type: 'server-bytes', text }),
    /** What the client has received since the last call. */
    received: () => {
      const text = seen.client;
      seen.client = '';
      return text;
    },
    /** What the server has received since the last call. */
    asked: () => {
      const text = seen.server;
      seen.server = '';
      return text;
    },
  };
}

/** Ports that are dialled; an end that is awaited has none. */
export interface ChannelSeen {
  readonly client: number | 'awaited';
  readonly server: number | 'awaited';
}

const portOf = (end: DataEnd): number | 'awaited' => (end.how === 'dialled' ? end.port : end.how);

function ready({ client, server }: { readonly client: DataEnd; readonly server: DataEnd }): FtpEvent {
  return { type: 'channel-ready', clientPort: client.how === 'awaited' ? clientPort : null, serverPort: server.how === 'awaited' ? serverPort : null };
}

export const toServer = (...ports: number[]): ChannelSeen[] => ports.map((port) => ({ client: 'awaited', server: port }));

/** A session whose client has had the greeting. */
export function greeted(options: SessionOptions = {}) {
  const session = begin(options);
  session.server('220 ready\r\n');
  session.received();
  return session;
}
