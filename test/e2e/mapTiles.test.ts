import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { readFileSync, writeFileSync } from "node:fs"
import { PMTiles } from "pmtiles"
import { chunkFiles, temporaryDirectory } from "../support/disks.ts"
import { eventuallyHit, startProgram } from "../support/Program.ts"
import { valueOf } from "../support/scrape.ts"
import { makeTestOrigin, MiB, randomBytes } from "../support/TestOrigin.ts"
import { makeArchive } from "../support/tileArchive.ts"
import { withoutHedges } from "../support/withoutHedges.ts"

/**
 * A real reader of short ranges: the `pmtiles` package reads map tiles from an archive that is larger than the memory tier, through
 * Spillway and from the origin itself.
 */

const MAX_ZOOM = 6

/** Some 24 MiB. */
const archive = makeArchive(MAX_ZOOM, { least: 500, most: 8500 })

const setUp = Effect.gen(function*() {
  const directory = yield* temporaryDirectory
  const origin = yield* makeTestOrigin
  origin.files.set("/map", { bytes: archive, etag: "\"1\"", headers: { "cache-control": "max-age=3600" } })
  const { url } = yield* startProgram([
    ...(yield* withoutHedges(origin.url)),
    "--cache-dir",
    directory,
    "--memory=1MiB",
    "--min-free=0"
  ])
  const sentFrom = (source: string) =>
    Effect.promise(async () => {
      const text = await (await fetch(`${url}/_spillway/metrics`)).text()
      return valueOf(text, `spillway_sent_bytes_total{source="${source}"}`) ?? 0
    })
  return {
    directory,
    origin,
    url: `${url}/map`,
    near: new PMTiles(`${url}/map`),
    far: new PMTiles(`${origin.url}/map`),
    sentFrom
  }
})

/** Places of so many tiles, all over the map. */
const places = (count: number, seed: number): ReadonlyArray<readonly [zoom: number, x: number, y: number]> => {
  const random = randomBytes(count * 12, seed)
  return Array.from({ length: count }, (_, i) => {
    const zoom = MAX_ZOOM - (random.readUInt32LE(i * 12) % 3)
    return [zoom, random.readUInt32LE(i * 12 + 4) % 2 ** zoom, random.readUInt32LE(i * 12 + 8) % 2 ** zoom]
  })
}

const tileOf = (map: PMTiles, [zoom, x, y]: readonly [number, number, number]) =>
  Effect.map(Effect.promise(() => map.getZxy(zoom, x, y)), (tile) => {
    assert.isDefined(tile, `${zoom}/${x}/${y}`)
    return Buffer.from(tile.data)
  })

const readAll = (map: PMTiles, tiles: ReturnType<typeof places>) =>
  Effect.forEach(tiles, (place) => tileOf(map, place), { concurrency: 8 })

/** Reads tiles from the origin, then through Spillway, and compares them: their bytes, and how many requests that cost the origin. */
const compare = Effect.fnUntraced(function*(
  { far, near, origin }: Effect.Success<typeof setUp>,
  tiles: ReturnType<typeof places>
) {
  const expected = yield* readAll(far, tiles)
  const before = origin.requests.length
  const read = yield* readAll(near, tiles)
  for (const [i, tile] of read.entries()) assert.isTrue(tile.equals(expected[i]!), tiles[i]!.join("/"))
  return { bytes: read.reduce((sum, { length }) => sum + length, 0), requests: origin.requests.length - before }
})

describe("a reader of map tiles", () => {
  it.live("gets the tiles that the origin has, while they are fetched and from disk", () =>
    Effect.gen(function*() {
      const site = yield* setUp
      const cold = yield* compare(site, places(100, 1))
      assert.isAbove(cold.requests, 0)
      yield* eventuallyHit(site.url)
      const [disk, memory] = [yield* site.sentFrom("disk"), yield* site.sentFrom("memory")]
      const warm = yield* compare(site, places(600, 2))
      assert.strictEqual(warm.requests, 0)
      const fromDisk = (yield* site.sentFrom("disk")) - disk
      assert.isAtLeast(fromDisk + (yield* site.sentFrom("memory")) - memory, warm.bytes)
      assert.isAbove(fromDisk, warm.bytes / 2)
    }))

  it.live(
    "gets right tiles from a disk on which the last part of each chunk is damaged, and each chunk is fetched at most once",
    () =>
      Effect.gen(function*() {
        const site = yield* setUp
        yield* eventuallyHit(site.url)
        // The directories are read first, so that tiles find the damage.
        yield* compare(site, places(20, 3))
        const files = chunkFiles(site.directory)
        assert.strictEqual(files.length, Math.ceil(archive.length / MiB))
        for (const { path } of files) {
          const bytes = readFileSync(path)
          bytes[bytes.length - 1]! ^= 1
          writeFileSync(path, bytes)
        }
        const { requests } = yield* compare(site, places(1000, 4))
        assert.isAbove(requests, files.length / 2)
        assert.isAtMost(requests, files.length)
      })
  )
})
