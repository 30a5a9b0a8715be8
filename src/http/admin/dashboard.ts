import { type HttpServerRequest, HttpServerResponse } from "effect/http"
import { createHash } from "node:crypto"
import { readdirSync, readFileSync } from "node:fs"
import { createRequire } from "node:module"
import { extname } from "node:path"
import { fileURLToPath } from "node:url"
import { packagePath } from "../../effects/packagePath.ts"

/**
 * The files of the dashboard: a page, its style and its scripts, and the library that draws its charts.
 */

interface File {
  readonly body: Uint8Array
  readonly contentType: string
}

const types: Readonly<Record<string, string>> = {
  ".css": "text/css; charset=utf-8",
  ".html": "text/html; charset=utf-8",
  ".js": "text/javascript; charset=utf-8",
  ".svg": "image/svg+xml"
}

const ofLibrary = ["uPlot.esm.js", "uPlot.min.css"]

/** As it is installed, or else beside the program in one piece, which may be alone. */
const pathOfLibrary = (name: string): string => {
  try {
    return createRequire(import.meta.url).resolve(`uplot/dist/${name}`)
  } catch {
    return fileURLToPath(new URL(name, import.meta.url))
  }
}

/** By their names below `/_spillway/`; the page itself has none. */
const readAll = (): ReadonlyMap<string, File> => {
  const files = new Map<string, File>()
  const read = (name: string, path: string) =>
    files.set(name, { body: readFileSync(path), contentType: types[extname(path)] ?? "application/octet-stream" })
  const directory = packagePath("assets/dashboard/")
  for (const name of readdirSync(directory)) read(name === "index.html" ? "" : `assets/${name}`, directory + name)
  for (const name of ofLibrary) read(`assets/${name}`, pathOfLibrary(name))
  return files
}

let kept: ReadonlyMap<string, File> | undefined

/**
 * Read once, before a disk fails: that is when they are checked. An application that has been bundled without them goes without.
 */
const allFiles = (): ReadonlyMap<string, File> => {
  try {
    kept ??= readAll()
  } catch {
    kept = new Map()
  }
  return kept
}

/** Nothing but what is here may run or be shown, and nobody else may put the page in a frame. */
const POLICY = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self' data:; " +
  "media-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

/** Fields of an answer that a browser shows under a content security policy. */
export const securityHeaders = (policy: string): Record<string, string> => ({
  "content-security-policy": policy,
  "cross-origin-opener-policy": "same-origin",
  "cross-origin-resource-policy": "same-origin",
  // Under a stricter one, browsers name no origin with a form.
  "referrer-policy": "same-origin",
  "x-content-type-options": "nosniff"
})

/** Answers a request for a path below `/_spillway/`, the empty one for the page; `undefined` if it isn't one of its files. */
type Dashboard = (
  path: string,
  request: HttpServerRequest.HttpServerRequest
) => HttpServerResponse.HttpServerResponse | undefined

/** `hasLogin`: one has to log in to see it, and can log out. `video`: the path of one that may be played in it. */
export const make = (
  { hasLogin, video }: { readonly hasLogin: boolean; readonly video: string | undefined }
): Dashboard => {
  const files = new Map(allFiles())
  const page = files.get("")
  if (page !== undefined) {
    const text = Buffer.from(page.body).toString()
      .replace("data-login=\"\"", `data-login="${hasLogin ? "token" : ""}"`)
      .replace("data-video=\"\"", `data-video="${video ?? ""}"`)
    files.set("", { ...page, body: Buffer.from(text) })
  }
  return (path, request) => {
    const file = files.get(path)
    if (file === undefined) return undefined
    if (request.method !== "GET" && request.method !== "HEAD") {
      return HttpServerResponse.empty({ status: 405, headers: { allow: "GET, HEAD" } })
    }
    const etag = `"${createHash("sha256").update(file.body).digest("base64url").slice(0, 22)}"`
    const headers = { ...securityHeaders(POLICY), "cache-control": "no-cache", etag }
    return request.headers["if-none-match"] === etag
      ? HttpServerResponse.empty({ status: 304, headers })
      : HttpServerResponse.uint8Array(file.body, { contentType: file.contentType, headers })
  }
}
