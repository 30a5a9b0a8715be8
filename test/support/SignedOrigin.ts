import { Effect, type Scope } from "effect"
import type { IncomingHttpHeaders } from "node:http"
import { makeTestOrigin } from "./TestOrigin.ts"

/** A request as a `SignedOrigin` saw it. */
export interface SignedRequest {
  readonly signature: string | null
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly status: number
  /** The first byte that was asked for. */
  readonly from: number
}

/** A `TestOrigin` that serves its one file only for a valid signature in the query. */
export interface SignedOrigin {
  readonly url: string
  readonly requests: Array<SignedRequest>
  /** Makes up a signature that is valid until it is revoked. */
  readonly sign: () => string
  readonly revoke: (signature: string) => void
}

export interface SignedOptions {
  readonly bytes: Buffer
  /** The answer to a signature that is not valid. */
  readonly refusal: 401 | 403
  /** The first answer ends before this byte, and its signature is no longer valid then. */
  readonly expiresAt?: number
}

/** Starts it on a free port of the loopback interface; it ends with the scope. */
export const makeSignedOrigin = (
  { bytes, expiresAt, refusal }: SignedOptions
): Effect.Effect<SignedOrigin, never, Scope.Scope> =>
  Effect.gen(function*() {
    const valid = new Set<string>()
    const requests: Array<SignedRequest> = []
    let signed = 0
    let isFirst = true
    const origin = yield* makeTestOrigin
    origin.handlers.set("*", (request, response) => {
      const { pathname, searchParams } = new URL(request.url!, "http://origin")
      const signature = searchParams.get("sig")
      const [, first, last] = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "") ?? []
      const from = Number(first ?? 0)
      const to = last === undefined || last === "" ? bytes.length : Math.min(Number(last) + 1, bytes.length)
      const status = !valid.has(signature ?? "") ? refusal : first === undefined ? 200 : 206
      requests.push({ signature, path: pathname, headers: request.headers, status, from })
      if (status === refusal) return void response.writeHead(status, { "cache-control": "no-store" }).end("signature\n")
      response.writeHead(status, {
        "accept-ranges": "bytes",
        "cache-control": "max-age=3600",
        "content-length": String(to - from),
        "etag": "\"film\"",
        ...(status === 206 && { "content-range": `bytes ${from}-${to - 1}/${bytes.length}` })
      })
      if (expiresAt === undefined || !isFirst) return void response.end(bytes.subarray(from, to))
      isFirst = false
      response.write(bytes.subarray(from, expiresAt), () => {
        valid.delete(signature!)
        request.socket.end()
      })
    })
    return {
      url: origin.url,
      requests,
      sign: () => {
        const signature = `signature-${signed += 1}`
        valid.add(signature)
        return signature
      },
      revoke: (signature) => void valid.delete(signature)
    }
  })
