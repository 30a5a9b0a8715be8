import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { join } from "node:path"
import { gzipSync } from "node:zlib"
import { ask } from "../http/TestProxy.ts"
import { story } from "../support/cacheStatus.ts"
import { decode } from "../support/codings.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { startProgram } from "../support/Program.ts"
import { makeRealOrigin, obstacle, type OriginServer, servers } from "../support/realOrigins.ts"

/** Real web servers that compress texts. */

const YESTERDAY = Math.floor(Date.now() / 1000) - 86_400

/** A server of `realOrigins`, with its configuration changed. */
const changed = (name: string, change: (configuration: string) => string): OriginServer => {
  const server = servers.find((server) => server.name === name)!
  return { ...server, configuration: (place) => change(server.configuration!(place)) }
}

const coding = [
  [
    "nginx, gzip",
    changed("nginx", (text) => text.replace("http {", "http { gzip on; gzip_types text/plain; gzip_proxied any;"))
  ],
  [
    "nginx, gzip_static",
    changed("nginx", (text) => text.replace("http {", "http { gzip_static on; gzip_vary on; gzip_proxied any;"))
  ],
  [
    "Apache, mod_deflate",
    changed("Apache", (text) =>
      `${text}
LoadModule filter_module modules/mod_filter.so
LoadModule deflate_module modules/mod_deflate.so
AddOutputFilterByType DEFLATE text/plain`)
  ]
] as const

const text = (version: number): Buffer => Buffer.from(`line of version ${version}\n`.repeat(700))

for (const [name, server] of coding) {
  const missing = obstacle(server)
  if (missing !== undefined) process.stderr.write(`skipped: ${name}: ${missing}\n`)

  describe.skipIf(missing !== undefined)(missing === undefined ? name : `${name} (${missing})`, () => {
    it.live(
      "compresses for viewers who accept that, once, and the file itself serves all others",
      () =>
        Effect.gen(function*() {
          const origin = yield* makeRealOrigin(server)
          const put = (version: number) => {
            origin.put("a.txt", text(version), YESTERDAY + version)
            if (name.endsWith("static")) origin.put("a.txt.gz", gzipSync(text(version)), YESTERDAY + version)
          }
          const { url } = yield* startProgram([
            origin.url,
            "--cache-dir",
            join(yield* temporaryDirectory, "cache"),
            "--min-free",
            "0"
          ])
          /** The coding of the response and what the cache did. Checks the text. */
          const view = (accepted: string | undefined, version: number, headers: Record<string, string> = {}) =>
            Effect.map(
              ask(url, "/a.txt", {
                headers: { ...headers, ...(accepted !== undefined && { "accept-encoding": accepted }) }
              }),
              (answer) => {
                assert.strictEqual(answer.status, 200)
                assert.isTrue(decode(answer.headers, answer.body, accepted ?? "").equals(text(version)))
                return `${answer.headers["content-encoding"] ?? "identity"} ${story(answer.headers)}`
              }
            )
          put(1)
          const browser = "gzip, deflate, br, zstd"
          assert.strictEqual(yield* view(browser, 1), "gzip spillway; fwd=uri-miss; stored")
          const cost = origin.received()
          assert.strictEqual(yield* view(browser, 1), "gzip spillway; hit")
          assert.strictEqual(yield* view("gzip", 1), "gzip spillway; hit")
          assert.strictEqual(origin.received(), cost)
          assert.match(yield* view(undefined, 1), /^identity spillway; fwd=vary-miss/)
          assert.strictEqual(yield* view("br", 1), "identity spillway; fwd=vary-miss; stored")
          assert.strictEqual(yield* view(undefined, 1), "identity spillway; hit")
          const part = yield* ask(url, "/a.txt", { headers: { "accept-encoding": browser, range: "bytes=100-199" } })
          assert.strictEqual(part.status, 206)
          assert.isTrue(part.body.equals(text(1).subarray(100, 200)))
          for (const accepted of [browser, undefined]) {
            const coded = accepted === undefined ? "identity" : "gzip"
            const confirmed = yield* view(accepted, 1, { "cache-control": "no-cache" })
            assert.match(confirmed, new RegExp(`^${coded} spillway; fwd=request; `))
          }
          put(2)
          for (const accepted of [browser, undefined]) {
            yield* view(accepted, 2, { "cache-control": "no-cache" })
            assert.match(
              yield* view(accepted, 2),
              accepted === undefined ? /^identity spillway; hit$/ : /^gzip spillway; hit$/
            )
          }
          yield* origin.stop
          assert.strictEqual(yield* view(browser, 2), "gzip spillway; hit")
          assert.strictEqual(yield* view(undefined, 2), "identity spillway; hit")
        }).pipe(Effect.scoped)
    )
  })
}
