import { assert, describe, it } from "@effect/vitest"
import { Effect, type Scope } from "effect"
import * as Fs from "node:fs"
import type { ServerResponse } from "node:http"
import { createServer } from "node:https"
import type { AddressInfo } from "node:net"
import { join } from "node:path"
import { story } from "../support/cacheStatus.ts"
import { authority, forOther, issued } from "../support/certificates.ts"
import { temporaryDirectory, totalText } from "../support/disks.ts"
import { eventuallyHit, runProgram, startProgram, view } from "../support/Program.ts"
import { BUCKET, makeS3Server, REGION } from "../support/s3Server.ts"
import { makeTestOrigin, MiB, randomBytes, sha256 } from "../support/TestOrigin.ts"

const SECRET = "secret-e51d"

const FILM = randomBytes(2 * MiB, 1)

/** An HTTPS server with a file, for clients with a certificate of the authority only. */
const makeSecureServer: Effect.Effect<string, never, Scope.Scope> = Effect.acquireRelease(
  Effect.callback<ReturnType<typeof createServer>>((resume) => {
    const options = { ...issued, ca: authority, requestCert: true, rejectUnauthorized: true }
    const server = createServer(options, (_, response: ServerResponse) => {
      response.writeHead(200, { etag: "\"1\"", "cache-control": "max-age=3600", "content-length": FILM.length })
      response.end(FILM)
    })
    server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
  }),
  (server) =>
    Effect.callback<void>((resume) => {
      server.close(() => resume(Effect.void))
      server.closeAllConnections()
    })
).pipe(Effect.map((server) => `https://localhost:${(server.address() as AddressInfo).port}`))

/** An HTTP server with a file, for requests with this field only. */
const makeProtectedServer = (authorization: string) =>
  Effect.map(makeTestOrigin, (origin) => {
    origin.handlers.set("*", (request, response) => {
      if (request.headers.authorization !== authorization) {
        return void response.writeHead(401, { "www-authenticate": "Basic realm=\"films\"" }).end(authorization)
      }
      response.writeHead(200, { etag: "\"1\"", "cache-control": "max-age=3600", "content-length": FILM.length })
      response.end(FILM)
    })
    return origin
  })

const basic = (user: string, password: string) => `Basic ${Buffer.from(`${user}:${password}`).toString("base64")}`

/** A configuration with an origin of each kind. `SECRET` is in variables and files only. */
const start = Effect.gen(function*() {
  const directory = yield* temporaryDirectory
  const secure = yield* makeSecureServer
  const ofUser = yield* makeProtectedServer(basic("viewer", SECRET))
  const ofToken = yield* makeProtectedServer(`Bearer ${SECRET}`)
  const s3 = yield* makeS3Server
  yield* s3.makeKeys("ACCESS", SECRET)
  yield* s3.put("old/film.mkv", FILM)
  const files = {
    "ca.pem": authority,
    "client.pem": forOther.cert,
    "client.key": forOther.key,
    password: `${SECRET}\n`
  }
  for (const [name, text] of Object.entries(files)) Fs.writeFileSync(join(directory, name), text)
  Fs.writeFileSync(
    join(directory, "credentials"),
    `[films]\naws_access_key_id = ACCESS\naws_secret_access_key = ${SECRET}\n`
  )
  const cache = join(directory, "cache")
  const config = join(directory, "spillway.toml")
  Fs.writeFileSync(
    config,
    `port = 0
cache-dir = "${cache}"
min-free = 0
ttl = "1h"
log-level = "all"

[[route]]
match = "/secure"
[route.origin]
url = "${secure}"
ca = "\${file:ca.pem}"
certificate = "\${file:client.pem}"
certificate-key = "\${file:client.key}"

[[route]]
match = "/user"
origin = { url = "${ofUser.url}", user = "viewer", password = "\${file:password}" }

[[route]]
match = "/token"
origin = { url = "${ofToken.url}", token = "\${env:FILMS_TOKEN}" }

[[route]]
match = "/wrong"
origin = { url = "${ofToken.url}/new", token = "\${env:FILMS_TOKEN}-" }

[[route]]
match = "/bucket"
[route.origin]
url = "s3://${BUCKET}/old"
endpoint = "${s3.url}"
region = "${REGION}"
profile = "films"
credentials-file = "${directory}/credentials"

[[route]]
match = "/keys"
[route.origin]
url = "s3://${BUCKET}"
endpoint = "${s3.url}"

[[route]]
match = "/unknown"
[route.origin]
url = "s3://${BUCKET}/new"
endpoint = "${s3.url}"
region = "${REGION}"
access-key = "NOBODY"
secret-key = "\${env:FILMS_TOKEN}"
`
  )
  const env = {
    FILMS_TOKEN: SECRET,
    AWS_ACCESS_KEY_ID: "ACCESS",
    AWS_SECRET_ACCESS_KEY: SECRET,
    AWS_REGION: REGION
  }
  const program = yield* startProgram(["--config", config], { env: { ...env, SPILLWAY_PORT: "0" } })
  return { program, s3, ofToken, cache }
})

