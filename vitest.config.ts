import { defineConfig } from "vitest/config"

export default defineConfig({
  test: { include: ["test/**/*.test.ts", "examples/**/*.test.ts"] },
  // The examples name the package as its users do, and get its sources.
  ssr: { resolve: { conditions: ["spillway-source"], externalConditions: ["spillway-source"] } }
})
