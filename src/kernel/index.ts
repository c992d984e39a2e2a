/**
 * A gateway of class `kernel` on the Linux router that it is: what `src/backends/kernel` renders is put in force here, by the host's own
 * programs and as root. Nothing of the host is touched but our table, our addresses, and connections of our marks; and connections are told to be
 * counted.
 *
 * Lives here:
 * - what is in force: `driver.ts` with `addresses.ts`, `connections.ts`, `requirements.ts`; `enforcement.ts` (one thing at a time);
 * - what is recorded: `kernel-ledger.ts` with `connection-watch.ts` and `connection-book.ts` (which are open), `connection-store.ts`, `denial-reader.ts`;
 * - the process: `kernel-gateway.ts`, `kernel-table.ts`, `gateway-state.ts`, `metrics.ts`; programs of the host by `run-program.ts` and `lines.ts`.
 *
 * Source: docs/decisions/0831, 0841.
 */
export { createKernelDriver, type GrantCounter, type KernelDriver, type KernelDriverOptions } from './driver.ts';
export { runKernelGateway, type KernelGateway, type KernelGatewayOptions, type KernelGatewayStatus } from './kernel-gateway.ts';
export { runProgram, type ProgramResult, type RunProgram } from './run-program.ts';
