import { describe } from 'bun:test';
import { MemoryStore } from './memory-store.ts';
import { storeContract } from './store.contract.ts';

describe('MemoryStore', () => storeContract((options) => new MemoryStore(options)));
