import type { IncomingHttpHeaders } from "node:http"
import * as Zlib from "node:zlib"

/** The content codings that Node can apply, as a stock origin does. */
const codings = {
  zstd: [Zlib.zstdCompressSync, Zlib.zstdDecompressSync],
  br: [Zlib.brotliCompressSync, Zlib.brotliDecompressSync],
  gzip: [Zlib.gzipSync, Zlib.gunzipSync],
  deflate: [Zlib.deflateSync, Zlib.inflateSync]
} as const

export type Applied = keyof typeof codings

/** `bytes` in a coding, or as they are. */
export const encode = (coding: Applied | undefined, bytes: Buffer): Buffer =>
  coding === undefined ? bytes : codings[coding][0](bytes)

/**
 * The content of a response as a client gets it that accepts `accepted` by its own, literal reading of the field. Fails if the response has
 * a coding that such a client can't decode.
 */
export const decode = (headers: IncomingHttpHeaders, body: Buffer, accepted: string): Buffer => {
  const coding = headers["content-encoding"]
  if (coding === undefined) return body
  if (!accepted.split(/[\s,]+/).includes(coding)) throw new Error(`${coding} to a client that accepts "${accepted}"`)
  return codings[coding as Applied][1](body)
}
