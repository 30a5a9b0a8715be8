import { NodeHttpServer } from "@effect/platform-node"
import { Effect, FileSystem, Layer, Stream } from "effect"
import { HttpRouter, HttpServer, HttpServerRequest, HttpServerResponse } from "effect/http"
import { createServer } from "node:http"
import { type ByteRange, formatContentRange, formatUnsatisfied, parseRange, resolve } from "../domain/rfc/ByteRange.ts"
import { packagePath } from "../effects/packagePath.ts"

/**
 * A small origin for trying Spillway: a page, a short video, and a larger generated file.
 */

/** The size of `large.bin`, in bytes. */
const LARGE_BYTES = 64 * 1024 ** 2

/** The path of the video. */
export const VIDEO = "/sample.mp4"

const BLOCK_BYTES = 64 * 1024

/** The bytes of `large.bin` in `range`: pseudo-random, and the same every time. */
const generate = ({ end, start }: ByteRange): Stream.Stream<Uint8Array> =>
  Stream.unfold(start, (offset) =>
    Effect.sync(() => {
      if (offset >= end) return undefined
      const block = Math.floor(offset / BLOCK_BYTES)
      const bytes = blockOf(block).subarray(offset - block * BLOCK_BYTES, end - block * BLOCK_BYTES)
      return [bytes, offset + bytes.length] as const
    }))

const blockOf = (index: number): Uint8Array => {
  const words = new Uint32Array(BLOCK_BYTES / 4)
  let state = (index + 1) * 0x9e3779b9 | 0 || 1
  for (let i = 0; i < words.length; i++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    words[i] = state
  }
  return new Uint8Array(words.buffer)
}

interface SampleFile {
  readonly size: number
  readonly contentType: string
  readonly etag: string
  readonly read: (range: ByteRange) => Stream.Stream<Uint8Array>
}

const respond = (file: SampleFile) =>
  Effect.map(HttpServerRequest.HttpServerRequest, (request) => {
    const headers = { "accept-ranges": "bytes", "cache-control": "public, max-age=3600", "etag": file.etag }
    if (request.headers["if-none-match"] === file.etag) return HttpServerResponse.empty({ status: 304, headers })
    const spec = request.method === "GET" ? parseRange(request.headers["range"]) : undefined
    const range = spec === undefined ? { start: 0, end: file.size } : resolve(spec, file.size)
    if (range === undefined) {
      return HttpServerResponse.empty({ status: 416, headers: { "content-range": formatUnsatisfied(file.size) } })
    }
    return HttpServerResponse.stream(file.read(range), {
      status: spec === undefined ? 200 : 206,
      contentType: file.contentType,
      contentLength: range.end - range.start,
      headers: spec === undefined ? headers : { ...headers, "content-range": formatContentRange(range, file.size) }
    })
  })

const page = `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>Spillway sample</title>
<link rel="icon" href="data:,">
<style>
  :root { color-scheme: light dark }
  body { font: 1rem/1.5 system-ui; max-width: 44rem; margin: 2rem auto; padding: 0 1rem }
  video { width: 100%; background: #000 }
</style>
<h1>Spillway sample</h1>
<video src="${VIDEO}" controls></video>
<p>This page, the video and <a href="/large.bin">large.bin</a> (64 MiB) come through Spillway. Reload or seek: parts that were
fetched before come from the cache, as the <code>Cache-Status</code> field of each response says. The
<a href="/_spillway/">dashboard</a> shows what Spillway does.</p>
`

/** Starts the sample origin on a free port of the loopback interface. It ends with the scope. */
export const start = Effect.gen(function*() {
  const fs = yield* FileSystem.FileSystem
  const video = yield* Effect.orDie(fs.readFile(packagePath("assets/sample.mp4")))
  const routes = Layer.mergeAll(
    HttpRouter.add(
      "GET",
      "/",
      HttpServerResponse.text(page, {
        contentType: "text/html; charset=utf-8",
        headers: { "cache-control": "max-age=60", "etag": "\"sample-page-4\"" }
      })
    ),
    HttpRouter.add(
      "GET",
      VIDEO,
      respond({
        size: video.length,
        contentType: "video/mp4",
        etag: "\"sample-video-1\"",
        read: ({ end, start }) => Stream.make(video.subarray(start, end))
      })
    ),
    HttpRouter.add(
      "GET",
      "/large.bin",
      respond({
        size: LARGE_BYTES,
        contentType: "application/octet-stream",
        etag: "\"sample-large-1\"",
        read: generate
      })
    )
  )
  const services = yield* HttpRouter.serve(routes, { disableLogger: true, disableListenLog: true }).pipe(
    Layer.provideMerge(
      NodeHttpServer.layer(createServer, { port: 0, host: "127.0.0.1", disablePreemptiveShutdown: true })
    ),
    Layer.build,
    Effect.orDie
  )
  return new URL(yield* Effect.provideContext(HttpServer.addressFormattedWith(Effect.succeed), services))
})

/** Instructions for a Spillway that listens at `address` in front of the sample origin. */
export const instructions = (address: string): string =>
  `  open   ${address}/            a page with a video that plays and seeks through the cache
  watch  ${address}/_spillway/   the dashboard
  try    curl -s -o /dev/null -D - ${address}/large.bin
         twice: the first response says "Cache-Status: spillway; fwd=uri-miss; stored", the second "spillway; hit"`
