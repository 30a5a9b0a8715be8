import { assert, describe, it } from "@effect/vitest"
import { PlatformError } from "effect"
import { type CacheError, errnoOf, fromErrno, fromPlatformError, isDamage } from "../../../src/domain/CacheError.ts"

const tags: ReadonlyArray<readonly [string, CacheError["_tag"]]> = [
  ["ENOSPC", "DiskFull"],
  ["EDQUOT", "DiskFull"],
  ["EACCES", "PermissionDenied"],
  ["EPERM", "PermissionDenied"],
  ["EROFS", "PermissionDenied"],
  ["EIO", "IoError"],
  ["ENOENT", "IoError"],
  ["ENOTDIR", "IoError"],
  ["EISDIR", "IoError"],
  ["EMFILE", "IoError"],
  ["ENFILE", "IoError"],
  ["ESTALE", "IoError"],
  ["ENODEV", "IoError"],
  ["ETIMEDOUT", "IoError"],
  ["EBUSY", "IoError"],
  ["EFBIG", "IoError"],
  ["SHORT_READ", "IoError"],
  ["CORRUPT", "IoError"],
  ["TIMEOUT", "IoError"],
  ["UNKNOWN", "IoError"],
  ["", "IoError"]
]

const systemError = (tag: PlatformError.SystemErrorTag, code?: string) =>
  PlatformError.systemError({
    _tag: tag,
    module: "FileSystem",
    method: "writeAll",
    ...(code !== undefined && { cause: Object.assign(new Error(code), { code, syscall: "write" }) })
  })

describe("fromErrno", () => {
  it.each(tags)("takes %j for %s", (errno, tag) => {
    const error = fromErrno(errno, "write", "/cache/a")
    assert.strictEqual(error._tag, tag)
    assert.strictEqual(error.errno, errno)
    assert.strictEqual(error.operation, "write")
    assert.strictEqual(error.path, "/cache/a")
    assert.strictEqual(error.message, `${errno}: write /cache/a`)
  })
})

describe("fromPlatformError", () => {
  it.each(tags.filter(([errno]) => errno.startsWith("E")))("finds %s in the cause, whatever the tag", (errno, tag) => {
    for (const platformTag of ["Unknown", "PermissionDenied", "NotFound"] as const) {
      const error = fromPlatformError("open", "/cache/a")(systemError(platformTag, errno))
      assert.strictEqual(error._tag, tag)
      assert.strictEqual(error.errno, errno)
    }
  })

  const withoutErrno: ReadonlyArray<readonly [PlatformError.SystemErrorTag, CacheError["_tag"], string]> = [
    ["NotFound", "IoError", "ENOENT"],
    ["PermissionDenied", "PermissionDenied", "EACCES"],
    ["AlreadyExists", "IoError", "EEXIST"],
    ["Unknown", "IoError", "UNKNOWN"],
    ["Busy", "IoError", "UNKNOWN"]
  ]
  it.each(withoutErrno)("falls back on the tag %s where there is no errno", (platformTag, tag, errno) => {
    const error = fromPlatformError("open", "/cache/a")(systemError(platformTag))
    assert.strictEqual(error._tag, tag)
    assert.strictEqual(error.errno, errno)
  })

  it("takes a bad argument for an IoError", () => {
    const error = fromPlatformError("open", "/cache/a")(
      PlatformError.badArgument({ module: "FileSystem", method: "open" })
    )
    assert.strictEqual(error._tag, "IoError")
    assert.strictEqual(error.errno, "UNKNOWN")
  })
})

describe("errnoOf", () => {
  it("is UNKNOWN for what has no textual code", () => {
    for (const cause of [undefined, null, "ENOSPC", 28, {}, { code: 28 }, new Error("full")]) {
      assert.strictEqual(errnoOf(cause), "UNKNOWN")
    }
    assert.strictEqual(errnoOf({ code: "ENOSPC" }), "ENOSPC")
  })
})

describe("isDamage", () => {
  it.each(tags)("%j", (errno) => {
    assert.strictEqual(
      isDamage(fromErrno(errno, "read", "/cache/a")),
      ["ENOENT", "SHORT_READ", "CORRUPT", "EISDIR", "ENOTDIR", "ELOOP", "ENXIO"].includes(errno)
    )
  })
})
