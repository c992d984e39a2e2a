/** PEM (RFC 7468): labelled base64 between BEGIN and END lines. Text outside the blocks is ignored, as every tool does. */

export interface PemBlock {
  /** For example `CERTIFICATE`. */
  readonly label: string;
  /** From BEGIN to END, as it stood: what an encrypted key must be given to OpenSSL as. */
  readonly text: string;
}

/** The blocks of a text, in order. */
export function pemBlocks(text: string): readonly PemBlock[] {
  return Array.from(text.matchAll(/-----BEGIN ([A-Z0-9 ]{1,64})-----[^-]*(?:-(?!----END )[^-]*)*-----END \1-----/g), ([block, label]) => ({ label: label!, text: block }));
}

/** The bytes of a block without headers, or undefined when it does not hold base64. */
export function pemBytes(block: PemBlock): Buffer | undefined {
  const base64 = block.text.replaceAll(/-----[^-]+-----|\s/g, '');
  return base64 !== '' && base64.length % 4 === 0 && /^[A-Za-z0-9+/]+={0,2}$/.test(base64) ? Buffer.from(base64, 'base64') : undefined;
}

/** The DER of every CERTIFICATE block, in order. Blocks that hold no base64 are left out. */
export const certificatesOfPem = (text: string): readonly Buffer[] =>
  pemBlocks(text).flatMap((block) => (block.label === 'CERTIFICATE' ? (pemBytes(block) ?? []) : []));

export const toPem = (label: string, der: Uint8Array): string =>
  `-----BEGIN ${label}-----\n${Buffer.from(der).toString('base64').replaceAll(/.{1,64}/g, '$&\n')}-----END ${label}-----\n`;

/** CERTIFICATE blocks, in the order given. */
export const certificatesToPem = (chainDer: readonly Uint8Array[]): string => chainDer.map((der) => toPem('CERTIFICATE', der)).join('');
