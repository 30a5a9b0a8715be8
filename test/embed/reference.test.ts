import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { fileURLToPath } from "node:url"
import { run } from "../support/command.ts"

const docs = fileURLToPath(new URL("../../scripts/docs.ts", import.meta.url))

describe("the API reference", () => {
  it.live("has a comment, a version and a category for each export, and a page with all of them", () =>
    Effect.gen(function*() {
      const { code, stderr, stdout } = yield* run(process.execPath, [docs, "--check"])
      assert.strictEqual(stdout + stderr, "")
      assert.strictEqual(code, 0)
    }))
})
