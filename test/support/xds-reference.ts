/** docs/reference/xds.md: what `sallyport/xds` exports, in the words of its declarations. */
import { readFileSync } from 'node:fs';
import ts from 'typescript';

const room = new URL('../../src/xds/', import.meta.url);

interface Exported {
  readonly name: string;
  readonly statement: ts.Statement;
  readonly source: ts.SourceFile;
}

/** The page, whole. */
export function xdsPage(): string {
  const exported = exportsOf('index.ts');
  const values = exported.filter(({ statement }) => !isType(statement));
  const types = exported.filter(({ statement }) => isType(statement));
  return [
    '# The xDS library',
    '',
    'What `sallyport/xds` exports, in alphabetical order: functions and tables, then types. The [guide](../guides/xds-server.md)',
    'puts them to use; where the protocol leaves a choice, [decision 0300](../decisions/0300-xds-protocol.md) says what was chosen.',
    '',
    'This page is written from the declarations; `UPDATE_GOLDEN=1 npx mocha test/xds/reference.test.ts` writes it again.',
    ...values.flatMap(section),
    ...types.flatMap(section),
    '',
  ].join('\n');
}

function parse(file: string): ts.SourceFile {
  return ts.createSourceFile(file, readFileSync(new URL(file, room), 'utf8'), ts.ScriptTarget.Latest, true);
}

/** Every name that the door names, with where it is declared. */
function exportsOf(door: string): readonly Exported[] {
  return parse(door)
    .statements.filter(ts.isExportDeclaration)
    .flatMap(({ exportClause, moduleSpecifier }) => {
      if (exportClause === undefined || !ts.isNamedExports(exportClause) || moduleSpecifier === undefined || !ts.isStringLiteral(moduleSpecifier)) throw new Error(`${door} exports otherwise than by name`);
      const source = parse(moduleSpecifier.text);
      return exportClause.elements.map(({ name: { text: name } }) => {
        const statement = source.statements.find((candidate) => declaredName(candidate) === name);
        if (statement === undefined) throw new Error(`${name} is not declared in ${moduleSpecifier.text}`);
        return { name, statement, source };
      });
    })
    .sort((one, other) => (one.name < other.name ? -1 : 1));
}

function declaredName(statement: ts.Statement): string | undefined {
  if (ts.isVariableStatement(statement)) return statement.declarationList.declarations[0]?.name.getText();
  if (ts.isFunctionDeclaration(statement) || ts.isInterfaceDeclaration(statement) || ts.isTypeAliasDeclaration(statement)) return statement.name?.text;
  return undefined;
}

function isType(statement: ts.Statement): boolean {
  return ts.isInterfaceDeclaration(statement) || ts.isTypeAliasDeclaration(statement);
}

function section({ name, statement, source }: Exported): readonly string[] {
  const { text, example } = documentationOf(statement, source);
  return ['', `## ${name}`, ...(text === '' ? [] : ['', text]), ...(example === '' ? [] : ['', '```ts', example, '```']), '', '```ts', declarationOf(statement), '```'];
}

/** A comment's text, and apart from it the lines that are indented as an example. */
function documentationOf(statement: ts.Statement, source: ts.SourceFile): { readonly text: string; readonly example: string } {
  const comment = (ts.getLeadingCommentRanges(source.text, statement.pos) ?? []).map(({ pos, end }) => source.text.slice(pos, end)).findLast((part) => part.startsWith('/**'));
  const lines = (comment ?? '').replace(/^\/\*\*/, '').replace(/\*\/$/, '').split('\n').map((line) => line.replace(/^\s*\* ?/, '').trimEnd());
  const isExample = (line: string): boolean => line.startsWith('    ');
  const clean = (part: readonly string[]): string => part.join('\n').trim();
  return { text: clean(lines.filter((line) => !isExample(line)).map((line) => line.trimStart())), example: clean(lines.filter(isExample).map((line) => line.slice(4))) };
}

/** A declaration as it is written, without what a function does. */
function declarationOf(statement: ts.Statement): string {
  const text = statement.getText();
  // Of a table of functions, what they are is more than how they do it.
  if (ts.isVariableStatement(statement) && text.includes('function')) return `${text.slice(0, text.indexOf(' ='))};`;
  if (!ts.isFunctionDeclaration(statement) || statement.body === undefined) return text;
  return text.slice(0, statement.body.getStart() - statement.getStart()).trimEnd().concat(';');
}
