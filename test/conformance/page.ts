/** The table as a page for people: docs/reference/conformance.md. */
import { gatewayClasses, type GatewayClass } from '../../src/core/objects/index.ts';
import { describeCredential, describeDoor, describeOutcome, type Attempt, type Divergence, type World } from './world.ts';
import { worlds } from './worlds/index.ts';

/** What stands for what a run chooses. */
const places = { witnessPort: 9000, proxyPort: 9001, ownPort: 16443 } as const;

export function conformancePage(): string {
  return [
    '# Conformance of gateway classes',
    '',
    'Written by `test/conformance` from the table that it plays; not by hand.',
    '',
    'Whatever class a gateway is of, it enforces the same plan. Each section below is applied to a gateway of every class, and everybody',
    'in its table comes three times, all at the same moment. By every class the decision must be the one that stands here, an external',
    'service must see the address that stands here and hear of nobody else, and the ledger must have the same records: identity,',
    'service, policies, address and port, target, reason, bytes. A class that does otherwise has a note that says in what, and why;',
    'whatever the note does not name is the same.',
    '',
    'Addresses are on loopback. At the external services, port 9000 is one that speaks first, 9001 the same behind a forward proxy.',
    ...worlds.flatMap(section),
    '',
  ].join('\n');
}

function section(world: World): readonly string[] {
  const notes = notesOf(world);
  const row = (attempt: Attempt): string => {
    const { as, to, expect } = attempt;
    const cells = [code(describeCredential(as)), code(describeDoor(to)), describeOutcome(expect), expect.policies.map(code).join(', ')];
    return line([...cells, ...gatewayClasses.map((gatewayClass) => mark(notes, gatewayClass, attempt.but?.[gatewayClass]))]);
  };
  return [
    '',
    `## ${world.name[0]!.toUpperCase()}${world.name.slice(1)}`,
    '',
    world.shows,
    '',
    line(['who', 'asks for', 'outcome', 'by policy', ...gatewayClasses]),
    line(['---', '---', '---', '---', ...gatewayClasses.map(() => '---')]),
    ...world.attempts.map(row),
    ...(notes.length === 0 ? [] : ['', ...notes.map((note, index) => `${index + 1}. ${note}`)]),
    '',
    ...(world.example === undefined ? ['```yaml', world.manifests(places).trim(), '```'] : [`Manifests: [${world.example}](../../manifests/examples/${world.example}).`]),
  ];
}

const line = (cells: readonly string[]): string => `| ${cells.join(' | ')} |`;
const code = (text: string): string => `\`${text}\``;

/** Each once, in the order of the rows. */
function notesOf({ attempts }: World): readonly string[] {
  const notes = attempts.flatMap(({ but = {} }) => gatewayClasses.flatMap((gatewayClass) => (but[gatewayClass] === undefined ? [] : [noteOf(gatewayClass, but[gatewayClass])])));
  return [...new Set(notes)];
}

function noteOf(gatewayClass: GatewayClass, { because, expect, servedBy, words }: Divergence): string {
  const what = [
    ...(expect === undefined ? [] : [describeOutcome(expect)]),
    ...(servedBy === undefined ? [] : ['recorded by the gateway beside it']),
    ...(words === undefined ? [] : ['other words in the detail of the refusal']),
  ];
  return `Class ${gatewayClass}: ${what.join(', ')}. ${because[0]!.toUpperCase()}${because.slice(1)}.`;
}

const mark = (notes: readonly string[], gatewayClass: GatewayClass, divergence: Divergence | undefined): string => (divergence === undefined ? 'yes' : `note ${notes.indexOf(noteOf(gatewayClass, divergence)) + 1}`);
