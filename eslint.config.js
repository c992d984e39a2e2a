import { defineConfig } from 'eslint/config';
import tseslint from 'typescript-eslint';

export default defineConfig(
  { ignores: ['dist/', 'node_modules/', 'src/proto/', '.dependency-cruiser.cjs'] },
  ...tseslint.configs.strictTypeChecked,
  {
    languageOptions: { parserOptions: { projectService: { allowDefaultProject: ['eslint.config.js', 'bin/*.js'] }, tsconfigRootDir: import.meta.dirname } },
    rules: {
      '@typescript-eslint/consistent-type-imports': 'error',
      '@typescript-eslint/no-non-null-assertion': 'off', // indexed access is checked by noUncheckedIndexedAccess; "!" marks what the line before has proved
      '@typescript-eslint/restrict-template-expressions': ['error', { allowNumber: true, allowBoolean: true }],
      '@typescript-eslint/no-confusing-void-expression': ['error', { ignoreArrowShorthand: true }],
      '@typescript-eslint/no-unused-vars': ['error', { ignoreRestSiblings: true }], // leaving a field out is what the rest is for
      'no-empty': ['error', { allowEmptyCatch: false }],
      'no-restricted-syntax': ['error', { selector: 'ExportDefaultDeclaration', message: 'named exports only: a name is found by search' }],
      'no-console': 'error',
    },
  },
  { files: ['src/kubernetes/**', 'test/kubernetes/**'], rules: { '@typescript-eslint/no-unsafe-class-instance-assignment': 'off' } }, // the client of Kubernetes is made to be given literals
  { files: ['eslint.config.js'], rules: { 'no-restricted-syntax': 'off' } },
  {
    files: ['src/core/**'],
    rules: {
      'no-restricted-globals': ['error', { name: 'setTimeout', message: 'core reads no clock' }, { name: 'setInterval', message: 'core reads no clock' }, { name: 'process', message: 'core is pure' }],
      'no-restricted-properties': ['error', { object: 'Date', property: 'now', message: 'time is passed in' }, { object: 'Math', property: 'random', message: 'randomness is passed in' }],
    },
  },
  {
    files: ['test/**', 'bench/**'],
    rules: {
      '@typescript-eslint/no-unused-expressions': 'off',
      '@typescript-eslint/no-floating-promises': 'error',
      'no-console': 'off',
    },
  },
);
