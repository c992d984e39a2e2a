/** What every client does at every server. */
export const operations = ['list', 'download', 'resume', 'upload', 'download 30 small files', 'upload 30 small files'] as const;
export type Operation = (typeof operations)[number];

/** The names of the small files. */
export const smallFiles: readonly string[] = Array.from({ length: 30 }, (_, index) => `small-${index}.txt`);
