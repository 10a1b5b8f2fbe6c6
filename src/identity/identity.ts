export * from '../net/identity-source.ts';
