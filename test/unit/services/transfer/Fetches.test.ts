import { assert, describe, it } from "@effect/vitest"
import type { Fetch } from "../../../../src/services/transfer/Fetch.ts"
import { CHUNK, newDownload, newFetch } from "../../../support/transfer.ts"

describe("Fetches", () => {
  it("finds the fetches that approach a byte without looking at the others", () => {
    const download = newDownload()
    const { fetches } = download
    let looks = 0
    const counted = (fetch: Fetch): Fetch => {
      let { position } = fetch
      return Object.defineProperty(fetch, "position", {
        get: () => {
          looks++
          return position
        },
        set: (value: number) => {
          position = value
        }
      })
    }
    const all = Array.from({ length: 1000 }, (_, i) => newFetch(download, i * 10 * CHUNK))
    const fetch = all[500]!
    for (const each of all) counted(each)
    assert.deepStrictEqual(fetches.approaching(fetch.position + 100), [fetch])
    assert.deepStrictEqual(fetches.approaching(fetch.position + CHUNK), [fetch])
    assert.deepStrictEqual(fetches.approaching(fetch.position + CHUNK + 1), [])
    looks = 0
    fetches.approaching(5000 * CHUNK + 100)
    assert.isAtMost(looks, 4)
    fetches.move(fetch, fetch.position + 3 * CHUNK)
    assert.deepStrictEqual(fetches.approaching(5003 * CHUNK), [fetch])
    fetches.move(fetch, 0, true)
    assert.deepStrictEqual(fetches.approaching(9_999 * CHUNK).at(-1), fetch)
    for (const each of all) fetches.remove(each)
    assert.strictEqual(fetches.size, 0)
    assert.deepStrictEqual(fetches.approaching(5003 * CHUNK), [])
  })
})
