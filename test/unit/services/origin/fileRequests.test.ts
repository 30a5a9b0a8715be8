import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect, Layer, Stream } from "effect"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import { join } from "node:path"
import { pathToFileURL } from "node:url"
import { codeOf } from "../../../../src/domain/OriginError.ts"
import type { HeaderFields } from "../../../../src/domain/rfc/HeaderFields.ts"
import { defaultPolicy } from "../../../../src/domain/RoutePolicy.ts"
import { OriginConfig } from "../../../../src/services/config/OriginConfig.ts"
import { Origin } from "../../../../src/services/origin/Origin.ts"
import { temporaryDirectory } from "../../../support/disks.ts"
import { MiB, randomBytes, sha256 } from "../../../support/TestOrigin.ts"

/** When the files of a test were written, unless it says otherwise: long ago. In milliseconds. */
const WRITTEN = Date.UTC(2026, 0, 2, 3, 4, 5, 678)

const write = (path: string, bytes: string | Uint8Array, at = WRITTEN): void => {
  Fs.writeFileSync(path, bytes)
  Fs.utimesSync(path, at / 1000, at / 1000)
}

/** A directory with a file, and its origin. */
const makeDirectory = Effect.gen(function*() {
  const parent = yield* temporaryDirectory
  const root = join(parent, "films")
  Fs.mkdirSync(root)
  write(join(root, "film.mkv"), "0123456789")
  write(join(parent, "secret.txt"), "secret")
  const origin = yield* Origin.layer.pipe(
    Layer.provide(OriginConfig.layer()),
    Layer.build,
    Effect.map(Context.get(Origin))
  )
  const url = pathToFileURL(root)
  const request = (path: string, headers: HeaderFields = {}, method = "GET") =>
    origin.request({ method, url: `${url}${path}`, headers, route: defaultPolicy(url) })
  const ask = (path: string, headers?: HeaderFields, method?: string) =>
    Effect.scoped(Effect.gen(function*() {
      const { body, headers: fields, status } = yield* request(path, headers, method)
      return { status, fields, text: Buffer.from(yield* Stream.mkUint8Array(body)).toString() }
    }))
  return { parent, root, url, origin, request, ask }
})

