import type { ServerResponse } from "node:http"
import { randomBytes, type TestOrigin } from "../../support/TestOrigin.ts"

/** What the origin has, and how much can be foretold of Spillway's answer. */
export interface KnownFile {
  readonly path: string
  readonly bytes: Buffer
  readonly etag?: string
  readonly lastModified?: string
  readonly headers?: Record<string, string>
  readonly ranges?: boolean
  /**
   * `cached`: Spillway answers by itself, so that ranges and conditions are judged exactly. `passed`: the origin answers, and
   * only what comes is judged. `cut`: the origin breaks off half-way.
   */
  readonly kind: "cached" | "passed" | "cut"
}

export const LAST_MODIFIED = "Tue, 05 Mar 2024 10:20:30 GMT"

const fresh = { "cache-control": "max-age=3600" }

/** By size alone it can be told which file bytes are of: no two are equally long. */
export const files: ReadonlyArray<KnownFile> = [
  {
    path: "/a",
    bytes: randomBytes(100_003, 1),
    etag: "\"a-1\"",
    lastModified: LAST_MODIFIED,
    headers: fresh,
    kind: "cached"
  },
  { path: "/b", bytes: randomBytes(300_007, 2), etag: "\"b\"", kind: "cached" },
  { path: "/dated", bytes: randomBytes(70_001, 3), lastModified: LAST_MODIFIED, headers: fresh, kind: "cached" },
  { path: "/one", bytes: randomBytes(1, 4), etag: "\"one\"", headers: fresh, kind: "cached" },
  { path: "/empty", bytes: Buffer.alloc(0), etag: "\"\"", headers: fresh, kind: "cached" },
  { path: "/chunk", bytes: randomBytes(65_536, 5), etag: "\"chunk\"", headers: fresh, kind: "cached" },
  { path: "/noranges", bytes: randomBytes(150_011, 6), etag: "\"n\"", headers: fresh, ranges: false, kind: "cached" },
  { path: "/weak", bytes: randomBytes(5_001, 7), etag: "W/\"w\"", kind: "passed" },
  {
    path: "/nostore",
    bytes: randomBytes(40_009, 8),
    etag: "\"s\"",
    headers: { "cache-control": "no-store" },
    kind: "passed"
  },
  {
    path: "/private",
    bytes: randomBytes(3_001, 9),
    etag: "\"p\"",
    headers: { "cache-control": "private", "set-cookie": "a=b; HttpOnly" },
    kind: "passed"
  },
  { path: "/chunked", bytes: randomBytes(20_011, 10), kind: "passed" },
  { path: "/late", bytes: randomBytes(1_009, 11), etag: "\"late\"", ranges: false, kind: "cached" },
  { path: "/cut", bytes: randomBytes(90_017, 12), etag: "\"cut\"", kind: "cut" },
  { path: "/smuggled", bytes: randomBytes(777, 13), etag: "\"smuggled\"", kind: "cached" }
]

/** What is answered with another status than 200. */
export const others: ReadonlyMap<string, number> = new Map([
  ["/redirect", 302],
  ["/nothing", 204],
  ["/error", 500],
  ["/gone", 410],
  ["/missing", 404]
])

/** Each file is there under several queries, so that some are cached when they are asked for, and some not. */
export const VARIANTS = 12

export const fileOfSize = (size: number): KnownFile | undefined => files.find(({ bytes }) => bytes.length === size)

/** The file that a path and query name. */
export const fileAt = (target: string): KnownFile | undefined =>
  files.find(({ path }) => path === target.split("?", 1)[0])

const handlers: Record<string, (file: KnownFile, response: ServerResponse) => void> = {
  "/chunked": ({ bytes }, response) => {
    response.writeHead(200, { "content-type": "video/mp4" })
    response.write(bytes.subarray(0, 7000))
    response.end(bytes.subarray(7000))
  },
  "/late": ({ bytes, etag }, response) => {
    const headers = { "content-length": String(bytes.length), etag: etag!, "cache-control": "max-age=3600" }
    setTimeout(() => response.writeHead(200, headers).end(bytes), 25)
  },
  "/cut": ({ bytes, etag }, response) => {
    response.writeHead(200, { "content-length": String(bytes.length), etag: etag! })
    response.write(bytes.subarray(0, 45_000), () => response.destroy())
  }
}

/** Gives `origin` all of it. */
export const fill = (origin: TestOrigin): void => {
  for (const file of files) {
    for (let variant = -1; variant < VARIANTS; variant++) {
      const target = variant < 0 ? file.path : `${file.path}?${variant}`
      const handler = handlers[file.path]
      if (handler !== undefined) origin.handlers.set(target, (_, response) => handler(file, response))
      else origin.files.set(target, { ...file, interim: variant % 3 === 0 })
    }
  }
  for (const [path, status] of others) {
    // Elsewhere: one that leads to the origin itself is followed.
    const headers = { location: "https://elsewhere.example/a", "content-type": "text/plain" }
    origin.handlers.set(
      path,
      (_, response) => void response.writeHead(status, headers).end(status === 204 ? "" : "no\n")
    )
  }
}
