/** Options of whoever asks an API server of Kubernetes itself. */
import type { Command } from 'commander';

export interface ClusterOptions {
  readonly kubeconfig?: string;
  readonly context?: string;
}

export function addClusterOptions(command: Command): Command {
  return command.option('--kubeconfig <file>', "which cluster, and as whom (default: $KUBECONFIG, ~/.kube/config, or the pod's own)").option('--context <name>', 'of the kubeconfig (default: its current one)');
}

export function clusterChoiceOf({ kubeconfig, context }: ClusterOptions): { readonly file?: string; readonly context?: string } {
  return { ...(kubeconfig === undefined ? {} : { file: kubeconfig }), ...(context === undefined ? {} : { context }) };
}
