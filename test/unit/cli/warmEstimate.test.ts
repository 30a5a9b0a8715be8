import { assert, describe, it } from "@effect/vitest"
import { secondsLeft } from "../../../src/cli/warmEstimate.ts"
import type { WarmJob } from "../../../src/http/admin/api/model.ts"

const MB = 1_000_000

const job = (size: number | undefined, bytes: number, cachedBytes = 0): WarmJob => ({
  id: "1",
  url: "https://media.example.org/a",
  state: "running",
  ...(size !== undefined && { size }),
  bytes,
  cachedBytes,
  bytesPerSecond: 0
})

describe("the time left of warm", () => {
  it("is unknown until something was fetched", () => {
    assert.isUndefined(
      secondsLeft({ files: 0, fetched: 0 }, [job(undefined, 0), job(200 * MB, 100 * MB, 100 * MB)], 2, 5)
    )
  })

  it("counts only what is fetched in this run, so a file that was half cached takes as long as its other half", () => {
    // 20 MB in 2 s, and 80 MB to go.
    assert.strictEqual(secondsLeft({ files: 0, fetched: 0 }, [job(200 * MB, 120 * MB, 100 * MB)], 1, 2), 8)
  })

  it("weighs files by their bytes", () => {
    // Two small files are done, and a large one has begun.
    assert.strictEqual(secondsLeft({ files: 2, fetched: 2 * MB }, [job(160 * MB, 8 * MB)], 3, 1), 15.2)
  })

  it("takes files that have not begun for as long as the others", () => {
    assert.strictEqual(secondsLeft({ files: 1, fetched: 10 * MB }, [job(10 * MB, 10 * MB)], 4, 2), 2)
    assert.strictEqual(secondsLeft({ files: 1, fetched: 10 * MB }, [job(10 * MB, 0)], 4, 1), 3)
  })

  it("takes files that a playlist names, and that have not begun, for as long as the others", () => {
    // 2 of 10 files with 20 MB in 2 s.
    const playlist = { ...job(undefined, 20 * MB), files: { total: 10, done: 1, failed: 1 } }
    assert.strictEqual(secondsLeft({ files: 0, fetched: 0 }, [playlist], 10, 2), 8)
  })

  it("is nothing at the end", () => {
    assert.strictEqual(secondsLeft({ files: 4, fetched: 10 * MB }, [], 4, 2), 0)
  })
})
