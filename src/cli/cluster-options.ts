/** Options of whoever asks an API server of Kubernetes itself. */
import { Option, type Command } from 'commander';

export interface ClusterOptions {
  readonly kubeconfig?: string;
  readonly context?: string;
}

/** @param heading of the help, where they are not to stand among the command's own */
export function addClusterOptions(command: Command, heading?: string): Command {
  const options = [
    new Option('--kubeconfig <file>', "which cluster, and as whom (default: $KUBECONFIG, ~/.kube/config, or the pod's own)"),
    new Option('--context <name>', 'of the kubeconfig (default: its current one)'),
  ];
  for (const option of options) command.addOption(heading === undefined ? option : option.helpGroup(heading));
  return command;
}

export function clusterChoiceOf({ kubeconfig, context }: ClusterOptions): { readonly file?: string; readonly context?: string } {
  return { ...(kubeconfig === undefined ? {} : { file: kubeconfig }), ...(context === undefined ? {} : { context }) };
}
