import type { IncomingMessage, ServerResponse } from "node:http"

/** The part of a file that a request asks for, with the status and fields of its answer. */
export interface Answer {
  readonly status: 200 | 206
  readonly headers: Record<string, string | number>
  readonly start: number
  readonly end: number
}

/** Reads the request's range of a file of `size` bytes; only what clients and caches here send is understood. */
export const answerTo = (request: IncomingMessage, size: number): Answer => {
  const match = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "")
  const start = Math.min(Number(match?.[1] ?? 0), size)
  const end = match?.[2] ? Math.min(Number(match[2]) + 1, size) : size
  const headers: Answer["headers"] = {
    "content-type": "video/mp4",
    "content-length": end - start,
    "accept-ranges": "bytes",
    "cache-control": "max-age=3600",
    etag: `"${size}"`
  }
  if (match === null) return { status: 200, headers, start, end }
  headers["content-range"] = `bytes ${start}-${end - 1}/${size}`
  return { status: 206, headers, start, end }
}

export const notFound = (response: ServerResponse): void => {
  response.writeHead(404, { "content-length": 0 }).end()
}

/** The line that tells the parent process where this one listens. */
export const announce = (port: number): boolean => process.stdout.write(`listening on http://127.0.0.1:${port}\n`)
