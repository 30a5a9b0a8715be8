import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import { story } from "../support/cacheStatus.ts"
import { insideOf, makeDisk, noDisks } from "../support/disks.ts"
import { eventually, startProgram, view } from "../support/Program.ts"
import { fileOf, makeTestOrigin, MiB } from "../support/TestOrigin.ts"

const NODES = 512

describe.skipIf(noDisks !== undefined)("a disk with few file nodes", () => {
  it.live(
    "is shared with others: old files and their directories go, and new ones are kept",
    () =>
      Effect.gen(function*() {
        const origin = yield* makeTestOrigin
        const disk = yield* makeDisk(64 * MiB, NODES)
        const program = yield* startProgram(
          [origin.url, "--cache-dir", disk.mountPoint, "--chunk-size", "64KiB", "--min-free", "0", "--memory", "64KiB"],
          { prefix: disk.prefix }
        )
        const directory = insideOf(program, disk.mountPoint)
        const freeNodes = () => Fs.statfsSync(directory).ffree
        const status = Effect.promise(async () =>
          await (await fetch(`${program.url}/_spillway/api/status`)).json() as {
            readonly cache: { readonly state: string; readonly chunks: number }
            readonly backlog: { readonly bytes: number }
            readonly disk: { readonly status: string; readonly freeNodes: number; readonly totalNodes: number }
          }
        )
        const before = freeNodes()
        let least = before
        for (let i = 0; i < 300; i++) {
          const path = `/${i}`
          origin.files.set(path, fileOf(1000, i + 1))
          assert.strictEqual((yield* view(program.url + path)).status, 200)
          least = Math.min(least, freeNodes())
        }
        yield* eventually("all to be written", Effect.map(status, ({ backlog }) => backlog.bytes === 0))
        assert.isAtLeast(Math.min(least, freeNodes()), 8)
        const { cache, disk: told } = yield* status
        assert.strictEqual(cache.state, "usable", program.printed())
        assert.strictEqual(told.totalNodes, NODES)
        // Each takes four nodes or somewhat less.
        assert.isAbove(cache.chunks, 100)
        yield* eventually(
          "a hit of the last file",
          Effect.map(view(`${program.url}/299`), ({ headers }) => story(headers) === "spillway; hit")
        )
        yield* eventually("its status", Effect.map(status, ({ disk }) => disk.status !== "healthy"))
        const purged = yield* Effect.promise(() =>
          fetch(`${program.url}/_spillway/api/purge`, {
            method: "POST",
            headers: { "content-type": "application/json" },
            body: JSON.stringify({ all: true })
          })
        )
        assert.strictEqual(purged.status, 200)
        // The list of purges takes one.
        yield* eventually("every other file node", Effect.sync(() => freeNodes() >= before - 1))
      })
  )
})
