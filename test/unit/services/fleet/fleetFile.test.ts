import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Layer } from "effect"
import { FleetMember } from "../../../../src/domain/FleetMember.ts"
import { CacheConfig } from "../../../../src/services/config/CacheConfig.ts"
import { makeFleetFile } from "../../../../src/services/fleet/fleetFile.ts"
import { temporaryDirectory } from "../../../support/disks.ts"

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
})
