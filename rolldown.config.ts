import { defineConfig } from "rolldown"

// The program in one piece: it starts in a quarter of the time, and takes half of the memory, of so many modules.
export default defineConfig({
  input: { spillway: "src/main.ts" },
  platform: "node",
  // As deep as `src/cli` and `src/sample`, which find files of the package from where they are.
  output: { dir: "dist/bin", format: "esm", cleanDir: true }
})