describe("a configuration with origins of each kind", () => {
  it.live("serves all of them, and says nothing of their secrets", () =>
    Effect.gen(function*() {
      const { cache, ofToken, program, s3 } = yield* start
      const paths = ["secure/film.mkv", "user/film.mkv", "token/film.mkv", "bucket/film.mkv", "keys/old/film.mkv"]
      for (const path of paths) {
        const { sha256: hash, status } = yield* view(`${program.url}/${path}`)
        assert.deepStrictEqual([status, hash], [200, sha256(FILM)], path)
        yield* eventuallyHit(`${program.url}/${path}`)
      }
      // A range that isn't cached, and a query that means nothing to a bucket.
      const part = yield* view(`${program.url}/bucket/film.mkv?versionId=1`, { range: "bytes=10-19" })
      assert.deepStrictEqual([part.status, part.size, story(part.headers)], [206, 10, "spillway; hit"])
      const before = s3.requests.length
      assert.strictEqual((yield* view(`${program.url}/bucket/?list-type=2`)).status, 404)
      assert.strictEqual(s3.requests.length, before)
      // What the operator has to correct isn't the viewer's to answer.
      for (const path of ["wrong/film.mkv", "unknown/film.mkv"]) {
        const { headers, status } = yield* view(`${program.url}/${path}`)
        assert.deepStrictEqual([status, headers["www-authenticate"]], [502, undefined], path)
      }
      assert.isAbove(ofToken.requests.length, 1)
      const pages = [
        "metrics",
        "api/status",
        "api/config",
        "api/streams",
        "api/resources",
        "api/failures",
        "api/events"
      ]
      const shown = yield* Effect.forEach(
        pages,
        (page) =>
          Effect.promise((signal) =>
            fetch(`${program.url}/_spillway/${page}`, { signal: AbortSignal.any([signal, AbortSignal.timeout(2000)]) })
              .then((response) => page === "api/events" ? response.body!.cancel().then(() => "") : response.text())
              .catch(() => "")
          )
      )
      assert.isAbove(shown.join("").length, 1000)
      assert.include(program.printed(), "it refuses the credentials of its route")
      assert.include(program.printed(), "InvalidAccessKeyId")
      assert.strictEqual(yield* program.stop(), 0)
      const everything = [...shown, program.printed(), totalText(cache)].join("\n")
      for (const secret of [SECRET, Buffer.from(`viewer:${SECRET}`).toString("base64"), "PRIVATE KEY", "AWS4-HMAC"]) {
        assert.notInclude(everything, secret)
      }
    }))

  it.live("says which variable is missing, and shows none", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const config = join(directory, "spillway.toml")
      Fs.writeFileSync(
        config,
        `[[route]]\norigin = { url = "https://media.example", user = "\${env:FILMS_TOKEN}", password = "\${env:NONE}" }\n`
      )
      const { code, stderr, stdout } = yield* runProgram(["serve", "--config", config], {
        env: { FILMS_TOKEN: SECRET }
      })
      assert.strictEqual(code, 2)
      assert.include(stderr, "NONE is not set")
      assert.notInclude(stdout + stderr, SECRET)
    }))
})
