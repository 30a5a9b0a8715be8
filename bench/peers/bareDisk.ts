import { closeSync, openSync, read, writeSync } from "node:fs"
import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { crc32 } from "node:zlib"
import { bytesOf, LARGE_PATH, makeContent, pieceAt } from "../content.ts"
import { announce, answerTo, notFound } from "../fileServer.ts"

/**
 * The least that Node can do for ranges from disk: it opens a file once, reads the parts that a range touches in one asynchronous call,
 * and verifies the checksum of each. The argument is a directory for the file.
 */

/** The size of a part, as in Spillway's chunks. */
const PART_BYTES = 16 * 1024

const size = bytesOf(LARGE_PATH)!
const content = makeContent()
const checksums = new Uint32Array(size / PART_BYTES)

const path = join(process.argv[2]!, "file")
const output = openSync(path, "w")
for (let part = 0; part < checksums.length; part++) {
  const piece = pieceAt(content, part * PART_BYTES, PART_BYTES)
  writeSync(output, piece)
  checksums[part] = crc32(piece)
}
closeSync(output)
const file = openSync(path, "r")

const isIntact = (parts: Buffer, first: number): boolean => {
  for (let at = 0; at < parts.length; at += PART_BYTES) {
    if (crc32(parts.subarray(at, at + PART_BYTES)) !== checksums[first + at / PART_BYTES]) return false
  }
  return true
}

const server = createServer((request, response) => {
  if (request.url !== LARGE_PATH) return notFound(response)
  const { end, headers, start, status } = answerTo(request, size)
  const first = Math.floor(start / PART_BYTES)
  const from = first * PART_BYTES
  const parts = Buffer.allocUnsafeSlow(Math.ceil(end / PART_BYTES) * PART_BYTES - from)
  read(file, parts, 0, parts.length, from, (error, count) => {
    if (error !== null || count < parts.length || !isIntact(parts, first)) return void response.destroy()
    response.writeHead(status, headers).end(parts.subarray(start - from, end - from))
  })
})

server.keepAliveTimeout = 60_000
server.listen(0, "127.0.0.1", () => announce((server.address() as AddressInfo).port))