describe("a file of a directory", () => {
  it.live("has its size, type, times and a strong validator", () =>
    Effect.gen(function*() {
      const { ask, root } = yield* makeDirectory
      const { fields, status, text } = yield* ask("/film.mkv")
      assert.strictEqual(status, 200)
      assert.strictEqual(text, "0123456789")
      assert.match(fields["etag"]!, /^"[0-9a-z]+-[0-9a-z]+-[0-9a-z]+"$/)
      assert.match(fields["date"]!, /GMT$/)
      assert.deepInclude(fields, {
        "accept-ranges": "bytes",
        "content-length": "10",
        "content-type": "video/x-matroska",
        "last-modified": "Fri, 02 Jan 2026 03:04:05 GMT"
      })
      const head = yield* ask("/film.mkv", {}, "HEAD")
      assert.deepInclude(head, { status: 200, text: "" })
      assert.deepInclude(head.fields, { etag: fields["etag"], "content-length": "10" })
      write(join(root, "empty.M3U8"), "")
      const empty = yield* ask("/empty.M3U8")
      assert.deepInclude(empty, { status: 200, text: "" })
      assert.deepInclude(empty.fields, {
        "content-length": "0",
        "content-type": "application/vnd.apple.mpegurl"
      })
    }))

  it.live("has another validator when its bytes, its time or its inode are others", () =>
    Effect.gen(function*() {
      const { ask, root } = yield* makeDirectory
      const path = join(root, "film.mkv")
      const tags = new Set<string | undefined>()
      const look = Effect.map(ask("/film.mkv"), ({ fields }) => tags.add(fields["etag"]))
      yield* look
      write(path, "0123456789", WRITTEN + 1)
      yield* look
      write(path, "01234567890")
      yield* look
      write(`${path}.new`, "012345678-0")
      Fs.renameSync(`${path}.new`, path)
      yield* look
      assert.strictEqual(tags.size, 4)
    }))

  it.live("has a weak one while it may be written to again at the same time", () =>
    Effect.gen(function*() {
      const { ask, root } = yield* makeDirectory
      // An hour ahead of the server of the file.
      write(join(root, "film.mkv"), "0123456789", (yield* Clock.currentTimeMillis) + 3_600_000)
      const { fields } = yield* ask("/film.mkv")
      assert.match(fields["etag"]!, /^W\//)
      const range = { range: "bytes=1-2", "if-range": fields["etag"]! }
      assert.strictEqual((yield* ask("/film.mkv", range)).status, 200)
    }))

  it.live.each(
    [
      ["bytes=2-4", 206, "234", "bytes 2-4/10"],
      ["bytes=7-", 206, "789", "bytes 7-9/10"],
      ["bytes=7-99", 206, "789", "bytes 7-9/10"],
      ["bytes=-2", 206, "89", "bytes 8-9/10"],
      ["bytes=10-", 416, "", "bytes */10"],
      ["bytes=1-2,4-5", 200, "0123456789", undefined],
      ["lines=1-2", 200, "0123456789", undefined]
    ] as const
  )("answers %s with %i", ([range, status, text, contentRange]) =>
    Effect.gen(function*() {
      const { ask } = yield* makeDirectory
      const answer = yield* ask("/film.mkv", { range })
      assert.deepInclude(answer, { status, text })
      assert.strictEqual(answer.fields["content-range"], contentRange)
      assert.strictEqual(answer.fields["content-length"], String(text.length))
    }))

  it.live("is compared with the conditions of a request", () =>
    Effect.gen(function*() {
      const { ask } = yield* makeDirectory
      const { fields } = yield* ask("/film.mkv")
      const etag = fields["etag"]!
      const date = fields["last-modified"]!
      const statusOf = (headers: HeaderFields) => Effect.map(ask("/film.mkv", headers), ({ status }) => status)
      assert.strictEqual(yield* statusOf({ "if-none-match": `"x", ${etag}` }), 304)
      assert.strictEqual(yield* statusOf({ "if-none-match": "\"x\"" }), 200)
      assert.strictEqual(yield* statusOf({ "if-modified-since": date }), 304)
      assert.strictEqual(yield* statusOf({ "if-match": "\"x\"" }), 412)
      assert.strictEqual(yield* statusOf({ range: "bytes=1-2", "if-range": etag }), 206)
      assert.strictEqual(yield* statusOf({ range: "bytes=1-2", "if-range": date }), 206)
      assert.strictEqual(yield* statusOf({ range: "bytes=1-2", "if-range": "\"x\"" }), 200)
      const same = yield* ask("/film.mkv", { "if-none-match": etag })
      assert.deepInclude(same.fields, { etag, "last-modified": date })
      assert.strictEqual(same.fields["content-length"], undefined)
    }))

  it.live("is read only", () =>
    Effect.gen(function*() {
      const { ask, root } = yield* makeDirectory
      for (const method of ["PUT", "DELETE", "POST", "PROPFIND"]) {
        assert.deepInclude(yield* ask("/film.mkv", {}, method), { status: 405, text: "" })
      }
      assert.strictEqual(Fs.readFileSync(join(root, "film.mkv"), "utf8"), "0123456789")
    }))

  it.live("may have any name", () =>
    Effect.gen(function*() {
      const { ask, root } = yield* makeDirectory
      const name = "100 % #1?a+b [ü] \\.txt"
      write(join(root, name), "odd")
      assert.strictEqual((yield* ask(`/${encodeURIComponent(name)}`)).text, "odd")
    }))
})

describe("nothing else can be read", () => {
  it.live.each(
    [
      ["a missing file", "/none"],
      ["a file below a file", "/film.mkv/"],
      ["a directory", "/sub"],
      ["the directory itself", "/"],
      ["a name with an encoded slash", "/sub%2Fa.txt"],
      ["a name with a zero byte", "/film.mkv%00"],
      ["a name that isn't UTF-8", "/%ff"],
      ["a name that is too long", `/${"a".repeat(300)}`],
      ["a pipe", "/pipe"],
      ["a circle of links", "/circle"]
    ] as const
  )("%s is 404", ([, path]) =>
    Effect.gen(function*() {
      const { ask, root } = yield* makeDirectory
      Fs.mkdirSync(join(root, "sub"))
      write(join(root, "sub", "a.txt"), "a")
      Fs.symlinkSync("circle", join(root, "circle"))
      spawnSync("mkfifo", [join(root, "pipe")])
      assert.deepInclude(yield* ask(path), { status: 404, text: "" })
    }))

  it.live("links are followed within the directory, and not out of it", () =>
    Effect.gen(function*() {
      const { ask, parent, root } = yield* makeDirectory
      Fs.mkdirSync(join(root, "sub"))
      Fs.symlinkSync("../film.mkv", join(root, "sub", "relative"))
      Fs.symlinkSync(join(root, "film.mkv"), join(root, "absolute"))
      for (const path of ["/sub/relative", "/absolute"]) {
        assert.deepInclude(yield* ask(path), { status: 200, text: "0123456789" })
      }
      // Its name begins with that of the directory.
      Fs.mkdirSync(`${root}-other`)
      write(join(`${root}-other`, "a.txt"), "secret")
      Fs.symlinkSync(join(parent, "secret.txt"), join(root, "file"))
      Fs.symlinkSync("..", join(root, "up"))
      Fs.symlinkSync(`${root}-other`, join(root, "beside"))
      Fs.symlinkSync("/proc/self/environ", join(root, "proc"))
      for (const path of ["/file", "/up/secret.txt", "/beside/a.txt", "/proc"]) {
        assert.deepInclude(yield* ask(path), { status: 403, text: "" }, path)
      }
    }))

  it.live("dots don't lead out of the directory, in any spelling", () =>
    Effect.gen(function*() {
      const { ask } = yield* makeDirectory
      for (const path of ["/../secret.txt", "/%2e%2e/secret.txt", "/..%2fsecret.txt", "/..%5csecret.txt"]) {
        const { status, text } = yield* ask(path)
        assert.include([403, 404], status, path)
        assert.strictEqual(text, "", path)
      }
    }))

  it.live("a directory may be named by a link itself", () =>
    Effect.gen(function*() {
      const { origin, parent, root } = yield* makeDirectory
      Fs.symlinkSync(root, join(parent, "link"))
      const url = pathToFileURL(join(parent, "link"))
      const { status } = yield* Effect.scoped(
        origin.request({ method: "GET", url: `${url}/film.mkv`, headers: {}, route: defaultPolicy(url) })
      )
      assert.strictEqual(status, 200)
    }))

  it.live("a file without a route is refused", () =>
    Effect.gen(function*() {
      const { origin, url } = yield* makeDirectory
      const request = { method: "GET", url: `${url}/film.mkv`, headers: {} }
      for (const route of [undefined, defaultPolicy(new URL("http://origin.test"))]) {
        const error = yield* Effect.flip(Effect.scoped(origin.request({ ...request, route })))
        assert.strictEqual(error._tag, "OriginForbidden")
      }
    }))
})

describe("a directory that looks like a mount that is missing", () => {
  it.live.each(
    [
      ["is not there", "ENOENT", (root: string) => Fs.rmSync(root, { recursive: true })],
      ["is empty", "EMPTY_DIRECTORY", (root: string) => Fs.rmSync(join(root, "film.mkv"))],
      ["is a file", "ENOTDIR", (root: string) => {
        Fs.rmSync(root, { recursive: true })
        write(root, "")
      }]
    ] as const
  )("fails if it %s, and doesn't deny its files", ([, code, change]) =>
    Effect.gen(function*() {
      const { ask, root } = yield* makeDirectory
      change(root)
      const error = yield* Effect.flip(ask("/film.mkv"))
      assert.strictEqual(error._tag, "OriginUnreachable")
      assert.strictEqual(codeOf(error), code)
    }))
})

describe("a file that changes while it is read", () => {
  const before = randomBytes(2 * MiB, 1)
  const after = randomBytes(2 * MiB, 2)

  /** Reads a file of which `change` is made after the first piece. */
  const reading = (change: (path: string) => void) =>
    Effect.gen(function*() {
      const { request, root } = yield* makeDirectory
      const path = join(root, "large.bin")
      write(path, before)
      const pieces: Array<Uint8Array> = []
      const outcome = yield* Effect.scoped(Effect.flatMap(request("/large.bin"), ({ body }) =>
        Stream.runForEach(body, (piece) =>
          Effect.sync(() => pieces.push(piece) === 1 && change(path))))).pipe(
          Effect.result
        )
      return { outcome, bytes: Buffer.concat(pieces) }
    })

  it.live.each(
    [
      ["is written over", (path: string) => Fs.writeFileSync(path, after)],
      ["is written over in part", (path: string) => {
        const file = Fs.openSync(path, "r+")
        Fs.writeSync(file, after, 0, 10, MiB)
        Fs.closeSync(file)
      }],
      ["becomes shorter", (path: string) => Fs.truncateSync(path, MiB)],
      ["becomes longer", (path: string) => Fs.appendFileSync(path, "more")]
    ] as const
  )("never mixes two versions: the body breaks off if it %s", ([, change]) =>
    Effect.gen(function*() {
      const { bytes, outcome } = yield* reading(change)
      assert.strictEqual(outcome._tag, "Failure")
      if (outcome._tag === "Failure") {
        assert.strictEqual(outcome.failure._tag, "OriginBodyFailed")
        assert.strictEqual(codeOf(outcome.failure), "FILE_CHANGED")
      }
      assert.isBelow(bytes.length, before.length)
      assert.isTrue(bytes.equals(before.subarray(0, bytes.length)))
    }))

  it.live.each(
    [
      ["is replaced", (path: string) => {
        Fs.writeFileSync(`${path}.new`, after)
        Fs.renameSync(`${path}.new`, path)
      }],
      ["is removed", (path: string) => Fs.rmSync(path)]
    ] as const
  )("is the old one to its end if it %s", ([, change]) =>
    Effect.gen(function*() {
      const { bytes, outcome } = yield* reading(change)
      assert.strictEqual(outcome._tag, "Success")
      assert.strictEqual(sha256(bytes), sha256(before))
    }))
})
