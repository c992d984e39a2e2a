import { Option, type Command } from 'commander';
import { SallyportError } from '../../core/errors.ts';
import { parseAddress, type IpAddress } from '../../core/ip-address.ts';
import { dnsLabel } from '../../core/objects/common.ts';
import type { PortRange } from '../../core/plan/plan.ts';
import { comment, formatExplained, ftpServerFaults, ftpServerModes, generateFtpServer, type FtpServerMode } from '../../generate/index.ts';
import type { CliContext } from '../context.ts';

interface FtpServerCommandOptions {
  readonly name: string;
  readonly namespace: string;
  readonly passivePorts: string;
  readonly mode: FtpServerMode;
  readonly address?: string;
  readonly cis?: true;
  readonly ipamLabel?: string;
  readonly loadBalancerClass?: string;
  readonly image: string;
  readonly storage: string;
  readonly output: 'yaml' | 'json';
}

export function addGenerate(program: Command, context: CliContext): void {
  const generate = program.command('generate').summary('manifests to start from').description('Writes manifests for what stands beside Sallyport. Needs no control plane, and applies nothing.');
  generate
    .command('ftp-server')
    .summary('an FTP server in the cluster, for partners outside')
    .description('Writes Namespace, PersistentVolumeClaim, Deployment and Service of an FTP server that partners reach in passive mode, each constraint with its reason, and with --cis what a BIG-IP needs to know. What cannot work is refused.')
    .requiredOption('--name <name>', 'name of the server')
    .requiredOption('-n, --namespace <namespace>', 'namespace')
    .requiredOption('--passive-ports <first-last>', 'the ports of the data connections: one for each transfer that may run at a time')
    .addOption(new Option('--mode <mode>', 'how partners reach it').choices(ftpServerModes).default('loadbalancer'))
    .option('--address <address>', 'the IPv4 address that partners connect to; by default the address of the node with --mode nodeport, and with --mode loadbalancer what a ConfigMap says')
    .option('--cis', 'the load balancer is a BIG-IP, driven by F5 Container Ingress Services')
    .option('--ipam-label <label>', "with --cis, instead of --address: the label by which F5's IPAM controller chooses one")
    .option('--load-balancer-class <class>', 'class of the load balancer; default with --cis: f5cis')
    .option('--image <image>', 'a container image of vsftpd, told by FTP_USER, FTP_PASS, PASV_ADDRESS, PASV_MIN_PORT and PASV_MAX_PORT', 'fauria/vsftpd')
    .option('--storage <quantity>', 'size of the volume', '10Gi')
    .addOption(new Option('-o, --output <format>', 'output format').choices(['yaml', 'json']).default('yaml'))
    .addHelpText(
      'after',
      '\nEXAMPLES\n  sallyport generate ftp-server --name partner-drop --namespace ftp --passive-ports 30100-30109\n  sallyport generate ftp-server --name partner-drop -n ftp --passive-ports 30100-30109 --address 203.0.113.40 --cis | kubectl apply -f -\n  sallyport generate ftp-server --name partner-drop -n ftp --passive-ports 30100-30109 --mode nodeport\n\nEXIT CODES\n  0 written   2 it cannot work like that',
    )
    .action((options: FtpServerCommandOptions) => {
      const { name, namespace, mode, cis = false, ipamLabel, loadBalancerClass, image, storage } = options;
      for (const [option, value] of [['--name', name], ['--namespace', namespace]] as const) requireLabel(option, value);
      const address = options.address === undefined ? {} : { address: readAddress(options.address) };
      const wanted = { name, namespace, mode, passivePorts: readRange(options.passivePorts), ...address, cis, ...(ipamLabel === undefined ? {} : { ipamLabel }), ...(loadBalancerClass === undefined ? {} : { loadBalancerClass }), image, storage };
      const faults = ftpServerFaults(wanted);
      if (faults.length > 0) throw new SallyportError('usage', 'such an FTP server cannot work', { faults });
      const { objects, iRule } = generateFtpServer(wanted);
      if (options.output === 'json') {
        context.out(JSON.stringify({ apiVersion: 'v1', kind: 'List', items: objects.map(({ object }) => object) }, null, 2));
        if (iRule !== null) context.say(onTheBigIp(iRule));
      } else {
        context.out(`${iRule === null ? '' : `${comment(onTheBigIp(iRule))}\n`}${formatExplained(objects)}`.trimEnd());
      }
    });
}

const onTheBigIp = ({ name, text }: { readonly name: string; readonly text: string }): string => `On the BIG-IP, once, since no object of the cluster can bring it there:\n  tmsh create ltm rule ${name} { ${text} }`;

function requireLabel(option: string, value: string): void {
  const parsed = dnsLabel.safeParse(value);
  if (!parsed.success) throw new SallyportError('usage', `${JSON.stringify(value)} is no name: it ${parsed.error.issues[0]!.message}`, { place: option, value });
}

function readAddress(text: string): IpAddress {
  const address = parseAddress(text);
  if (address === undefined) throw new SallyportError('usage', `${JSON.stringify(text)} is not an address`, { place: '--address', value: text, hint: 'write it like 203.0.113.40' });
  return address;
}

function readRange(text: string): PortRange {
  const [, first, last] = /^([0-9]{1,5})-([0-9]{1,5})$/.exec(text)?.map(Number) ?? [];
  if (first === undefined || last === undefined || Math.min(first, last) < 1 || Math.max(first, last) > 65_535) throw new SallyportError('usage', `${JSON.stringify(text)} is not a range of ports`, { place: '--passive-ports', value: text, hint: 'write it like 30100-30109' });
  return { first, last };
}
