import { createServer, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { bytesOf, makeContent, ORIGIN_RATE, PACE } from "./content.ts"
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
const sendRated = (response: ServerResponse, body: Buffer, rate: Rate): void => {
  let offset = 0
  const step = (): void => {
    while (offset < body.length && !response.destroyed) {
      const slice = body.subarray(offset, offset + SLICE_BYTES)
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

const server = createServer((request, response) => {
  const path = request.url ?? "/"
  if (path === "/sent") return void response.end(String(sent))
  const size = bytesOf(path)
  if (size === undefined) return notFound(response)
  const { end, headers, start, status } = answerTo(request, size)
  if (request.headers["if-none-match"] === headers["etag"]) return void response.writeHead(304, headers).end()
  response.writeHead(status, headers)
  const body = content.subarray(start, end)
  if (request.method === "HEAD") return void response.end()
  if (path.startsWith("/rated/")) return sendRated(response, body, shared)
  if (path.startsWith("/paced/")) return sendRated(response, body, { bytes: PACE, freeAt: 0 })
  sent += body.length
  response.end(body)
})

server.keepAliveTimeout = 60_000
server.listen(0, "127.0.0.1", () => announce((server.address() as AddressInfo).port))
