import { availableParallelism } from "node:os"
import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"
import type { Reporter } from "vitest/node"

const pathOf = (file: string): string => fileURLToPath(new URL(file, import.meta.url))

/**
 * Ends a test that hangs, in milliseconds. How long a test takes decides nothing else: it waits for conditions, at most `PATIENCE_MILLIS` for
 * each (`test/support/patience.ts`).
 */
const HANG_MILLIS = 300_000

/** Tests of whole programs, which come after the others: some of them are about time. */
const ofPrograms = ["test/{cli,deploy,e2e,embed}/**/*.test.ts", "examples/**/*.test.ts"]

/** Tells at the end which tests have passed at their second try alone, which are to be looked into all the same. */
const saysFlaky = (): Reporter => {
  const flaky: Array<string> = []
  return {
    onTestCaseResult: (test) => {
      if (test.diagnostic()?.flaky !== true) return
      const why = test.result().errors?.[0]?.message ?? ""
      flaky.push(`${test.module.relativeModuleId} > ${test.fullName}: ${why}`)
    },
    onTestRunEnd: () => {
      for (const name of flaky) process.stderr.write(`passed at the second try: ${name}\n`)
    }
  }
}

export default defineConfig({
  test: {
    reporters: ["default", saysFlaky()],
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
          maxWorkers: 2,
          maxConcurrency: 3,
          sequence: { groupOrder: 1 },
          // Browsers, disks and time, on machines that others use too. `saysFlaky` tells which tests needed it.
          retry: 1,
          // They start the program some three hundred times; half of that is compiling.
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
