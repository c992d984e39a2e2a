/** An agent in a process of its own, to be killed: options come as JSON in the environment, "listening" goes to stdout. */
import { pino } from 'pino';
import { runAgent, type AgentOptions } from '../../../src/agent/index.ts';
import { tokenFile } from '../../../src/identity/index.ts';

const { joinToken, trustBundlePem, ...options } = JSON.parse(process.env['AGENT_OPTIONS'] ?? '{}') as Omit<AgentOptions, 'joinToken' | 'trustBundle'> & { joinToken: string; trustBundlePem: string };
const agent = await runAgent({ ...options, trustBundle: () => trustBundlePem, joinToken: tokenFile(joinToken), now: Date.now, random: Math.random, log: pino({ level: 'silent' }) });
const timer = setInterval(() => {
  if (!agent.status().upstreams.some(({ listener }) => listener.listening)) return;
  clearInterval(timer);
  process.stdout.write('listening\n');
}, 10);
