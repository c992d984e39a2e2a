import assert from 'node:assert/strict';
import fc from 'fast-check';
import { createUdpSession, heldBytesMax, quietMs, refusalPauseMs, type UdpEffect, type UdpEvent, type UdpFlow } from '../../../src/core/udp/session.ts';

const hour = 3_600_000;
const minute = 60_000;

/** A session with a clock of its own, whose caller opens every flow at once unless `opens` says otherwise. */
function begin({ flowsMax = 4, opens = () => true as const }: { flowsMax?: number; opens?: (flow: UdpFlow) => true | 'later' | 'scarce' | 'never' } = {}) {
  let nowMs = 0;
  const session = createUdpSession({ flowsMax, flowIdleTimeoutMs: 2 * minute, idleTimeoutMs: hour }, nowMs);
  const log: string[] = [];
  const awaited: UdpFlow[] = [];
  const opened = new Set<UdpFlow>();

  function step(event: UdpEvent): void {
    for (const effect of session.step(event, nowMs)) act(effect);
  }

  function act(effect: UdpEffect): void {
    switch (effect.type) {
      case 'open': {
        const verdict = opens(effect.flow);
        log.push(`open ${effect.flow.contextId}`);
        if (verdict === true) answer(effect.flow);
        else if (verdict === 'later') awaited.push(effect.flow);
        else step({ type: 'open-failed', flow: effect.flow, scarce: verdict === 'scarce', reason: 'snat-ports-exhausted', detail: 'no port' });
        return;
      }
      case 'send':
        log.push(`send ${effect.flow.contextId} ${effect.payload.toString()}`);
        return;
      case 'close':
        opened.delete(effect.flow);
        log.push(`close ${effect.flow.contextId} ${effect.reason}`);
        return;
      case 'refuse':
        log.push(`refuse ${effect.reason}: ${effect.detail}`);
        return;
      case 'end':
        log.push('end');
    }
  }

  function answer(flow: UdpFlow): void {
    opened.add(flow);
    step({ type: 'opened', flow });
  }

  return {
    session,
    awaited,
    opened,
    step,
    answer,
    datagram: (contextId: number, text = 'x') => step({ type: 'datagram', contextId, payload: Buffer.from(text) }),
    reply: (contextId: number) => step({ type: 'reply', flow: [...opened].find((flow) => flow.contextId === contextId)! }),
    after: (ms: number) => {
      nowMs += ms;
    },
    /** Lets `ms` pass, stepping when something is due. */
    wait: (ms: number) => {
      const until = nowMs + ms;
      while (session.dueAtMs() <= until && log.at(-1) !== 'end') {
        nowMs = session.dueAtMs();
        step({ type: 'time' });
      }
      nowMs = until;
    },
    /** What was done since the last call. */
    done: () => log.splice(0),
  };
}

