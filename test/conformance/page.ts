/** The table as a page for people: docs/reference/conformance.md. */
import { stringify } from 'yaml';
import { playedClasses, type PlayedClass } from './classes.ts';
import { divergenceOf, endFor, isPlayed, otherEndOf, outcomeFor } from './divergence.ts';
import { describeCredential, describeDoor, describeEnd, describeOutcome } from './words.ts';
import { placedIn, type Attempt, type Life, type Places, type World } from './world.ts';
import { changes } from './worlds/changes.ts';
import { worlds } from './worlds/index.ts';

/** What stands for what a run chooses. */
const places: Places = { witnessPort: 9000, proxyPort: 9001, ownPort: 16443, reversePort: 9443, caCertificates: '-----BEGIN CERTIFICATE-----\n...\n-----END CERTIFICATE-----\n' };

export function conformancePage(): string {
  return [
    '# Conformance of gateway classes',
    '',
    'Written by `test/conformance` from the table that it plays; not by hand.',
    '',
    'Whatever class a gateway is of, it enforces the same plan. Each section below is applied to a gateway of every class, and everybody',
    'in its table comes three times, all at the same moment. By every class the decision must be the one that stands here, an external',
    'service must see the address that stands here and hear of nobody else, and the ledger must have the same records: identity,',
    'service, policies, address and port, target, reason, bytes; of FTP also those of the data connection and of the transfer. Where a',
    'class does otherwise a note says in what, and why; whatever the note does not name is the same.',
    '',
    'No BIG-IP can be had for a test: class `bigip` is a double that the control plane drives over AS3, whose iRule is run by `tclsh` with the commands that F5',
    'documents. `test/support/bigip/data-plane.ts` says what of a box it does not model; of what is compared here that is the bytes, in which a box counts the headers of packets too.',
    '',
    'Class `kernel` is the program on a Linux router, between network namespaces whose addresses are others than those that stand here. It sees neither certificates nor TLS, names nor',
    'listeners: a workload comes from an address that a WorkloadEntry says is its own, and connects to the address of the service, at which each port has a number of its own; whoever asks for a',
    'name that leads nowhere goes to an address and port that are no service\'s. A row of something that does not exist there is marked `-`. What has its like among addresses is played as that:',
    'certificates that are good no longer as an address that has been withdrawn, none at all or one of another trust domain as an address of which nobody has said whose it is. An address that',
    'two claim is refused when it is applied ([0840](../decisions/0840-who-is-behind-an-address.md)). Of its records those of',
    'connections that were let out or refused are compared; that one has ended the kernel tells when it forgets it, minutes later.',
    '',
    'Addresses are on loopback. At the external services, port 9000 is one that speaks first, by UDP one that answers, 9001 the same behind a forward proxy.',
    'A manifest that awaits connections from a service does so at port 9443.',
    ...worlds.flatMap(section),
    '',
    '## Connections that live when the plan changes',
    '',
    'Once a change is enforced, what it does not allow any more has ended, with this reason in the ledger; what is said to go on goes on until',
    'its workload ends it. Where a class does otherwise, the reason follows.',
    '',
    ...table(['change', 'who', 'through', ...playedClasses], changes.flatMap(({ name, lives }) => lives.map((life) => [name, code(describeCredential(life.as)), code(describeDoor(life.to)), ...playedClasses.map((gatewayClass) => endOf(life, gatewayClass))]))),
    '',
  ].join('\n');
}

function endOf(life: Life, gatewayClass: PlayedClass): string {
  const because = otherEndOf(life, gatewayClass)?.because;
  return `${describeEnd(endFor(life, gatewayClass))}${because === undefined ? '' : `: ${because}`}`;
}

function section({ attempts, ...world }: World): readonly string[] {
  const rows = attempts.map((attempt) => placedIn(attempt, places));
  const notes = [...new Set(rows.flatMap((attempt) => playedClasses.flatMap((gatewayClass) => noteOf(attempt, gatewayClass) ?? [])))];
  const mark = (attempt: Attempt, gatewayClass: PlayedClass): string => {
    const note = noteOf(attempt, gatewayClass);
    const verdict = !isPlayed(attempt, gatewayClass) ? '-' : describeOutcome(outcomeFor(attempt, gatewayClass)) === describeOutcome(attempt.expect) ? 'yes' : 'no';
    return note === undefined ? verdict : `${verdict} (${notes.indexOf(note) + 1})`;
  };
  const row = (attempt: Attempt): readonly string[] => {
    const { as, to, expect } = attempt;
    return [code(describeCredential(as)), code(describeDoor(to)), describeOutcome(expect), expect.policies.map(code).join(', '), ...playedClasses.map((gatewayClass) => mark(attempt, gatewayClass))];
  };
  return [
    '',
    `## ${world.name[0]!.toUpperCase()}${world.name.slice(1)}`,
    '',
    world.shows,
    ...(world.inTurn === true ? ['', 'Here one comes after the other, and stays.'] : []),
    ...(world.gateway === undefined ? [] : ['', `Its EgressGateway says \`${stringify(world.gateway, { collectionStyle: 'flow' }).trim()}\`.`]),
    '',
    ...table(['who', 'asks for', 'outcome', 'by policy', ...playedClasses], rows.map(row)),
    ...(notes.length === 0 ? [] : ['', ...notes.map((note, index) => `${index + 1}. ${note}`)]),
    '',
    ...(world.example === undefined ? ['```yaml', world.manifests(places).trim(), '```'] : [`Manifests: [${world.example}](../../manifests/examples/${world.example}).`]),
  ];
}

const table = (head: readonly string[], rows: readonly (readonly string[])[]): readonly string[] => [head, head.map(() => '---'), ...rows].map((cells) => `| ${cells.join(' | ')} |`);
const code = (text: string): string => `\`${text}\``;

/** In what a class does otherwise, and why. */
function noteOf(attempt: Attempt, gatewayClass: PlayedClass): string | undefined {
  const divergence = divergenceOf(attempt, gatewayClass);
  if (divergence === undefined) return undefined;
  const { expect } = attempt;
  const { because, servedBy, words, absent, unrecorded } = divergence;
  const outcome = divergence.expect ?? expect;
  const what = [
    ...(absent === undefined ? [] : ['there is no such thing']),
    ...(describeOutcome(outcome) === describeOutcome(expect) ? [] : [describeOutcome(outcome)]),
    ...(outcome.service === expect.service ? [] : [`recorded with ${outcome.service === null ? 'no service' : `service ${outcome.service}`}`]),
    ...(servedBy === undefined ? [] : ['recorded by the gateway beside it, for which the client is the gateway before']),
    ...(words === undefined ? [] : ['recorded in other words']),
    ...(unrecorded === undefined ? [] : ['recorded as let out']),
  ];
  return `Class ${gatewayClass}: ${what.join(', ')}. ${because[0]!.toUpperCase()}${because.slice(1)}.`;
}
