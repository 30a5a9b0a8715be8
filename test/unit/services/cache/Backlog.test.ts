import { assert, describe, it } from "@effect/vitest"
import { fromHead, type Representation } from "../../../../src/domain/Representation.ts"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import { ReusedBuffers } from "../../../../src/effects/ReusedBuffers.ts"
import { Backlog, type Job } from "../../../../src/services/cache/Backlog.ts"

const CHUNK = 1024 ** 2

/** The first chunk, or another one, of a file of so many bytes. */
const job = (url: string, size: number, index = 0, headers: Record<string, string> = {}): Job => {
  const resource = makeResource(`http://origin.test/${url}`)
  const head = { status: 200, headers: { "content-length": String(size), etag: "\"1\"", ...headers } }
  const representation = fromHead(resource, head, CHUNK) as Representation
  const key = { resource: resource.id, representation: representation.id, index }
  return { representation, key, payload: new Uint8Array(Math.min(CHUNK, size - index * CHUNK)) }
}

/** How many small files with so long a query and field are taken in before one is refused. */
const fill = (backlog: Backlog, size: number, query = 0, field = 0): number => {
  const fields = { "x-field": "f".repeat(field) }
  for (let i = 0;; i++) if (!backlog.add(job(`${i}?${"q".repeat(query)}`, size, 0, fields))) return i
}

describe("chunks that wait to be written", () => {
  it("are bounded in number where they are of small files, and in bytes, URLs and fields included", () => {
    assert.strictEqual(fill(new Backlog(CHUNK, new ReusedBuffers(1)), 3), 1024)
    const backlog = new Backlog(CHUNK, new ReusedBuffers(1))
    assert.isBelow(fill(backlog, 60_000, 8000, 16_000), 500)
    assert.isAtMost(backlog.bytes, 32 * 1024 ** 2)
  })

  it("are bounded in bytes where they are of other files", () => {
    const backlog = new Backlog(CHUNK, new ReusedBuffers(1))
    const count = fill(backlog, CHUNK)
    assert.isAtLeast(count, 100)
    assert.isBelow(count, 128)
    assert.isAtMost(backlog.bytes, 128 * 1024 ** 2)
  })

  it("have room for two chunks, however large these are", () => {
    const backlog = new Backlog(256 * CHUNK, new ReusedBuffers(1))
    const large = { ...job("film", 10 * CHUNK), payload: new Uint8Array(256 * CHUNK) }
    assert.isTrue(backlog.add(large))
    assert.isTrue(backlog.add({ ...large, key: { ...large.key, index: 1 } }))
  })

  it("of another file wait for as many of small files at most as there are before them in their own line", () => {
    const backlog = new Backlog(CHUNK, new ReusedBuffers(1))
    fill(backlog, 3)
    const film = [0, 1, 2].map((index) => job("film", 3 * CHUNK, index))
    for (const chunk of film) assert.isTrue(backlog.add(chunk))
    const taken = Array.from({ length: 6 }, () => backlog.take()!.payload.length)
    assert.deepStrictEqual(taken.toSorted((a, b) => a - b), [3, 3, 3, CHUNK, CHUNK, CHUNK])
  })

  it("of a long file's short end do not wait among those of small files", () => {
    const backlog = new Backlog(CHUNK, new ReusedBuffers(1))
    fill(backlog, 3)
    assert.isTrue(backlog.add(job("film", CHUNK + 10, 1)))
  })

  it("of small files go on while others wait", () => {
    const backlog = new Backlog(CHUNK, new ReusedBuffers(1))
    fill(backlog, CHUNK)
    backlog.add(job("subtitles", 300))
    assert.include([backlog.take(), backlog.take()].map((taken) => taken!.payload.length), 300)
  })

  it("count until they are done, and are found until then", () => {
    const backlog = new Backlog(CHUNK, new ReusedBuffers(1))
    const one = job("one", 1000)
    backlog.add(one)
    assert.strictEqual(backlog.take(), one)
    assert.isUndefined(backlog.take())
    assert.isFalse(backlog.isEmpty)
    assert.strictEqual(backlog.get(one.key), one.payload)
    backlog.done(one)
    assert.isTrue(backlog.isEmpty)
    assert.strictEqual(backlog.bytes, 0)
    assert.isUndefined(backlog.get(one.key))
  })
})
