/**
 * One FTP session as a reducer: it reads both directions of the control connection, lets commands and replies pass, and lets each
 * party set up data connections in its own mode. Sockets, timers and the data connections live with its caller.
 */
import { handleChannelFailed, handleChannelReady } from './data-setup.ts';
import { readClient } from './client-side.ts';
import { announceTransfer, readServer } from './server-side.ts';
import { handleTransferSettled } from './session-facts.ts';
import { draftOf, end } from './session-draft.ts';
import type { FtpEffect, FtpEvent, FtpSessionState } from './session-state.ts';

/**
 * The next state, and what to do about it, in order. How bytes are split over events changes nothing. After `end` every event is
 * ignored. Memory is bounded by the limits of the state plus one event's bytes, as long as the caller heeds `readsClient` and
 * `readsServer`.
 */
export function stepFtpSession(state: FtpSessionState, event: FtpEvent): { readonly state: FtpSessionState; readonly effects: readonly FtpEffect[] } {
  if (state.ended) return { state, effects: [] };
  const session = draftOf(state);
  switch (event.type) {
    case 'client-bytes':
      session.clientInput += event.text;
      break;
    case 'server-bytes':
      session.serverInput += event.text;
      break;
    case 'channel-ready':
      handleChannelReady(session, event);
      break;
    case 'channel-failed':
      handleChannelFailed(session);
      break;
    case 'client-dialled':
      announceTransfer(session);
      break;
    case 'transfer-settled':
      handleTransferSettled(session, event.id, event.isTooLarge);
      break;
    case 'client-ended':
      session.clientEnding = true;
      break;
    case 'server-ended':
      session.serverEnded = true;
      break;
    case 'stop':
      end(session, event.reason, event.reason);
  }
  readServer(session);
  readClient(session);
  const { effects, ...next } = session;
  return { state: next, effects };
}
