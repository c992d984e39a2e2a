#!/usr/bin/env node
// `kubectl sallyport`: the same command, which asks the cluster that kubectl asks. https://kubernetes.io/docs/tasks/extend-kubectl/kubectl-plugins/
process.env.SALLYPORT_KUBERNETES = 'true';
await import('./sallyport.js');
