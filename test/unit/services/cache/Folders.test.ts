import { assert, describe, it } from "@effect/vitest"
import { make as makeResource, variant } from "../../../../src/domain/Resource.ts"
import { Folders } from "../../../../src/services/cache/Folders.ts"
import { BLOCK_BYTES } from "../../../../src/services/disk/blocks.ts"

const [a, b, c] = ["ab1", "ab2", "cd3"].map((digits) => digits.padEnd(32, "0")) as [string, string, string]

const manifest = (bytes: number) => ({ bytes, isRevoked: false })

describe("what the cache takes besides chunks", () => {
  it("is a directory for each prefix and resource, and each manifest in blocks", () => {
    const folders = new Folders()
    for (const [resource, blocks] of [[a, 1], [b, 7], [c, 0]] as const) {
      const growth = folders.growth([{ resource, chunks: 1, manifest: blocks * BLOCK_BYTES }])
      const before = folders.bytes
      folders.setManifest(resource, manifest(blocks * BLOCK_BYTES))
      folders.addChunk(resource)
      assert.strictEqual(folders.bytes - before, growth)
    }
    assert.strictEqual(folders.bytes, (2 + 3 + 8) * BLOCK_BYTES)
    assert.deepStrictEqual([a, b, c].map((resource) => folders.bytesOf(resource) / BLOCK_BYTES), [2, 8, 2])
    folders.remove(a)
    assert.strictEqual(folders.bytesOf(b), 9 * BLOCK_BYTES)
    folders.remove(b)
    folders.remove(c)
    assert.strictEqual(folders.bytes, 0)
  })

  it("grows with the names in a directory", () => {
    const folders = new Folders()
    for (let i = 0; i < 10_000; i++) {
      const growth = folders.growth([{ resource: a, chunks: 1, manifest: 0 }])
      const before = folders.bytes
      folders.addChunk(a)
      assert.strictEqual(folders.bytes - before, growth)
    }
    assert.isAtLeast(folders.bytes, 10_000 * 43)
    for (let i = 0; i < 10_000; i++) folders.removeChunk(a)
    assert.strictEqual(folders.bytes, 2 * BLOCK_BYTES)
  })

  it("has room for a new manifest beside the old one until that is replaced", () => {
    const folders = new Folders()
    folders.setManifest(a, manifest(5 * BLOCK_BYTES))
    folders.addChunk(a)
    assert.strictEqual(folders.growth([{ resource: a, chunks: 1, manifest: 6 * BLOCK_BYTES }]), 6 * BLOCK_BYTES)
    folders.setManifest(a, manifest(6 * BLOCK_BYTES))
    assert.strictEqual(folders.bytesOf(a), 8 * BLOCK_BYTES)
  })

  it("can be given back where there is no chunk, and no pin", () => {
    const folders = new Folders()
    folders.setManifest(a, manifest(BLOCK_BYTES))
    assert.deepStrictEqual(folders.hollow(), [a])
    folders.addChunk(a)
    assert.deepStrictEqual(folders.hollow(), [])
    folders.pin(a)
    folders.removeChunk(a)
    assert.deepStrictEqual(folders.hollow(), [])
    assert.strictEqual(folders.pinnedBytes(), 3 * BLOCK_BYTES)
    folders.unpin(a)
    assert.deepStrictEqual(folders.hollow(), [a])
    folders.remove(a)
    assert.deepStrictEqual(folders.hollow(), [])
  })

  it("is found by family: a resource and its variants", () => {
    const folders = new Folders()
    const film = makeResource("http://origin.test/film")
    const variants = ["a", "b", "c"].map((value) => variant(film, ["x"], { x: value }).id)
    for (const id of [film.id, ...variants, a, c]) folders.addChunk(id)
    assert.sameMembers([...folders.family(film.id)], [film.id, ...variants])
    assert.sameMembers([...folders.family(variants[1]!)], [film.id, ...variants])
    assert.isTrue(folders.isAlone(c))
    assert.isFalse(folders.isAlone(film.id))
  })
})
