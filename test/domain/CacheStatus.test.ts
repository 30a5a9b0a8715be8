import { assert, describe, it } from "@effect/vitest"
import { Schema } from "effect"
import { type CacheStatus, format } from "../../src/domain/CacheStatus.ts"

describe("format", () => {
  const cases: ReadonlyArray<readonly [CacheStatus, string]> = [
    [{}, "spillway"],
    [{ hit: true }, "spillway; hit"],
    [{ hit: true, detail: "ORIGIN_UNREACHABLE" }, "spillway; hit; detail=ORIGIN_UNREACHABLE"],
    [{ fwd: "miss", stored: true }, "spillway; fwd=miss; stored"],
    [{ fwd: "miss", stored: true, collapsed: true }, "spillway; fwd=miss; stored; collapsed"],
    [{ fwd: "partial", stored: true, collapsed: false }, "spillway; fwd=partial; stored"],
    [{ fwd: "stale", fwdStatus: 304 }, "spillway; fwd=stale; fwd-status=304"],
    [{ fwd: "bypass", detail: "DISK_FULL" }, "spillway; fwd=bypass; detail=DISK_FULL"],
    [{ hit: false, stored: false, collapsed: false }, "spillway"]
  ]

  it.each(cases)("%j", (status, expected) => {
    assert.strictEqual(format(status), expected)
  })

  // RFC 8941: a list of one item with parameters, keys in lower case, values that are tokens or integers.
  const item = /^spillway(?:; [a-z*][a-z0-9_.*-]*(?:=(?:[A-Za-z*][A-Za-z0-9:/!#$%&'*+.^_`|~-]*|\d+))?)*$/

  it.prop("is a structured field", {
    hit: Schema.Boolean,
    fwd: Schema.Literals(["miss", "partial", "stale", "bypass"]),
    fwdStatus: Schema.Int.check(Schema.isBetween({ minimum: 100, maximum: 599 })),
    stored: Schema.Boolean,
    collapsed: Schema.Boolean,
    detail: Schema.Literals(["DISK_FULL", "PERMISSION_DENIED", "IO_ERROR", "NO_STORE", "AUTHORIZATION"])
  }, (status) => {
    assert.match(format(status), item)
  })
})
