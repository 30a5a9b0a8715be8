import { createServer, type ServerResponse } from "node:http"
import type { AddressInfo } from "node:net"
import { bytesOf, makeContent, ORIGIN_RATE } from "./content.ts"
import { announce, answerTo, notFound } from "./fileServer.ts"

/** The origin, a process of its own: any `/cold/BYTES/NAME` and `/rated/BYTES/NAME`, and what it has sent at `/sent`. */

const SLICE_BYTES = 32 * 1024

const content = makeContent()
let sent = 0
let freeAt = 0

/** Sends at the rate that all rated responses share, and counts only what has left. */
const sendRated = (response: ServerResponse, body: Buffer): void => {
  let offset = 0
  const step = (): void => {
    while (offset < body.length && !response.destroyed) {
      const slice = body.subarray(offset, offset + SLICE_BYTES)
      offset += slice.length
      sent += slice.length
      const now = performance.now()
      freeAt = Math.max(freeAt, now) + slice.length / ORIGIN_RATE * 1000
      const flowing = response.write(slice)
      if (freeAt > now + 1) return void setTimeout(step, freeAt - now)
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
  response.writeHead(status, headers)
  const body = content.subarray(start, end)
  if (request.method === "HEAD") return void response.end()
  if (path.startsWith("/rated/")) return sendRated(response, body)
  sent += body.length
  response.end(body)
})

server.keepAliveTimeout = 60_000
server.listen(0, "127.0.0.1", () => announce((server.address() as AddressInfo).port))
