import { assert, describe, it } from "@effect/vitest"
import * as Spillway from "../../src/index.ts"
import * as Testing from "../../src/testing/index.ts"

describe("the public API", () => {
  it("has the exports of docs/decisions/0007-public-api.md, and no others", () => {
    assert.deepStrictEqual(Object.keys(Spillway).toSorted(), [
      "ChunkStore",
      "DirectoryLock",
      "DiskBusy",
      "DiskFull",
      "DiskLimiter",
      "DiskMonitor",
      "Engines",
      "EvictionPolicy",
      "InvalidOptions",
      "IoError",
      "Manifest",
      "MediaRefused",
      "Membership",
      "MembershipFailed",
      "NotInCache",
      "NotServed",
      "Origin",
      "OriginBodyFailed",
      "OriginForbidden",
      "OriginResolver",
      "OriginTimeout",
      "OriginUnexpected",
      "OriginUnreachable",
      "PermissionDenied",
      "RangeNotSatisfiable",
      "RepresentationChanged",
      "RequestLog",
      "Resource",
      "Server",
      "Spillway",
      "TooManyRegistrations",
      "WarmFailed",
      "defaultPolicy",
      "makeRoute",
      "parseRoute",
      "readShortBy"
    ])
    assert.deepStrictEqual(Object.keys(Spillway.Engines).toSorted(), ["dns", "list", "redis"])
    assert.deepStrictEqual(Object.keys(Spillway.Resource).toSorted(), ["make", "makePublic"])
    assert.deepStrictEqual(Object.keys(Spillway.Server).toSorted(), ["NodeServer", "layerNode", "layerProxy"])
    assert.deepStrictEqual(Object.keys(Testing).toSorted(), [
      "ChunkStoreContract",
      "EvictionPolicyContract",
      "FaultyFileSystem",
      "MemoryFileSystem",
      "MemoryOrigin",
      "TestSpillway"
    ])
  })
})
