/** What only the leader does: it writes. Made when a replica is elected, closed when it is deposed. */
import type { Logger } from 'pino';
import type { Fault } from '../../core/errors.ts';
import type { DesiredState } from '../../core/desired-state.ts';
import type { TrustDomain } from '../../core/spiffe-id.ts';
import type { Steps } from '../../core/steps.ts';
import type { ApiClient } from '../client.ts';
import type { Collection, SourceName } from '../desired/collection.ts';
import type { ResolveHost } from '../registration/host-addresses.ts';
import { registrantsOf } from '../registration/registrants.ts';
import { createRegistrar } from '../registration/registrar.ts';
import { createTrustBundlePublisher } from '../trust-bundle/publisher.ts';
import { createCaBundleKeeper } from '../webhook/ca-bundle-keeper.ts';
import { createEvents } from './events.ts';
import { createReporter, type Situation } from './reporter.ts';
import type { Watches } from './watches.ts';

export interface LeaderWork {
  /** What of the objects in force is to be found by workloads. */
  register(desired: DesiredState, collection: Collection): void;
  /** Looks at every object, or at those of these names, and has their statuses written. */
  report(situation: Situation, names?: ReadonlySet<SourceName>): Steps<void>;
  /** Objects whose status waits for a gateway. */
  readonly waiting: ReadonlySet<SourceName>;
  /** Faults that others are the reason of, such as a Service that is somebody else's: by ExternalService. */
  readonly findings: ReadonlyMap<string, Fault>;
  publishTrustBundle(pem: string): void;
  close(): Promise<void>;
}

export interface LeaderWorkOptions {
  readonly client: ApiClient;
  readonly watches: Pick<Watches, 'namespaces' | 'services' | 'slices'>;
  readonly replica: string;
  readonly trustDomain: TrustDomain;
  readonly resolve: ResolveHost;
  readonly onFinding: () => void;
  readonly now: () => number;
  readonly random: () => number;
  readonly log: Logger;
}

export function startLeaderWork({ client, watches: { namespaces, services, slices }, replica, trustDomain, resolve, onFinding, now, random, log }: LeaderWorkOptions): LeaderWork {
  const findings = new Map<string, Fault>();
  const reporter = createReporter({ client, tell: createEvents({ client, instance: replica, now, log }), now, random, log });
  const registrar = createRegistrar({
    client,
    services,
    slices,
    trustDomain,
    resolve,
    random,
    log,
    onFinding: (key, fault) => {
      if (fault === null) findings.delete(key);
      else findings.set(key, fault);
      onFinding();
    },
  });
  const trustBundles = createTrustBundlePublisher({ client, namespaces, random, log });
  const caBundles = createCaBundleKeeper({ client, random, log });

  return {
    register: (desired, collection) => registrar.want(registrantsOf(desired.ExternalService, collection)),
    report: (situation, names) => reporter.report(situation, names),
    waiting: reporter.waiting,
    findings,
    publishTrustBundle(pem) {
      trustBundles.publish(pem);
      caBundles.publish(pem);
    },
    async close() {
      await Promise.all([reporter.close(), registrar.close(), trustBundles.close(), caBundles.close()]);
    },
  };
}
