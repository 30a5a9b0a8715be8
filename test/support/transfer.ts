import type { OriginError } from "../../src/domain/OriginError.ts"
import { OriginTimeout } from "../../src/domain/OriginError.ts"
import { fromHead, type Representation } from "../../src/domain/Representation.ts"
import { make as makeResource } from "../../src/domain/Resource.ts"
import { ReusedBuffers } from "../../src/effects/ReusedBuffers.ts"
import { HandedPieces } from "../../src/services/cache/ChunkMemory.ts"
import { plainSource, type Source } from "../../src/services/origin/askOrigin.ts"
import { Download } from "../../src/services/transfer/Download.ts"
import { Fetch, type FetchOptions } from "../../src/services/transfer/Fetch.ts"
import { Reader } from "../../src/services/transfer/Reader.ts"

/** Fetches and readers of a large file, without an origin. */

export const CHUNK = 64 * 1024
export const SIZE = 1_000_000_000
const resource = makeResource("http://origin.test/film.mp4")
const head = { status: 206, headers: { "etag": "\"1\"", "content-range": `bytes 0-9/${SIZE}` } }
const representation = fromHead(resource, head, CHUNK) as Representation

export const timeout: OriginError = new OriginTimeout({ url: "http://origin.test/", phase: "header" })

const memory = new ReusedBuffers(1)

export const newDownload = () => new Download(representation, memory)

export const newFetch = (
  download: Download,
  position: number,
  { source = plainSource(resource), ...options }: FetchOptions & { readonly source?: Source } = {}
): Fetch => {
  const fetch = new Fetch(download, source, { start: position, end: SIZE }, options)
  download.fetches.add(fetch)
  return fetch
}

let sources = 0

/** A source with fields of its own. */
export const newSource = (): Source => ({
  ...plainSource(resource),
  fields: { "user-agent": `viewer ${++sources}` }
})

/** A reader from `offset` to the end, which neither finds cached chunks nor starts fetches. */
export const newReader = (download: Download, offset: number, source: Source = newSource()): Reader =>
  new Reader(download, source, { start: offset, end: SIZE }, {
    hasChunk: () => false,
    startFetch: () => {
      throw new Error("no fetch to start")
    }
  }, new HandedPieces(memory, SIZE, false))
