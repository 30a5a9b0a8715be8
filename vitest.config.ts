import { availableParallelism } from "node:os"
import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

const pathOf = (file: string): string => fileURLToPath(new URL(file, import.meta.url))

/**
 * Ends a test that hangs, in milliseconds. How long a test takes decides nothing else: it waits for conditions, at most `PATIENCE_MILLIS` for
 * each (`test/support/patience.ts`).
 */
const HANG_MILLIS = 300_000

/** Tests of whole programs, with browsers and real disks: they come after the others, whose load they would feel. */
const ofPrograms = ["test/{cli,deploy,e2e,embed}/**/*.test.ts", "test/docs.test.ts", "examples/**/*.test.ts"]

export default defineConfig({
  test: {
    testTimeout: HANG_MILLIS,
    hookTimeout: HANG_MILLIS,
    projects: [
      {
        extends: true,
        test: {
          name: "parts",
          include: ["test/**/*.test.ts"],
          exclude: ofPrograms,
          maxWorkers: Math.max(2, availableParallelism() - 1),
          sequence: { groupOrder: 0 }
        }
      },
      {
        extends: true,
        test: {
          name: "programs",
          include: ofPrograms,
          globalSetup: pathOf("test/support/upToDateBuild.ts"),
          maxWorkers: 2,
          maxConcurrency: 3,
          sequence: { groupOrder: 1 },
          // They start the program some three hundred times; a third of that is compiling.
          env: { NODE_COMPILE_CACHE: pathOf("node_modules/.cache/compiled") }
        }
      }
    ]
  },
  // The examples name the package as its users do, and get its sources.
  resolve: {
    alias: [
      { find: /^spillway$/, replacement: pathOf("src/index.ts") },
      { find: "spillway/testing", replacement: pathOf("src/testing/index.ts") }
    ]
  }
})
