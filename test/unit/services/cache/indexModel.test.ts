import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { type ChunkKey, keyText } from "../../../../src/domain/Chunk.ts"
import { make as makeResource } from "../../../../src/domain/Resource.ts"
import { CacheIndex } from "../../../../src/services/cache/CacheIndex.ts"
import { stack } from "../../../support/stack.ts"
import { randomBytes } from "../../../support/TestOrigin.ts"

const RESOURCES = ["a", "b"].map((name) => makeResource(`http://origin.test/${name}`).id)
const REPRESENTATIONS = ["r", "s"]
/** On both sides of the borders of words, and as far from each other as they may be. */
const INDICES = [0, 1, 30, 31, 32, 33, 63, 64, 100_000, 2 ** 32 - 2]

const bytesAt = (index: number): number => 4096 * (1 + (index % 3))

type Line = "aside" | "cold" | "condemned" | "pinned" | "superseded" | "warm"
const EVICTED: ReadonlyArray<Line> = ["condemned", "superseded", "cold", "warm"]

interface Known {
  readonly key: ChunkKey
  line: Line
  isCondemned: boolean
  /** The number of the step in which it entered its line. */
  since: number
}

/** What `CacheIndex` should do, slowly: chunks in a list. */
class Model {
  chunks: Array<Known> = []
  now = 0
  readonly pins = new Set<string>()

  find(key: ChunkKey): Known | undefined {
    return this.chunks.find((known) => keyText(known.key) === keyText(key))
  }

  move(known: Known | undefined, line: Line): void {
    if (known !== undefined) Object.assign(known, { line, since: this.now })
  }

  remove(key: ChunkKey): void {
    this.chunks = this.chunks.filter((known) => keyText(known.key) !== keyText(key))
  }

  enter(key: ChunkKey, line: Line): void {
    const known = this.find(key)
    if (known?.isCondemned === false) return
    this.remove(key)
    this.chunks.push({ key, line, isCondemned: false, since: this.now })
  }

  moveAll(line: Line, matches: (known: Known) => boolean): void {
    for (const known of this.chunks.filter(matches)) this.move(known, line)
  }

  /** The chunks of which one is evicted next: those that entered the first line before all others. */
  oldest(): ReadonlyArray<Known> {
    const first = EVICTED.map((line) => this.chunks.filter((known) => known.line === line)).find(({ length }) =>
      length > 0
    )
    const since = Math.min(...(first ?? []).map(({ since }) => since))
    return (first ?? []).filter((known) => known.since === since)
  }

  has(key: ChunkKey): boolean {
    return this.find(key)?.isCondemned === false
  }

  of(resource: string): ReadonlyArray<Known> {
    return this.chunks.filter(({ key }) => key.resource === resource)
  }
}

const isInUse = ({ line }: Known): boolean => line === "warm" || line === "cold" || line === "pinned"

type Step = (index: CacheIndex["Service"], model: Model, key: ChunkKey) => void

/** What may happen to a chunk or its resource. Which of several chunks that are moved at once comes first is not defined. */
const steps: Record<string, Step> = {
  add: (index, model, key) => {
    index.add(key, bytesAt(key.index))
    model.enter(key, model.pins.has(key.resource) ? "pinned" : "warm")
  },
  enter: (index, model, key) => {
    index.enter(key, bytesAt(key.index), "cold")
    model.enter(key, "cold")
  },
  touch: (index, model, key) => {
    index.touch(key)
    const known = model.find(key)
    if (known !== undefined && isInUse(known)) model.move(known, known.line === "pinned" ? "pinned" : "warm")
  },
  remove: (index, model, key) => {
    index.remove(key)
    model.remove(key)
  },
  condemn: (index, model, key) => {
    index.condemn(key)
    const known = model.find(key)
    if (known === undefined) return
    known.isCondemned = true
    if (known.line !== "aside") model.move(known, "condemned")
  },
  setAside: (index, model, key) => {
    index.setAside(key)
    model.move(model.find(key), "aside")
  },
  retryRemovals: (index, model) => {
    index.retryRemovals()
    model.moveAll("condemned", ({ line }) => line === "aside")
  },
  evict: (index, model) => {
    const key = index.oldest()
    if (key === undefined) return
    index.remove(key)
    model.remove(key)
  },
  supersede: (index, model, { representation, resource }) => {
    index.supersede(resource, representation)
    const isOther = ({ key }: Known) => key.resource === resource && key.representation !== representation
    model.moveAll("superseded", (known) => isOther(known) && isInUse(known))
  },
  pin: (index, model, { representation, resource }) => {
    index.pin(resource, representation)
    model.pins.add(resource)
    const isOf = ({ key }: Known) => key.resource === resource && key.representation === representation
    model.moveAll("pinned", (known) => isOf(known) && isInUse(known))
  },
  unpin: (index, model, { resource }) => {
    index.unpin(resource)
    model.pins.delete(resource)
    model.moveAll("warm", ({ key, line }) => key.resource === resource && line === "pinned")
  },
  forget: (index, model, { resource }) => {
    index.forget(resource)
    model.pins.delete(resource)
    for (const { key } of model.of(resource)) model.remove(key)
  }
}

