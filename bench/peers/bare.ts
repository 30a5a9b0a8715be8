import { createServer } from "node:http"
import type { AddressInfo } from "node:net"
import { bytesOf, makeContent } from "../content.ts"
import { announce, answerTo, notFound } from "../fileServer.ts"

/** The least that Node can do for the same answers: everything from memory, no cache, no proxy. */

const content = makeContent()

const server = createServer((request, response) => {
  const size = bytesOf(request.url ?? "/")
  if (size === undefined) return notFound(response)
  const { end, headers, start, status } = answerTo(request, size)
  response.writeHead(status, headers).end(content.subarray(start, end))
})

server.keepAliveTimeout = 60_000
server.listen(0, "127.0.0.1", () => announce((server.address() as AddressInfo).port))
