import assert from 'node:assert/strict';
import { parseCollectorUrl } from '../../src/core/collector-url.ts';

describe('the URL of a collector', () => {
  const taken: readonly [text: string, logs: string][] = [
    ['https://collector.observability:4318', 'https://collector.observability:4318/v1/logs'],
    ['https://collector.observability:4318/', 'https://collector.observability:4318/v1/logs'],
    ['https://ingest.example/otlp', 'https://ingest.example/otlp/v1/logs'],
    ['http://127.0.0.1:4318', 'http://127.0.0.1:4318/v1/logs'],
    ['http://[::1]:4318', 'http://[::1]:4318/v1/logs'],
    ['http://localhost:4318', 'http://localhost:4318/v1/logs'],
  ];
  for (const [text, logs] of taken) {
    it(`${text} is asked at ${logs}`, () => {
      const parsed = parseCollectorUrl(text);
      assert.equal(parsed.ok && parsed.url.href, logs);
    });
  }

  const refused: readonly [text: string, why: RegExp][] = [
    ['collector:4318', /neither https/],
    ['4318', /not a URL/],
    ['http://collector.observability:4318', /neither https/],
    ['http://10.0.0.1:4318', /neither https/],
    ['http://127.0.0.1.example:4318', /neither https/],
    ['ftp://127.0.0.1', /neither https/],
    ['https://user:secret@collector:4318', /more than/],
    ['https://collector:4318?token=secret', /more than/],
    ['https://collector:4318#part', /more than/],
  ];
  for (const [text, why] of refused) {
    it(`${text} is refused, unquoted`, () => {
      const parsed = parseCollectorUrl(text);
      assert.ok(!parsed.ok);
      assert.match(parsed.reason, why);
      assert.ok(!parsed.reason.includes('secret'));
    });
  }
});
