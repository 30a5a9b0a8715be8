import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { FleetMember } from "../../../../src/domain/FleetMember.ts"
import { CacheConfig } from "../../../../src/services/config/CacheConfig.ts"
import { makeFleetFile } from "../../../../src/services/fleet/fleetFile.ts"
import { Faults } from "../../../../src/testing/FaultyFileSystem.ts"
import { temporaryDirectory } from "../../../support/disks.ts"
import { World } from "../../../support/stack.ts"
import { ticking } from "../../../support/ticking.ts"

const member = new FleetMember({
  name: "n2",
  host: "10.0.0.2",
  port: 8471,
  weight: 1,
  stretch: 1024,
  version: "1.0.0",
  routes: "r",
  since: 0,
  leaving: false
})

describe("the file with the list of nodes", () => {
  it.effect("is written to a real disk, and read again", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const config = Layer.merge(CacheConfig.layer({ directory }), NodeServices.layer)
      for (const place of ["1-0", "2-0"]) {
        const { write } = yield* Effect.provide(makeFleetFile, config)
        yield* write({ members: [member], place })
        const { read } = yield* Effect.provide(makeFleetFile, config)
        assert.deepStrictEqual(yield* read, { members: [member], place })
      }
    }))

  it.effect("holds one call to a disk that hangs, however often the list changes", () =>
    Effect.gen(function*() {
      const plan = yield* Faults
      yield* plan.add({ operation: "open", fault: "hang" })
      const { read, write } = yield* makeFleetFile
      for (const place of ["1-0", "2-0", "3-0"]) {
        yield* ticking(write({ members: [member], place }))
        assert.deepStrictEqual(plan.strikes(), [1])
      }
      yield* plan.clear
      yield* ticking(Effect.sleep("1 second"))
      yield* ticking(write({ members: [member], place: "4-0" }))
      assert.deepStrictEqual(yield* read, { members: [member], place: "4-0" })
    }).pipe(Effect.provide(Layer.merge(World, CacheConfig.layer({ directory: "/cache" })))))
})