const check = (index: CacheIndex["Service"], model: Model): void => {
  assert.strictEqual(index.count(), model.chunks.length)
  const oldest = index.oldest()
  const expected = model.oldest().map(({ key }) => keyText(key))
  if (oldest === undefined) assert.deepStrictEqual(expected, [])
  else assert.include(expected, keyText(oldest))
  assert.sameMembers([...index.keys()].map(keyText), model.chunks.map(({ key }) => keyText(key)))
  const resources = RESOURCES.filter((resource) => model.of(resource).length > 0)
  assert.sameMembers([...index.resources()], resources)
  assert.strictEqual(index.resourceCount(), resources.length)
  let unevictable = 0
  for (const { key, line } of model.chunks) if (line === "pinned" || line === "aside") unevictable += bytesAt(key.index)
  const folders = [...model.pins].reduce((sum, resource) => sum + index.bytesOf(resource), 0)
  const pinnedChunks = model.chunks.filter(({ key }) => model.pins.has(key.resource))
  const besideChunks = folders - pinnedChunks.reduce((sum, { key }) => sum + bytesAt(key.index), 0)
  assert.strictEqual(index.unevictableBytes(), unevictable + besideChunks)
  for (const resource of RESOURCES) {
    assert.sameMembers(
      index.chunksOf(resource).map(({ key }) => keyText(key)),
      model.of(resource).map((_) => keyText(_.key))
    )
    for (const representation of REPRESENTATIONS) {
      const known = model.of(resource).filter(({ key }) => key.representation === representation)
      assert.strictEqual(index.hasRepresentation(resource, representation), known.length > 0)
      const stretches = index.stretches(resource, representation)
      const indices = stretches.flatMap(([start, end]) => Array.from({ length: end - start }, (_, i) => start + i))
      const visible = known.filter(({ isCondemned }) => !isCondemned).map(({ key }) => key.index)
      assert.deepStrictEqual(indices, visible.toSorted((a, b) => a - b))
      assert.isTrue(stretches.every(([start], i) => i === 0 || stretches[i - 1]![1] < start))
      for (const start of INDICES) {
        const key = { resource, representation, index: start }
        assert.deepStrictEqual([index.has(key), index.holds(key)], [model.has(key), model.find(key) !== undefined])
        let missing = start
        while (model.has({ ...key, index: missing })) missing += 1
        assert.strictEqual(index.firstMissing(key), missing)
        assert.strictEqual(index.firstMissing(key, start + 1), Math.min(missing, start + 1))
      }
    }
  }
}

/** How many sequences of steps are taken, and how many steps each has. */
const SEEDS = 60
const STEPS = 50

describe("CacheIndex", () => {
  it.effect("does what a list of chunks would do, whatever happens in which order", () =>
    Effect.gen(function*() {
      const index = yield* CacheIndex
      const names = Object.keys(steps)
      const of = <A>(all: ReadonlyArray<A>, number: number): A => all[number % all.length]!
      for (let seed = 1; seed <= SEEDS; seed++) {
        const model = new Model()
        const random = randomBytes(4 * STEPS, seed)
        for (let at = 0; at < random.length; at += 4) {
          const [name, resource, representation, chunk] = random.subarray(at, at + 4) as unknown as [
            number,
            ...Array<number>
          ]
          const key = {
            resource: of(RESOURCES, resource!),
            representation: of(REPRESENTATIONS, representation!),
            index: of(INDICES, chunk!)
          }
          // Half of the steps add chunks, so that there are some.
          const step = name % 2 === 0 ? "add" : of(names, name >> 1)
          model.now += 1
          steps[step]!(index, model, key)
          check(index, model)
        }
        for (const resource of RESOURCES) index.forget(resource)
        assert.deepStrictEqual([index.count(), index.bytes(), index.nodes(), index.unevictableBytes()], [0, 0, 0, 0])
      }
    }).pipe(Effect.provide(stack("memory"))))
})
