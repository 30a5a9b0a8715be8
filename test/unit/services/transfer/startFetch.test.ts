import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { Faults } from "../../../../src/testing/FaultyFileSystem.ts"
import { MemoryOrigin } from "../../../../src/testing/MemoryOrigin.ts"
import { stack, ticking, view } from "../../../support/stack.ts"
import { randomBytes } from "../../../support/TestOrigin.ts"

const bytes = randomBytes(1000)

describe("a transfer without a validator that ends before its first reader", () => {
  it.effect("waits for the reader if the cache can't keep its bytes", () =>
    Effect.gen(function*() {
      const origin = yield* MemoryOrigin
      const faults = yield* Faults
      for (const operation of ["open", "mkdir"] as const) yield* faults.add({ operation, fault: "EROFS" })
      for (const url of ["http://origin.test/1", "http://origin.test/2", "http://origin.test/3"]) {
        origin.files.set(url, { bytes, isChunked: true, headers: { "cache-control": "max-age=60" } })
        assert.isTrue(Buffer.from((yield* ticking(view(url))).bytes).equals(bytes))
      }
      assert.lengthOf(origin.requests, 3)
    }).pipe(Effect.provide(stack("faulty"))))
})
