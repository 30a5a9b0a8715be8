import { assert, describe, it } from "@effect/vitest"
import { chooseFetch } from "../../../../src/services/transfer/chooseFetch.ts"
import type { Fetch } from "../../../../src/services/transfer/Fetch.ts"
import { CHUNK, newDownload, newFetch, newReader, timeout } from "../../../support/transfer.ts"

const fail = (fetch: Fetch) => {
  fetch.download.fetches.remove(fetch)
  fetch.finish(timeout)
}

describe("chooseFetch", () => {
  it("gives a reader the failure of its own fetch, unless another fetch comes to its byte", () => {
    const download = newDownload()
    const reader = newReader(download, CHUNK)
    const fetch = newFetch(download, CHUNK, { source: reader.source })
    fetch.join(reader)
    fail(fetch)
    const other = newFetch(download, CHUNK)
    assert.strictEqual(chooseFetch(reader), other)
    other.join(reader)
    fail(other)
    assert.deepStrictEqual(chooseFetch(reader), { failure: timeout })
  })

  it("lets readers that others' fetches have failed start their own, twice as many after each failure", () => {
    const download = newDownload()
    const reader = newReader(download, CHUNK)
    for (const active of [1, 1, 2, 4, 8, 8, 8]) {
      const fetches: Array<Fetch> = []
      while (fetches.length < active) {
        if (reader.foreignFailures > 0 || fetches.length > 0) assert.isUndefined(chooseFetch(reader))
        fetches.push(newFetch(download, CHUNK))
      }
      const [chosen] = fetches
      assert.strictEqual(chooseFetch(reader), chosen)
      chosen!.join(reader)
      for (const fetch of fetches) fail(fetch)
    }
    assert.isUndefined(chooseFetch(reader))
    assert.strictEqual(reader.foreignFailures, 7)
  })

  it("has readers with other sources leave a fetch that retries", () => {
    const download = newDownload()
    const [own, other] = [newReader(download, 0), newReader(download, 0)]
    const fetch = newFetch(download, 0, { source: own.source })
    fetch.join(own)
    fetch.join(other)
    fetch.retry(timeout)
    assert.strictEqual(chooseFetch(own), fetch)
    assert.isUndefined(chooseFetch(other))
    assert.strictEqual(other.foreignFailures, 1)
    assert.isUndefined(other.fetch)
  })

  it("counts failures since the reader's last byte", () => {
    const download = newDownload()
    const reader = newReader(download, CHUNK)
    const fetch = newFetch(download, CHUNK, { source: reader.source })
    fetch.join(reader)
    fail(fetch)
    assert.deepStrictEqual(chooseFetch(reader), { failure: timeout })
    reader.advance(1)
    assert.isUndefined(chooseFetch(reader))
  })
})
