import { createServer, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { bytesOf, makeContent, ORIGIN_RATE, PACES, pieceAt } from "./content.ts"
import { announce, answerTo, notFound } from "./fileServer.ts"

/** The origin, a process of its own: the files that `freshPath` names, and how many bytes it has sent at `/sent`. */

const SLICE_BYTES = 32 * 1024

const content = makeContent()
let sent = 0

/** A rate, in bytes per second, and until when it is taken. */
interface Rate {
  readonly bytes: number
  freeAt: number
}

const shared: Rate = { bytes: ORIGIN_RATE, freeAt: 0 }

/** Sends at a rate, which other responses may share, and counts only what has left. */
const sendRated = (response: ServerResponse, start: number, end: number, rate: Rate): void => {
  let offset = start
  const step = (): void => {
    while (offset < end && !response.destroyed) {
      const slice = pieceAt(content, offset, Math.min(SLICE_BYTES, end - offset))
      offset += slice.length
      sent += slice.length
      const now = performance.now()
      rate.freeAt = Math.max(rate.freeAt, now) + slice.length / rate.bytes * 1000
      const flowing = response.write(slice)
      if (rate.freeAt > now + 1) return void setTimeout(step, rate.freeAt - now)
      if (!flowing) return void response.once("drain", step)
    }
    response.end()
  }
  step()
}

/** Sends as fast as can be. */
const send = (response: ServerResponse, start: number, end: number): void => {
  let offset = start
  const step = (): void => {
    while (offset < end && !response.destroyed) {
      const piece = pieceAt(content, offset, end - offset)
      offset += piece.length
      sent += piece.length
      if (offset === end) return void response.end(piece)
      if (!response.write(piece)) return void response.once("drain", step)
    }
    response.end()
  }
  step()
}

const server = createServer((request, response) => {
  const path = request.url ?? "/"
  if (path === "/sent") return void response.end(String(sent))
  const size = bytesOf(path)
  if (size === undefined) return notFound(response)
  const { end, headers, start, status } = answerTo(request, size)
  if (request.headers["if-none-match"] === headers["etag"]) return void response.writeHead(304, headers).end()
  response.writeHead(status, headers)
  if (request.method === "HEAD") return void response.end()
  if (path.startsWith("/rated/")) return sendRated(response, start, end, shared)
  const pace = PACES[path.split("/")[1] as keyof typeof PACES]
  if (pace === undefined) return send(response, start, end)
  sendRated(response, start, end, { bytes: pace, freeAt: 0 })
})

server.keepAliveTimeout = 60_000
server.listen(0, "127.0.0.1", () => announce((server.address() as AddressInfo).port))
