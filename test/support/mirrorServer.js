import { readFileSync } from "node:fs"
import { createServer } from "node:http"

/** Serves one file, at so many bytes per second, with an `ETag`: `node mirrorServer.js FILE ETAG RATE PORT`. Prints its port. */
const [file, etag, rate, port] = process.argv.slice(2)
const bytes = readFileSync(file)
const TICK_MILLIS = 10

createServer((request, response) => {
  const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "")
  const isPart = match !== null && (request.headers["if-range"] ?? etag) === etag
  const start = isPart ? Number(match[1]) : 0
  const end = isPart && match[2] !== "" ? Math.min(Number(match[2]) + 1, bytes.length) : bytes.length
  response.writeHead(isPart ? 206 : 200, {
    etag,
    "cache-control": "max-age=3600",
    "content-length": end - start,
    ...(isPart && { "content-range": `bytes ${start}-${end - 1}/${bytes.length}` })
  })
  if (request.method === "HEAD") return response.end()
  let offset = start
  const timer = setInterval(() => {
    const next = Math.min(end, offset + Math.ceil(Number(rate) * TICK_MILLIS / 1000))
    response.write(bytes.subarray(offset, next))
    offset = next
    if (offset < end) return
    clearInterval(timer)
    response.end()
  }, TICK_MILLIS)
  response.on("close", () => clearInterval(timer))
}).listen(Number(port), "127.0.0.1", function() {
  process.stdout.write(`${this.address().port}\n`)
})
