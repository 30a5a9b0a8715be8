/**
 * How long a test waits for what has to happen, in milliseconds: shorter than a test may take (`vitest.config.ts`), and long enough for a busy
 * machine.
 */
export const PATIENCE_MILLIS = 120_000
