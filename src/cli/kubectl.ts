/** The way to a pod's admin API: `kubectl exec`, so that who may is for Kubernetes to say (`pods/exec`), and is in its audit log. */
import { spawn } from 'node:child_process';
import { Duplex } from 'node:stream';
import { SallyportError } from '../core/errors.ts';
import type { ClusterOptions } from './cluster-options.ts';

export interface PodAddress extends ClusterOptions {
  readonly namespace: string;
  readonly pod: string;
}

/** Of the pod. */
const container = 'control';

/** A stream to the admin API's socket in the pod, for one request; destroyed with what kubectl says where it cannot be. */
export function openInPod({ kubeconfig, context, namespace, pod }: PodAddress): Duplex {
  const cluster = [...(kubeconfig === undefined ? [] : [`--kubeconfig=${kubeconfig}`]), ...(context === undefined ? [] : [`--context=${context}`])];
  const child = spawn('kubectl', [...cluster, 'exec', '--stdin', '--quiet', `--namespace=${namespace}`, pod, `--container=${container}`, '--', 'sallyport', 'dial-stdio'], { stdio: ['pipe', 'pipe', 'pipe'] });
  const { stdin, stdout, stderr } = child;
  const said: Buffer[] = [];
  const stream = new Duplex({
    read: () => void stdout.resume(),
    write: (chunk: Buffer, _encoding, done) => void stdin.write(chunk, done),
    final: (done) => void stdin.end(done),
    destroy: (error, done) => {
      child.kill();
      done(error);
    },
  });
  stdin.on('error', () => undefined); // what became of it is said when it ends
  stdout.on('data', (chunk: Buffer) => {
    if (!stream.push(chunk)) stdout.pause();
  });
  stderr.on('data', (chunk: Buffer) => void said.push(chunk));
  child.once('error', (cause) => stream.destroy(new SallyportError('unavailable', 'kubectl cannot be started, by which the control plane in the cluster is asked', { cause, hint: 'install kubectl, or put it on the PATH' })));
  child.once('close', (status) => {
    if (status === 0) stream.push(null);
    else stream.destroy(failureOf(pod, Buffer.concat(said).toString('utf8')));
  });
  return stream;
}

function failureOf(pod: string, said: string): SallyportError {
  const lines = said.split('\n').filter((line) => line !== '' && !/^command terminated with exit code/.test(line));
  const isForbidden = lines.some((line) => line.includes('(Forbidden)') || line.includes('(Unauthorized)'));
  return new SallyportError(isForbidden ? 'cluster-forbidden' : 'unavailable', `the control plane in pod ${JSON.stringify(pod)} cannot be asked${lines.length === 0 ? '' : `: ${lines.join('; ').replace(/^error: /i, '')}`}`, {
    hint: isForbidden ? 'whoever asks the control plane needs the right to create pods/exec in its namespace' : 'see how it is: kubectl get pods -A -l sallyport.dev/component=control-plane',
  });
}
