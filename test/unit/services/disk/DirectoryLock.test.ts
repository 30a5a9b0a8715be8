import { NodeFileSystem, NodePath } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Exit, Layer, Scope, Stream } from "effect"
import { spawn } from "node:child_process"
import { once } from "node:events"
import * as Fs from "node:fs"
import { connect } from "node:net"
import { join } from "node:path"
import { CacheConfig } from "../../../../src/services/config/CacheConfig.ts"
import { DirectoryLock } from "../../../../src/services/disk/DirectoryLock.ts"
import { DiskLimiter } from "../../../../src/services/disk/DiskLimiter.ts"
import { temporaryDirectory } from "../../../support/disks.ts"

/** The lock of `directory` as one process has it. */
const processOn = Effect.fnUntraced(function*(directory: string) {
  const scope = yield* Effect.acquireRelease(Scope.make(), (scope) => Scope.close(scope, Exit.void))
  const layer = DirectoryLock.layer.pipe(
    Layer.provide([CacheConfig.layer({ directory }), DiskLimiter.layer, NodeFileSystem.layer, NodePath.layer])
  )
  const context = yield* Layer.buildWithScope(Layer.fresh(layer), scope)
  const lock = yield* Effect.provide(DirectoryLock, context)
  return {
    /** The outcome of a try to take it. */
    acquire: Effect.match(lock.acquire, { onSuccess: () => "HELD", onFailure: ({ errno }) => errno }),
    takes: Effect.map(Stream.runHead(lock.takes), (head) => head._tag === "Some" ? head.value : 0),
    end: Scope.close(scope, Exit.void)
  }
})

/** Another program that listens on the lock of `directory`. */
const ownerOf = Effect.fnUntraced(function*(directory: string) {
  Fs.mkdirSync(join(directory, "v1"))
  const listen = `require("node:net").createServer().listen(process.argv[1], 8, () => console.log("ready"))`
  const at = join(directory, "v1", "lock")
  const owner = yield* Effect.acquireRelease(
    Effect.sync(() => spawn(process.execPath, ["-e", listen, at], { stdio: ["ignore", "pipe", "inherit"] })),
    (child) => Effect.sync(() => child.kill("SIGKILL"))
  )
  yield* Effect.promise(() => once(owner.stdout, "data"))
  return owner
})

describe("the lock of a cache directory", () => {
  it.live("belongs to one process until that ends", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const [a, b] = [yield* processOn(directory), yield* processOn(directory)]
      assert.deepStrictEqual([yield* a.acquire, yield* b.acquire, yield* a.acquire], ["HELD", "LOCKED", "HELD"])
      yield* a.end
      assert.strictEqual(yield* b.acquire, "HELD")
      assert.deepStrictEqual(Fs.readdirSync(join(directory, "v1")), ["lock"])
    }))

  const losses: ReadonlyArray<readonly [string, (v1: string) => void]> = [
    ["the directory is removed", (v1) => Fs.rmSync(v1, { recursive: true })],
    ["the directory is renamed", (v1) => Fs.renameSync(v1, `${v1}.old`)],
    ["its file is removed", (v1) => Fs.rmSync(join(v1, "lock"))],
    ["its file is replaced by another one", (v1) => {
      Fs.rmSync(join(v1, "lock"))
      Fs.writeFileSync(join(v1, "lock"), "")
    }]
  ]

  it.live.each(losses)("is lost to the process that takes it after %s", ([, lose]) =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const [a, b] = [yield* processOn(directory), yield* processOn(directory)]
      yield* a.acquire
      lose(join(directory, "v1"))
      assert.deepStrictEqual([yield* b.acquire, yield* a.acquire, yield* b.acquire], ["HELD", "LOCKED", "HELD"])
      // The end of the process that lost it doesn't remove the other's lock.
      yield* a.end
      const c = yield* processOn(directory)
      assert.deepStrictEqual([yield* c.acquire, yield* b.acquire], ["LOCKED", "HELD"])
    }))

  it.live.each(losses)(
    "is taken again after %s if no other process takes it, and counted",
    ([, lose]) =>
      Effect.gen(function*() {
        const directory = yield* temporaryDirectory
        const [a, b] = [yield* processOn(directory), yield* processOn(directory)]
        assert.strictEqual(yield* a.takes, 0)
        yield* a.acquire
        yield* a.acquire
        assert.strictEqual(yield* a.takes, 1)
        lose(join(directory, "v1"))
        assert.deepStrictEqual([yield* a.acquire, yield* b.acquire], ["HELD", "LOCKED"])
        assert.strictEqual(yield* a.takes, 2)
      })
  )

  it.live("goes to one process when two take it again at once", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const both = [yield* processOn(directory), yield* processOn(directory)]
      yield* both[0]!.acquire
      for (let round = 0; round < 10; round++) {
        Fs.rmSync(join(directory, "v1"), { recursive: true })
        const found = yield* Effect.forEach(both, ({ acquire }) => acquire, { concurrency: 2 })
        assert.sameMembers([...found], ["HELD", "LOCKED"])
      }
    }))

  it.live("is taken over from an owner that was killed", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const owner = yield* ownerOf(directory)
      const other = yield* processOn(directory)
      assert.strictEqual(yield* other.acquire, "LOCKED")
      owner.kill("SIGKILL")
      yield* Effect.promise(() => once(owner, "exit"))
      // The socket's file is still there.
      assert.deepStrictEqual(Fs.readdirSync(join(directory, "v1")), ["lock"])
      assert.strictEqual(yield* other.acquire, "HELD")
      assert.deepStrictEqual(Fs.readdirSync(join(directory, "v1")), ["lock"])
    }))

  it.live("stays with an owner that is stopped, and whose queue of connections is full", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const at = join(directory, "v1", "lock")
      const owner = yield* ownerOf(directory)
      owner.kill("SIGSTOP")
      const sockets = Array.from({ length: 20 }, () => connect(at).on("error", () => {}))
      const other = yield* processOn(directory)
      const found = yield* other.acquire
      for (const socket of sockets) socket.destroy()
      assert.strictEqual(found, "LOCKED")
    }))
})
