import { assert, beforeEach, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { vi } from "vitest"
import { parseRanges } from "../../src/domain/rfc/ByteRange.ts"
import { requestDirectives } from "../../src/domain/rfc/CacheControl.ts"
import { isFresh } from "../../src/domain/rfc/Freshness.ts"
import { evaluate } from "../../src/domain/rfc/Preconditions.ts"
import { maxAge, start } from "./Site.ts"

/** Counts the calls of `name` in a module, which works as before. */
const counting = vi.hoisted(() => (name: string) => async (load: () => Promise<Record<string, any>>) => {
  const module = await load()
  return { ...module, [name]: vi.fn(module[name]) }
})

vi.mock("../../src/domain/rfc/ByteRange.ts", counting("parseRanges"))
vi.mock("../../src/domain/rfc/CacheControl.ts", counting("requestDirectives"))
vi.mock("../../src/domain/rfc/Freshness.ts", counting("isFresh"))
vi.mock("../../src/domain/rfc/Preconditions.ts", counting("evaluate"))

const counted = { parseRanges, requestDirectives, isFresh, evaluate }

const counts = () =>
  Object.fromEntries(Object.entries(counted).map(([name, f]) => [name, vi.mocked(f).mock.calls.length]))

const once = { parseRanges: 1, requestDirectives: 1, isFresh: 1, evaluate: 1 }

const headers = { "range": "bytes=10-99", "cache-control": "max-age=30", "if-none-match": "\"other\"" }

describe("a request for a fresh file", () => {
  beforeEach(() => void vi.clearAllMocks())

  const ask = (memory: number) =>
    Effect.gen(function*() {
      const { ask, file } = yield* start({ cache: { memory } })
      file("/a", { headers: maxAge(60, "public") })
      yield* ask("/a")
      vi.clearAllMocks()
      const { lines, status } = yield* ask("/a", { headers })
      assert.strictEqual(status, 206)
      assert.include(lines.find(([name]) => name === "cache-status")?.[1], "spillway; hit")
    })

  it.effect("is parsed and judged once when memory has the bytes", () =>
    Effect.gen(function*() {
      yield* ask(1024 ** 2)
      assert.deepStrictEqual(counts(), once)
    }))

  it.effect("is parsed and judged once when the disk has the bytes", () =>
    Effect.gen(function*() {
      yield* ask(0)
      assert.deepStrictEqual(counts(), once)
    }))
})
