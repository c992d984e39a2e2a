/**
 * A gateway of class `kernel` on the Linux router that it is: what `src/backends/kernel` renders is put in force here, by the host's own
 * programs and as root. Nothing of the host is touched but our table, our addresses, and connections of our marks.
 *
 * Source: docs/decisions/0831.
 */
export { createKernelDriver, type GrantCounter, type KernelDriver, type KernelDriverOptions } from './driver.ts';
export { runKernelGateway, type KernelGateway, type KernelGatewayOptions, type KernelGatewayStatus } from './kernel-gateway.ts';
export { runProgram, type ProgramResult, type RunProgram } from './run-program.ts';
