import { availableParallelism } from "node:os"
import { fileURLToPath } from "node:url"
import { defineConfig } from "vitest/config"

/** Tests of whole programs, which come after the others: some of them are about time. */
const ofPrograms = ["test/{cli,deploy,e2e,embed}/**/*.test.ts", "examples/**/*.test.ts"]

export default defineConfig({
  test: {
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
          // They start the program some three hundred times; half of that is compiling.
          env: { NODE_COMPILE_CACHE: fileURLToPath(new URL("node_modules/.cache/compiled", import.meta.url)) }
        }
      }
    ]
  },
  // The examples name the package as its users do, and get its sources.
  ssr: { resolve: { conditions: ["spillway-source"], externalConditions: ["spillway-source"] } }
})
