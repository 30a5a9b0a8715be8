import { Effect, Option, Stream } from "effect"
import assert from "node:assert/strict"
import type { CacheError } from "../domain/CacheError.ts"
import type { ChunkKey } from "../domain/Chunk.ts"
import { fromHead, Representation } from "../domain/Representation.ts"
import { familyOf, make as makeResource, variant as makeVariant } from "../domain/Resource.ts"
import { chunksIn, ChunkStore, type LentBytes, PART_BYTES } from "../services/disk/ChunkStore.ts"
import * as ManifestFormat from "../services/disk/manifestFormat.ts"

/**
 * What every `ChunkStore` has to do, for tests of your own. Each case needs an empty store, and dies with an `AssertionError` if the store does
 * something else.
 */

/**
 * One promise of a store: run `check` with an empty `ChunkStore`.
 *
 * @since 0.1.0
 * @category testing
 */
export interface ContractCase {
  readonly title: string
  readonly check: Effect.Effect<void, unknown, ChunkStore>
}

/** `size` bytes that are always the same for a seed. */
const randomBytes = (size: number, seed = 1): Buffer => {
  let state = seed
  return Buffer.from(Uint8Array.from({ length: size }, () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0
    return state >>> 16
  }))
}

const isUndefined = (value: unknown): void => assert.strictEqual(value, undefined)

const includes = <A>(all: ReadonlyArray<A>, one: A): void =>
  assert.ok(all.includes(one), `${String(one)} is unexpected`)

/** `found` has at least the fields of `expected`. */
const includesAll = (found: object | undefined, expected: object): void =>
  assert.deepStrictEqual({ ...found, ...expected }, { ...found })

const resource = makeResource("http://origin.test/film.mp4")
const representation = fromHead(
  resource,
  { status: 200, headers: { "content-length": "1000", "etag": "\"1\"", "content-type": "video/mp4" } },
  65_536
) as Representation
const key: ChunkKey = { resource: resource.id, representation: representation.id, index: 3 }
/** The only chunk of a body that is as long as it. */
const first: ChunkKey = { ...key, index: 0 }
const payload = randomBytes(1000)

/** A chunk of several parts, of which the last is shorter. */
const PART = PART_BYTES
const LONG = 3 * PART + 100
const long = randomBytes(LONG)

const whole = (length: number) => ({ start: 0, end: length })

/** The resources in the store. */
const names = Effect.flatMap(
  ChunkStore,
  (store) => Stream.runCollect(Stream.map(store.resources(Effect.fail), ({ resource }) => resource))
)

/** A case for stores with compact files; others pass it. */
const ifCompact = (check: ContractCase["check"]): ContractCase["check"] =>
  Effect.flatMap(ChunkStore, ({ writeCompact }) => writeCompact === undefined ? Effect.void : check)

/**
 * All cases. A store that passes them works under `Spillway.layerNoDeps`.
 *
 * @example
 * ```ts
 * import { Effect } from "effect"
 * import { ChunkStore } from "spillway"
 * import { ChunkStoreContract } from "spillway/testing"
 *
 * const checked = Effect.forEach(
 *   ChunkStoreContract.cases,
 *   ({ check }) => Effect.provide(check, ChunkStore.layerMemory)
 * )
 * ```
 *
 * @since 0.1.0
 * @category testing
 */
