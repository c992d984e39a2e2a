// The directions of docs/architecture.md, as a check. A room may import only what is listed for it.
const rooms = {
  core: [],
  proto: [],
  grpc: [],
  xds: ['proto'],
  api: ['core', 'proto'],
  ca: ['core'],
  store: ['core'],
  backends: ['core', 'proto'],
  generate: ['core'],
  relay: ['core'],
  identity: ['core', 'api', 'proto', 'xds'],
  gateway: ['core', 'api', 'proto', 'xds', 'identity', 'relay', 'store'],
  agent: ['core', 'api', 'proto', 'xds', 'identity', 'relay'],
  kubernetes: ['core'],
  install: ['core', 'generate', 'kubernetes'],
  control: ['core', 'api', 'proto', 'grpc', 'xds', 'backends', 'ca', 'store', 'kubernetes'],
  cli: ['core', 'api', 'backends', 'generate', 'kubernetes', 'install', 'control', 'gateway', 'agent', 'identity', 'ca'],
  demo: ['core', 'api'],
};

module.exports = {
  forbidden: [
    {
      name: 'no-circular',
      severity: 'error',
      comment: 'flows go in one direction; a cycle has none',
      from: { pathNot: '^src/proto/' },
      to: { circular: true },
    },
    ...Object.entries(rooms).map(([room, allowed]) => ({
      name: `directions-of-${room}`,
      severity: 'error',
      comment: `src/${room} may import ${allowed.length === 0 ? 'nothing of ours' : allowed.map((name) => `src/${name}`).join(', ')}`,
      from: { path: `^src/${room}/` },
      to: { path: '^src/', pathNot: [`^src/${room}/`, ...allowed.map((name) => `^src/${name}/`)] },
    })),
    ...['ca', 'store', 'grpc', 'xds', 'generate', 'identity', 'gateway', 'agent', 'kubernetes', 'install', 'control'].map((room) => ({
      name: `door-of-${room}`,
      severity: 'error',
      comment: `other rooms import src/${room}/index.ts only`,
      from: { path: '^src/', pathNot: `^src/${room}/` },
      to: { path: `^src/${room}/`, pathNot: `^src/${room}/index\\.ts$` },
    })),
    {
      name: 'door-of-backends',
      severity: 'error',
      comment: 'other rooms import src/backends/CLASS/index.ts only, and one class knows nothing of another',
      from: { path: '^src/(?!backends/)|^src/backends/([^/]+)/' },
      to: { path: '^src/backends/', pathNot: ['^src/backends/[^/]+/index\\.ts$', '^src/backends/$1/'] },
    },
    {
      name: 'backends-do-no-io',
      severity: 'error',
      comment: 'a renderer is a function of the plan: only hashing of node itself',
      from: { path: '^src/backends/' },
      to: { dependencyTypes: ['core'], pathNot: '^(node:)?crypto$' },
    },
    {
      name: 'core-does-no-io',
      severity: 'error',
      comment: 'the heart is pure: only hashing and codecs of node itself',
      from: { path: '^src/(core|generate)/|^src/install/(?!cluster)' },
      to: { dependencyTypes: ['core'], pathNot: '^(node:)?(crypto|buffer)$' },
    },
  ],
  options: {
    doNotFollow: { path: 'node_modules' },
    tsConfig: { fileName: 'tsconfig.json' },
    tsPreCompilationDeps: true,
    enhancedResolveOptions: { exportsFields: ['exports'], conditionNames: ['import', 'node', 'default'], extensions: ['.ts', '.js'] },
  },
};
