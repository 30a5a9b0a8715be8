import { NodeFileSystem } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { Effect, Fiber, FileSystem, Layer } from "effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import { type GroupWatcher, type NewFile, WriterThread } from "../../../../src/services/disk/WriterThread.ts"

const Thread = Layer.provideMerge(WriterThread.layer, NodeFileSystem.layer)

const directory = Effect.flatMap(
  FileSystem.FileSystem,
  (fs) => fs.makeTempDirectoryScoped({ prefix: "spillway-test-" })
)

const writer = Effect.map(WriterThread, (writer) => writer!)

const bytes = (length: number, value: number) => new Uint8Array(length).fill(value)

const fileAt = (target: string, ...parts: ReadonlyArray<Uint8Array>): NewFile => ({
  target,
  temporary: `${target}.tmp`,
  parts
})

/** What becomes of each file of a group, in the order in which it is reported. */
const watched = () => {
  const ends: Array<readonly [index: number, isWritten: boolean]> = []
  let steps = 0
  const watcher: GroupWatcher = {
    onEnd: (index, isWritten) => void ends.push([index, isWritten]),
    onProgress: () => void (steps += 1)
  }
  return { ends, steps: () => steps, watcher }
}

describe("WriterThread", () => {
  it.effect("writes files of several parts, with their directories, for this user only", () =>
    Effect.gen(function*() {
      const root = yield* directory
      const { ends, steps, watcher } = watched()
      const [short, long, empty] = [join(root, "a/b/short"), join(root, "a/long"), join(root, "empty")]
      const { write } = yield* writer
      yield* write([fileAt(short, bytes(3, 1), bytes(2, 2)), fileAt(long, bytes(3e6, 3)), fileAt(empty)], watcher)
      assert.deepStrictEqual(ends, [[0, true], [1, true], [2, true]])
      assert.isAbove(steps(), 0)
      assert.deepStrictEqual([...Fs.readFileSync(short)], [1, 1, 1, 2, 2])
      assert.isTrue(Fs.readFileSync(long).equals(bytes(3e6, 3)))
      assert.strictEqual(Fs.readFileSync(empty).length, 0)
      assert.deepStrictEqual(Fs.readdirSync(root).toSorted(), ["a", "empty"])
      assert.deepStrictEqual(
        [Fs.statSync(short).mode & 0o777, Fs.statSync(join(root, "a/b")).mode & 0o777],
        [0o600, 0o700]
      )
    }).pipe(Effect.provide(Thread)))

  it.effect("writes the others of a group if one can't be written", () =>
    Effect.gen(function*() {
      const root = yield* directory
      const { ends, watcher } = watched()
      const { write } = yield* writer
      Fs.mkdirSync(join(root, "directory/with/more"), { recursive: true })
      Fs.writeFileSync(join(root, "file"), "")
      const files = ["one", "directory", "file/below", "two"].map((name) => fileAt(join(root, name), bytes(5, 7)))
      yield* write(files, watcher)
      assert.deepStrictEqual(ends, [[0, true], [1, false], [2, false], [3, true]])
    }).pipe(Effect.provide(Thread)))

  it.effect("keeps groups apart that are handed over at the same time, and uses their memory again", () =>
    Effect.gen(function*() {
      const root = yield* directory
      const { maxBytes, maxGroups, write } = yield* writer
      for (let round = 0; round < 3; round++) {
        yield* Effect.forEach(
          Array.from({ length: maxGroups }, (_, group) => group),
          (group) =>
            write([fileAt(join(root, `${round}.${group}`), bytes(maxBytes, 10 * round + group))], watched().watcher),
          { concurrency: "unbounded" }
        )
      }
      for (let round = 0; round < 3; round++) {
        for (let group = 0; group < maxGroups; group++) {
          const value = 10 * round + group
          assert.isTrue(Fs.readFileSync(join(root, `${round}.${group}`)).equals(bytes(maxBytes, value)))
        }
      }
    }).pipe(Effect.provide(Thread)))

  it.effect("says of all files that they weren't written, once it has ended", () =>
    Effect.gen(function*() {
      const root = yield* directory
      const { write } = yield* Effect.provide(writer, WriterThread.layer)
      const { ends, watcher } = watched()
      yield* write([fileAt(join(root, "one")), fileAt(join(root, "two"))], watcher)
      assert.deepStrictEqual(ends, [[0, false], [1, false]])
      assert.deepStrictEqual(Fs.readdirSync(root), [])
    }).pipe(Effect.provide(NodeFileSystem.layer)))

  it.effect("ends in the middle of a group without leaving anyone waiting", () =>
    Effect.gen(function*() {
      const root = yield* directory
      const { ends, watcher } = watched()
      const count = 2000
      const writing = yield* Effect.provide(
        Effect.gen(function*() {
          const { write } = yield* writer
          const files = Array.from({ length: count }, (_, index) => fileAt(join(root, String(index)), bytes(2000, 1)))
          return yield* Effect.forkDetach(write(files, watcher), { startImmediately: true })
        }),
        WriterThread.layer
      )
      yield* Fiber.join(writing)
      assert.strictEqual(ends.length, count)
      assert.isTrue(ends.some(([, isWritten]) => !isWritten))
    }).pipe(Effect.provide(NodeFileSystem.layer)))
})