export const cases: ReadonlyArray<ContractCase> = [
  {
    title: "returns what was written",
    check: Effect.gen(function*() {
      const store = yield* ChunkStore
      yield* store.write(key, payload)
      assert.deepStrictEqual(Buffer.from(yield* store.read(key, 1000, whole(1000))), payload)
    })
  },
  {
    title: "keeps what was written when the memory of the payload is used again",
    check: Effect.gen(function*() {
      const store = yield* ChunkStore
      const reused = Buffer.from(payload)
      yield* store.write(key, reused)
      reused.fill(0)
      assert.deepStrictEqual(Buffer.from(yield* store.read(key, 1000, whole(1000))), payload)
    })
  },
  {
    title: "fails with ENOENT for a chunk that is not there, and removes one without complaint",
    check: Effect.gen(function*() {
      const store = yield* ChunkStore
      assert.strictEqual((yield* Effect.flip(store.read(key, 1000, whole(1000)))).errno, "ENOENT")
      yield* store.remove(key)
      yield* store.write(key, payload)
      yield* store.remove(key)
      assert.strictEqual((yield* Effect.flip(store.read(key, 1000, whole(1000)))).errno, "ENOENT")
    })
  },
  {
    title: "replaces a chunk as a whole",
    check: Effect.gen(function*() {
      const store = yield* ChunkStore
      yield* store.write(key, payload)
      yield* store.write(key, randomBytes(500, 2))
      assert.deepStrictEqual(Buffer.from(yield* store.read(key, 500, whole(500))), randomBytes(500, 2))
      includes(["SHORT_READ", "CORRUPT"], (yield* Effect.flip(store.read(key, 1000, whole(1000)))).errno)
    })
  },
  {
    title: "returns any range of a chunk",
    check: Effect.gen(function*() {
      const store = yield* ChunkStore
      yield* store.write(key, long)
      const ranges = [[0, 1], [PART - 1, PART + 1], [PART, 2 * PART], [LONG - 1, LONG], [3, LONG - 3]]
      for (const [start = 0, end = 0] of ranges) {
        const scratch = Buffer.alloc(LONG)
        assert.deepStrictEqual(Buffer.from(yield* store.read(key, LONG, { start, end })), long.subarray(start, end))
        const bytes = yield* store.read(key, LONG, { start, end }, scratch)
        assert.deepStrictEqual(Buffer.from(bytes), long.subarray(start, end))
      }
      assert.strictEqual(yield* store.verify(key), LONG)
    })
  },
  {
    title: "calls back with what a read returns or fails with",
    check: Effect.gen(function*() {
      const store = yield* ChunkStore
      const read = (length: number, start: number, end: number) =>
        Effect.map(
          Effect.callback<LentBytes, CacheError>((resume) => store.readShort(key, length, { start, end }, resume)),
          ({ bytes, release }) => {
            const copy = Buffer.from(bytes)
            release()
            return copy
          }
        )
      assert.strictEqual((yield* Effect.flip(read(LONG, 0, 1))).errno, "ENOENT")
      for (const seed of [1, 2]) {
        yield* store.write(key, randomBytes(LONG, seed))
        for (const [start = 0, end = 0] of [[0, 1], [PART - 1, PART + 1], [3, LONG - 3]]) {
          const bytes = yield* read(LONG, start, end)
          assert.deepStrictEqual(Buffer.from(bytes), randomBytes(LONG, seed).subarray(start, end))
        }
      }
      yield* store.write(key, payload)
      includes(["SHORT_READ", "CORRUPT"], (yield* Effect.flip(read(LONG, 0, LONG))).errno)
    })
  },
  {
    title: "returns the new bytes of a chunk that is replaced while its file is open",
    check: Effect.gen(function*() {
      const store = yield* ChunkStore
      for (const seed of [1, 2, 3]) {
        yield* store.write(key, randomBytes(LONG, seed))
        const bytes = yield* store.read(key, LONG, whole(LONG))
        assert.deepStrictEqual(Buffer.from(bytes), randomBytes(LONG, seed))
      }
    })
  },
  {
    title: "keeps the manifest of a resource, and lists its chunks",
    check: Effect.gen(function*() {
      const store = yield* ChunkStore
      assert.ok(Option.isNone(yield* store.readManifest(resource.id)))
      assert.deepStrictEqual(chunksIn(yield* store.contents(resource.id)), [])
      yield* store.writeManifest(resource.id, ManifestFormat.encode(representation))
      yield* store.write(key, payload)
      assert.deepStrictEqual(yield* store.readManifest(resource.id), Option.some(representation))
      const { manifest } = yield* store.contents(resource.id)
      assert.ok(manifest.bytes > 0 && !manifest.isRevoked)
      yield* store.revokeManifest(resource.id)
      yield* store.revokeManifest(resource.id)
      assert.ok(Option.isNone(yield* store.readManifest(resource.id)))
      assert.deepStrictEqual(yield* store.readRevoked(resource.id), Option.some(representation))
      assert.ok((yield* store.contents(resource.id)).manifest.isRevoked)
      yield* store.writeManifest(resource.id, ManifestFormat.encode(representation))
      assert.ok(Option.isNone(yield* store.readRevoked(resource.id)))
      assert.deepStrictEqual(yield* store.readManifest(resource.id), Option.some(representation))
      assert.deepStrictEqual(chunksIn(yield* store.contents(resource.id)), [key])
      assert.ok(Option.getOrThrow(yield* store.stat(key)).bytes >= payload.length)
      assert.deepStrictEqual(yield* names, [resource.id])
      yield* store.removeResource(resource.id, true)
      assert.ok(Option.isNone(yield* store.readManifest(resource.id)))
      assert.deepStrictEqual(chunksIn(yield* store.contents(resource.id)), [])
    })
  },
  {
    title: "examines what there is of a resource by its name",
    check: Effect.gen(function*() {
      const store = yield* ChunkStore
      yield* store.writeManifest(resource.id, ManifestFormat.encode(representation))
      for (const index of [7, 3, 5]) yield* store.write({ ...key, index }, index === 7 ? payload : long)
      yield* store.pin(resource.id, true)
      const [found] = yield* Stream.runCollect(store.resources(Effect.fail))
      assert.strictEqual(found!.resource, resource.id)
      const { chunks, compact, manifest, pinned } = yield* found!.examine(Effect.fail)
      assert.strictEqual(chunks.length, 1)
      includesAll(chunks[0], { representation: representation.id, indices: [3, 5, 7] })
      assert.ok(chunks[0]!.bytes >= LONG && chunks[0]!.lastBytes >= payload.length)
      assert.deepStrictEqual([compact, manifest.bytes > 0, pinned], [undefined, true, true])
    })
  },
  {
    title: "finds a resource and its variants, and no others, and removes one alone",
    check: Effect.gen(function*() {
      const store = yield* ChunkStore
      const variant = makeVariant(resource, ["accept"], { accept: "a" }).id
      const other = makeResource("http://origin.test/other.mp4").id
      for (const resource of [key.resource, variant, other]) yield* store.write({ ...key, resource }, payload)
      assert.deepStrictEqual(
        (yield* store.withPrefix(familyOf(variant))).toSorted(),
        [key.resource, variant].toSorted()
      )
      assert.deepStrictEqual((yield* names).toSorted(), [key.resource, variant, other].toSorted())
      yield* store.removeResource(variant, false)
      assert.deepStrictEqual(yield* store.withPrefix(familyOf(key.resource)), [key.resource])
      assert.deepStrictEqual((yield* names).toSorted(), [key.resource, other].toSorted())
      assert.deepStrictEqual((yield* store.contents(other)).keys, [{ ...key, resource: other }])
    })
  },
  {
    title: "examines a short body",
    check: ifCompact(Effect.gen(function*() {
      const store = yield* ChunkStore
      yield* store.writeCompact!(first, payload, ManifestFormat.encode(representation))
      const [found] = yield* Stream.runCollect(store.resources(Effect.fail))
      const { chunks, compact, pinned } = yield* found!.examine(Effect.fail)
      assert.deepStrictEqual([chunks, pinned], [[], false])
      includesAll(compact, { key: first, isRevoked: false })
    }))
  },
  {
    title: "keeps a short body and its manifest as one",
    check: ifCompact(Effect.gen(function*() {
      const store = yield* ChunkStore
      const all = { start: 0, end: payload.length }
      yield* store.writeCompact!(first, payload, ManifestFormat.encode(representation))
      assert.deepStrictEqual(Buffer.from(yield* store.read(first, payload.length, all)), payload)
      assert.strictEqual(yield* store.verify(first), payload.length)
      assert.deepStrictEqual(yield* store.readManifest(resource.id), Option.some(representation))
      assert.deepStrictEqual(chunksIn(yield* store.contents(resource.id)), [first])
      assert.deepStrictEqual(yield* store.withPrefix(familyOf(resource.id)), [resource.id])
      assert.deepStrictEqual(yield* names, [resource.id])
      const { compact, keys, manifest } = yield* store.contents(resource.id)
      assert.deepStrictEqual([keys, manifest.bytes], [[], 0])
      includesAll(compact, { key: first, isRevoked: false })
      assert.ok(Option.getOrThrow(yield* store.stat(first)).bytes >= payload.length)
      yield* store.touch(first)

      yield* store.revokeManifest(resource.id)
      yield* store.revokeManifest(resource.id)
      assert.ok(Option.isNone(yield* store.readManifest(resource.id)))
      assert.deepStrictEqual(yield* store.readRevoked(resource.id), Option.some(representation))
      includesAll((yield* store.contents(resource.id)).compact, { isRevoked: true })
      assert.deepStrictEqual(Buffer.from(yield* store.read(first, payload.length, all)), payload)
      yield* store.pin(resource.id, true)
      assert.ok((yield* store.contents(resource.id)).pinned)
      yield* store.pin(resource.id, false)

      yield* store.remove(first, true)
      assert.ok(Option.isNone(yield* store.readRevoked(resource.id)))
      assert.deepStrictEqual(yield* names, [])
      assert.strictEqual((yield* Effect.flip(store.read(first, payload.length, all))).errno, "ENOENT")
    }))
  },
  {
    title: "keeps an empty body and its manifest as one",
    check: ifCompact(Effect.gen(function*() {
      const store = yield* ChunkStore
      const empty = new Representation({ ...representation, size: 0 })
      yield* store.writeCompact!(first, new Uint8Array(), ManifestFormat.encode(empty))
      assert.strictEqual(yield* store.verify(first), 0)
      assert.deepStrictEqual(yield* store.readManifest(resource.id), Option.some(empty))
      includesAll((yield* store.contents(resource.id)).compact, { key: first, isRevoked: false })
    }))
  },
  {
    title: "replaces a short body by a longer one, and removes both with their resource",
    check: ifCompact(Effect.gen(function*() {
      const store = yield* ChunkStore
      const longer = new Representation({ ...representation, id: "1".repeat(32), size: 100_000, etag: "\"2\"" })
      yield* store.writeCompact!(first, payload, ManifestFormat.encode(representation))
      yield* store.writeManifest(resource.id, ManifestFormat.encode(longer))
      assert.deepStrictEqual(yield* store.readManifest(resource.id), Option.some(longer))
      isUndefined((yield* store.contents(resource.id)).compact)
      assert.strictEqual((yield* Effect.flip(store.verify(first))).errno, "ENOENT")
      yield* store.removeResource(resource.id, true)
      yield* store.writeCompact!(first, payload, ManifestFormat.encode(representation))
      yield* store.removeResource(resource.id, true)
      assert.ok(Option.isNone(yield* store.readManifest(resource.id)))
      assert.deepStrictEqual(chunksIn(yield* store.contents(resource.id)), [])
    }))
  },
  {
    title: "probes",
    check: Effect.gen(function*() {
      yield* (yield* ChunkStore).probe(8)
    })
  },
  {
    title: "keeps the last list of bans",
    check: Effect.gen(function*() {
      const store = yield* ChunkStore
      assert.ok(Option.isNone(yield* store.readBans))
      for (const text of ["one", "two"]) {
        yield* store.writeBans(Buffer.from(text))
        assert.deepStrictEqual(yield* store.readBans, Option.some(text))
      }
    })
  }
]
