import { availableParallelism } from "node:os"
import { defineConfig } from "vitest/config"

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts", "examples/**/*.test.ts"],
    // Most of the time, tests wait for programs that they have started.
    maxWorkers: Math.max(2, availableParallelism() - 1)
  },
  // The examples name the package as its users do, and get its sources.
  ssr: { resolve: { conditions: ["spillway-source"], externalConditions: ["spillway-source"] } }
})
