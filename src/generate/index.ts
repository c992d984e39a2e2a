/**
 * What a user is given to apply elsewhere, made from options alone: objects of Kubernetes, and what belongs beside them.
 *
 * Lives here: `ftp-server.ts` (an FTP server in the cluster, for partners outside), `explained-yaml.ts` (YAML that says why).
 *
 * Invariants: pure; what cannot work is refused, all of it at once, before anything is made; each constraint says why it is one.
 */
export { comment, formatExplained, type ExplainedObject, type Reason } from './explained-yaml.ts';
export { ftpServerFaults, ftpServerModes, generateFtpServer, type FtpServer, type FtpServerMode, type FtpServerOptions } from './ftp-server.ts';