describe('a session of UDP flows', () => {
  it('opens a flow for its first datagram, and sends the others through it', () => {
    const { datagram, done } = begin();
    datagram(0, 'a');
    datagram(2, 'b');
    datagram(0, 'c');
    assert.deepEqual(done(), ['open 0', 'send 0 a', 'open 2', 'send 2 b', 'send 0 c']);
  });

  it('holds what comes while a flow is being opened, in order and up to a bound for the whole session', () => {
    const { datagram, awaited, answer, done } = begin({ opens: () => 'later' });
    datagram(0, 'a');
    datagram(2, 'b'.repeat(heldBytesMax - 2));
    datagram(0, 'c');
    datagram(0, 'd');
    assert.deepEqual(done(), ['open 0', 'open 2']);
    answer(awaited[0]!);
    assert.deepEqual(done(), ['send 0 a', 'send 0 c']);
    assert.equal(awaited[0]!.traffic.datagramsDropped, 1);
    datagram(2, 'e');
    answer(awaited[1]!);
    assert.deepEqual(done().map((line) => line.slice(0, 8)), ['send 2 b', 'send 2 e'], 'what was sent has made room');
  });

  it('drops what names a context that is not the client\'s to choose', () => {
    const { datagram, done, session } = begin();
    datagram(1);
    datagram(33);
    assert.deepEqual(done(), []);
    assert.equal(session.flows.length, 0);
  });

  it('ends a flow that was quiet for the idle timeout, in which direction ever the last datagram went', () => {
    const { datagram, reply, wait, done } = begin();
    datagram(0);
    datagram(2);
    wait(minute);
    reply(0);
    done();
    wait(minute);
    assert.deepEqual(done(), ['close 2 idle-timeout']);
    wait(minute - 1);
    assert.deepEqual(done(), []);
    wait(1);
    assert.deepEqual(done(), ['close 0 idle-timeout']);
    datagram(0, 'again');
    assert.deepEqual(done(), ['open 0', 'send 0 again']);
  });

  it('ends when nothing has used it for its own idle timeout', () => {
    const { datagram, wait, done } = begin();
    wait(hour - 1);
    assert.deepEqual(done(), []);
    datagram(0);
    done();
    wait(hour - 1);
    assert.deepEqual(done(), ['close 0 idle-timeout']);
    wait(1);
    assert.deepEqual(done(), ['end']);
  });

  it('makes room by ending the flow that was used longest ago', () => {
    const { datagram, after, done } = begin({ flowsMax: 2 });
    datagram(0);
    datagram(2);
    datagram(0);
    after(quietMs);
    done();
    datagram(4, 'new');
    assert.deepEqual(done(), ['close 2 udp-flow-displaced', 'open 4', 'send 4 new']);
  });

  it('refuses a new flow while every other was used a moment ago, and says so once a second, with how often', () => {
    const { datagram, after, done, session } = begin({ flowsMax: 2 });
    datagram(0);
    datagram(2);
    after(quietMs - 1);
    done();
    for (const contextId of [4, 6, 8]) datagram(contextId);
    const refusal = 'refuse limit-exceeded: 2 flows are open, which is the limit, and each was used within 1000 ms';
    assert.deepEqual(done(), [refusal]);
    assert.deepEqual(session.flows.map(({ contextId }) => contextId), [0, 2]);
    datagram(0);
    datagram(2);
    after(refusalPauseMs - 1);
    datagram(4);
    assert.deepEqual(done().slice(2), []);
    datagram(0);
    datagram(2);
    after(1);
    done();
    datagram(0);
    datagram(2);
    datagram(4);
    assert.deepEqual(done().slice(2), [`${refusal} (and 3 more since the last record)`]);
  });

  it('makes room for a flow that lacked a port, one quiet flow after the other', () => {
    let scarce = 2;
    const { datagram, after, done } = begin({ opens: ({ contextId }) => (contextId === 6 && scarce-- > 0 ? 'scarce' : true) });
    for (const contextId of [0, 2, 4]) datagram(contextId);
    after(quietMs);
    done();
    datagram(6, 'new');
    assert.deepEqual(done(), ['open 6', 'close 0 udp-flow-displaced', 'open 6', 'close 2 udp-flow-displaced', 'open 6', 'send 6 new']);
  });

  it('refuses a flow that lacks a port while no other is quiet, and tries again a moment later', () => {
    let verdict: true | 'scarce' = 'scarce';
    const { datagram, after, done, session } = begin({ opens: () => verdict });
    datagram(0, 'a');
    datagram(0, 'b');
    assert.deepEqual(done(), ['open 0', 'refuse snat-ports-exhausted: no port']);
    assert.equal(session.flows[0]!.traffic.datagramsDropped, 2);
    after(refusalPauseMs);
    verdict = true;
    datagram(0, 'c');
    assert.deepEqual(done(), ['open 0', 'send 0 c']);
  });

  it('never has a flow make room for itself, however long its opening took', () => {
    const { datagram, awaited, after, step, done, session } = begin({ opens: () => 'later' });
    datagram(0);
    after(2 * quietMs);
    step({ type: 'open-failed', flow: awaited[0]!, scarce: true, reason: 'snat-ports-exhausted', detail: 'no port' });
    assert.deepEqual(done(), ['open 0', 'refuse snat-ports-exhausted: no port']);
    assert.equal(session.flows.length, 1);
  });

  it('closes a flow that was opened when it had made room already', () => {
    const { datagram, awaited, answer, after, done } = begin({ flowsMax: 1, opens: ({ contextId }) => (contextId === 0 ? 'later' : true) });
    datagram(0);
    after(quietMs);
    datagram(2, 'new');
    assert.deepEqual(done(), ['open 0', 'open 2', 'send 2 new']);
    answer(awaited[0]!);
    assert.deepEqual(done(), ['close 0 udp-flow-displaced']);
  });

  it('never has more flows than its limit, opens no more than that a second, and closes each that it opened once, whatever comes', () => {
    const play = fc.array(
      fc.oneof(
        { weight: 6, arbitrary: fc.record({ act: fc.constant('datagram' as const), contextId: fc.nat(20) }) },
        { weight: 2, arbitrary: fc.record({ act: fc.constant('after' as const), ms: fc.oneof(fc.nat(3 * quietMs), fc.nat(3 * minute)) }) },
        { weight: 1, arbitrary: fc.record({ act: fc.constant('reply' as const), contextId: fc.nat(20) }) },
        { weight: 1, arbitrary: fc.record({ act: fc.constant('answer' as const) }) },
      ),
      { maxLength: 120 },
    );
    const verdicts = fc.array(fc.constantFrom(true as const, true as const, 'later' as const, 'scarce' as const, 'never' as const), { maxLength: 60 });
    fc.assert(
      fc.property(play, verdicts, fc.integer({ min: 1, max: 5 }), (acts, given, flowsMax) => {
        const verdictsLeft = [...given];
        const run = begin({ flowsMax, opens: () => verdictsLeft.shift() ?? true });
        let opensThisMoment = 0;
        for (const act of acts) {
          if (act.act === 'datagram') run.datagram(act.contextId);
          else if (act.act === 'after') run.wait(act.ms);
          else if (act.act === 'reply' && [...run.opened].some(({ contextId }) => contextId === act.contextId)) run.reply(act.contextId);
          else if (act.act === 'answer' && run.awaited.length > 0) run.answer(run.awaited.shift()!);
          if (act.act === 'after' && act.ms > 0) opensThisMoment = 0;
          const done = run.done();
          opensThisMoment += new Set(done.filter((line) => line.startsWith('open'))).size;
          assert.ok(run.session.flows.length <= flowsMax);
          assert.ok(run.opened.size <= flowsMax, 'what is open is in the table');
          assert.ok(opensThisMoment <= 2 * flowsMax, 'new ones, and those that make room once for each');
        }
        while (run.awaited.length > 0) run.answer(run.awaited.shift()!);
        run.wait(2 * minute);
        assert.equal(run.opened.size, 0, 'nothing is left behind');
      }),
    );
  });
});
