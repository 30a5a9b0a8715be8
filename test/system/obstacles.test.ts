import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import { dirname } from "node:path"
import { make as makeResource } from "../../src/domain/Resource.ts"
import { ChunkWriter } from "../../src/services/cache/ChunkWriter.ts"
import { IndexScan } from "../../src/services/cache/IndexScan.ts"
import { CacheConfig } from "../../src/services/config/CacheConfig.ts"
import { DiskBreaker } from "../../src/services/disk/DiskBreaker.ts"
import { MemoryOrigin } from "../../src/testing/MemoryOrigin.ts"
import { chunkFiles } from "../support/disks.ts"
import { CHUNK, stack, view } from "../support/stack.ts"
import { randomBytes, sha256 } from "../support/TestOrigin.ts"

/** Something else stands on a real disk where a file of the cache should be. */

const urlOf = (name: string) => `http://origin.test/${name}`
const CHUNKS = 3

const put = Effect.fnUntraced(function*(name: string) {
  const bytes = randomBytes(CHUNKS * CHUNK, name.charCodeAt(0))
  const { files } = yield* MemoryOrigin
  files.set(urlOf(name), { bytes, etag: `"${name}"`, headers: { "cache-control": "max-age=86400" } })
})

const watch = Effect.fnUntraced(function*(name: string) {
  const origin = yield* MemoryOrigin
  origin.requests.length = 0
  const { bytes } = yield* view(urlOf(name))
  assert.strictEqual(sha256(bytes), sha256(origin.files.get(urlOf(name))!.bytes))
  yield* (yield* ChunkWriter).idle
  return origin.requests.reduce((sum, { sent }) => sum + sent, 0)
})

const directoryOf = (name: string) =>
  Effect.map(CacheConfig, ({ directory }) => {
    const { id } = makeResource(urlOf(name))
    return `${directory}/v1/${id.slice(0, 2)}/${id}`
  })

const replaceBy = {
  "a directory": (path: string) => {
    Fs.rmSync(path, { recursive: true, force: true })
    Fs.mkdirSync(`${path}/with/more`, { recursive: true })
  },
  "a symbolic link to itself": (path: string) => {
    Fs.rmSync(path, { force: true })
    Fs.symlinkSync(path, path)
  },
  "a socket": (path: string) => {
    Fs.rmSync(path, { force: true })
    spawnSync(process.execPath, [
      "-e",
      `require("net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`
    ])
  }
}

describe("in place of a chunk", () => {
  for (const [what, replace] of Object.entries(replaceBy)) {
    it.live(`${what} is taken for damage, and replaced`, () =>
      Effect.gen(function*() {
        const breaker = yield* DiskBreaker
        const { directory } = yield* CacheConfig
        yield* put("film")
        yield* watch("film")
        replace(chunkFiles(directory)[1]!.path)
        assert.strictEqual(yield* watch("film"), CHUNK)
        assert.strictEqual(yield* watch("film"), 0)
        assert.isTrue(Fs.lstatSync(chunkFiles(directory)[1]!.path).isFile())
        assert.isUndefined(breaker.unwritable())
      }).pipe(Effect.provide(stack("real"))))
  }
})

describe.each(["real", "thread"] as const)("in the way of a write, %s", (kind) => {
  const standsAt = {
    "a directory with the name of the manifest": (resource: string) =>
      Fs.mkdirSync(`${resource}/manifest.json/more`, { recursive: true }),
    "a file with the name of the resource's directory": (resource: string) => {
      Fs.mkdirSync(dirname(resource), { recursive: true })
      Fs.writeFileSync(resource, "not a directory")
    },
    "a file with the name of the directory above": (resource: string) => {
      Fs.mkdirSync(dirname(dirname(resource)), { recursive: true })
      Fs.writeFileSync(dirname(resource), "not a directory")
    }
  }
  for (const [what, stand] of Object.entries(standsAt)) {
    it.live(`${what} is removed`, () =>
      Effect.gen(function*() {
        const breaker = yield* DiskBreaker
        yield* (yield* IndexScan).loaded
        yield* put("film")
        stand(yield* directoryOf("film"))
        yield* watch("film")
        assert.strictEqual(yield* watch("film"), 0)
        assert.isUndefined(breaker.unwritable())
      }).pipe(Effect.provide(stack(kind))))
  }

  it.live("a file that was given as the cache's directory is left alone", () =>
    Effect.gen(function*() {
      const breaker = yield* DiskBreaker
      const { directory } = yield* CacheConfig
      Fs.rmSync(directory, { recursive: true })
      Fs.writeFileSync(directory, "somebody's")
      yield* put("film")
      yield* watch("film")
      yield* watch("film")
      assert.strictEqual(Fs.readFileSync(directory, "utf8"), "somebody's")
      assert.strictEqual(breaker.unwritable()?.errno, "ENOTDIR")
    }).pipe(Effect.provide(stack(kind))))
})
