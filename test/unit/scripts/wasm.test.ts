import { assert, describe, it } from "@effect/vitest"
import { assemble, assembled } from "../../../scripts/wasm.ts"

describe("the module of XXH3", () => {
  it("is what its text says", async () => assert.strictEqual(assembled(), await assemble()))
})
