import { assert, describe, it } from "@effect/vitest"
import { nearest } from "../../../src/effects/nearest.ts"

const names = ["port", "host", "max-size", "max-streams", "cache-dir"]

describe("nearest", () => {
  it.each([
    ["prot", "port"],
    ["Port", "port"],
    ["max-sise", "max-size"],
    ["maxsize", "max-size"],
    ["cache_dir", "cache-dir"],
    ["max-stream", "max-streams"],
    ["colour", undefined],
    ["x", undefined],
    ["", undefined]
  ])("%s: %s", (name, expected) => assert.strictEqual(nearest(name, names), expected))

  it("finds nothing among no names", () => assert.isUndefined(nearest("port", [])))
})
