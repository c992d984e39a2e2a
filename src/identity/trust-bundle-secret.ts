import { decodeTrustBundle } from '../api/table-codec.ts';
import { trustBundleName, typeUrls } from '../api/type-urls.ts';
import type { DeltaSubscription } from '../xds/index.ts';

/** New trust anchors, by SDS. */
export const trustBundleSubscription = { typeUrl: typeUrls.secret, names: [trustBundleName] } as const satisfies DeltaSubscription;

/** The PEM text in such a resource, for `Identity.setTrustBundle`. Throws SallyportError `request-invalid`. */
export const readTrustBundleSecret = decodeTrustBundle;
