import { assert, describe, it } from "@effect/vitest"
import { Clock, Context, Effect, Layer, Redacted, Stream } from "effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import { inspect } from "node:util"
import type { AwsKeys, AwsProfile, OriginAccess } from "../../../../../src/domain/OriginAccess.ts"
import { codeOf } from "../../../../../src/domain/OriginError.ts"
import { defaultPolicy, type RoutePolicy } from "../../../../../src/domain/RoutePolicy.ts"
import { OriginConfig } from "../../../../../src/services/config/OriginConfig.ts"
import { Origin, type OriginRequest } from "../../../../../src/services/origin/Origin.ts"
import { temporaryDirectory } from "../../../../support/disks.ts"
import { makeRawOrigin, response } from "../../../../support/RawOrigin.ts"
import { BUCKET, makeS3Server, REGION } from "../../../../support/s3Server.ts"

const SECRET = "secret-91be"

const keysOf = (accessKeyId: string, sessionToken?: string): AwsKeys => ({
  _tag: "Keys",
  accessKeyId,
  secretAccessKey: Redacted.make(SECRET),
  ...(sessionToken !== undefined && { sessionToken: Redacted.make(sessionToken) })
})

const policyOf = (url: string, access: OriginAccess): RoutePolicy => ({
  ...defaultPolicy(new URL(url)),
  origins: [{ url: new URL(url), weight: 1, access }]
})

/** `clock` so many minutes ahead. */
const shifted = (clock: Clock.Clock, minutes: number): Clock.Clock =>
  Object.assign(Object.create(clock), {
    currentTimeMillisUnsafe: () => clock.currentTimeMillisUnsafe() + minutes * 60_000,
    currentTimeMillis: Effect.map(clock.currentTimeMillis, (now) => now + minutes * 60_000)
  })

/** A bucket with a file, and an origin that asks it with `keys`. */
const makeBucket = (keys: AwsKeys | AwsProfile, region = REGION) =>
  Effect.gen(function*() {
    const server = yield* makeS3Server
    yield* server.makeKeys("VALID", SECRET)
    yield* server.put("film.mkv", "0123456789")
    const origin = yield* Origin.layer.pipe(
      Layer.provide(OriginConfig.layer()),
      Layer.build,
      Effect.map(Context.get(Origin))
    )
    const base = `${server.url}/${BUCKET}`
    const route = policyOf(base, { authorization: { _tag: "SigV4", region, keys } })
    const ask = (path: string, more: Partial<OriginRequest> = {}) =>
      Effect.scoped(Effect.gen(function*() {
        const request = { method: "GET", url: base + path, headers: {}, route, ...more }
        const { body, headers, status } = yield* origin.request(request)
        return { status, headers, text: Buffer.from(yield* Stream.mkUint8Array(body)).toString() }
      }))
    return { server, origin, base, route, ask }
  })

const silent = (error: unknown) => {
  const text = inspect(error, { depth: 10, showHidden: true })
  for (const secret of [SECRET, "Signature=", "AWS4", "token-"]) assert.notInclude(text, secret)
}

describe("a file of a bucket", () => {
  it.live("is requested with a signature, with ranges and conditions", () =>
    Effect.gen(function*() {
      const { ask, server } = yield* makeBucket(keysOf("VALID"))
      const whole = yield* ask("/film.mkv")
      assert.deepInclude(whole, { status: 200, text: "0123456789" })
      const etag = whole.headers["etag"]!
      const range = yield* ask("/film.mkv", { headers: { range: "bytes=2-4", "if-range": etag } })
      assert.deepInclude(range, { status: 206, text: "234" })
      assert.strictEqual((yield* ask("/film.mkv", { headers: { "if-none-match": etag } })).status, 304)
      assert.deepInclude(yield* ask("/film.mkv", { method: "HEAD" }), { status: 200, text: "" })
      for (const { headers: { authorization, range } } of server.requests) {
        assert.match(authorization!, /^AWS4-HMAC-SHA256 Credential=VALID\/\d{8}\/eu-test-1\/s3\/aws4_request/)
        assert.strictEqual(authorization!.includes(";range;"), range !== undefined)
      }
      assert.strictEqual(server.requests.length, 4)
    }))

  it.live.each(["a+b.txt", "it's (1)!*~.txt", "ü/ä ö.txt", "100 % #1?.txt", "a=b&c.txt"])(
    "may be called %s",
    (name) =>
      Effect.gen(function*() {
        const { ask, server } = yield* makeBucket(keysOf("VALID"))
        yield* server.put(name, "odd")
        const path = name.split("/").map(encodeURIComponent).join("/")
        assert.deepInclude(yield* ask(`/${path}`), { status: 200, text: "odd" })
        // The same name, as other clients write it.
        assert.strictEqual((yield* ask(`/${encodeURI(name).replace("#", "%23").replace("?", "%3F")}`)).status, 200)
      })
  )

  it.live("is all that a viewer gets of a bucket: no lists, policies and other versions, and no changes", () =>
    Effect.gen(function*() {
      const { ask, server } = yield* makeBucket(keysOf("VALID"))
      for (const path of ["", "/", "//", "/?list-type=2", "?acl"]) {
        assert.deepInclude(yield* ask(path), { status: 404, text: "" }, path)
      }
      for (const method of ["PUT", "DELETE", "POST", "PATCH"]) {
        assert.strictEqual((yield* ask("/film.mkv", { method })).status, 405)
      }
      assert.strictEqual(server.requests.length, 0)
      assert.strictEqual((yield* ask("/film.mkv?acl&response-content-type=text/html")).text, "0123456789")
      assert.strictEqual(server.requests[0]!.url, `/${BUCKET}/film.mkv`)
    }))

  it.live("is requested without what a viewer says to S3 or of itself", () =>
    Effect.gen(function*() {
      const { ask, server } = yield* makeBucket(keysOf("VALID"))
      const headers = {
        authorization: "Bearer viewer",
        cookie: "a=b",
        "x-amz-acl": "public-read",
        "x-amz-security-token": "token"
      }
      assert.strictEqual((yield* ask("/film.mkv", { headers })).status, 200)
      const [seen] = server.requests
      assert.isUndefined(seen!.headers.cookie)
      assert.isUndefined(seen!.headers["x-amz-acl"])
      assert.isUndefined(seen!.headers["x-amz-security-token"])
    }))

  it.live("is missing without telling why, and its bucket with telling the operator", () =>
    Effect.gen(function*() {
      const { ask, base, route, server } = yield* makeBucket(keysOf("VALID"))
      assert.deepInclude(yield* ask("/none.mkv"), { status: 404, text: "" })
      const other = base.replace(BUCKET, "none")
      const error = yield* Effect.flip(ask("", {
        url: `${other}/film.mkv`,
        route: {
          ...route,
          origins: [{ ...route.origins[0], url: new URL(other) }]
        }
      }))
      assert.strictEqual(error._tag, "OriginUnexpected")
      assert.include(error.message, "404: NoSuchBucket")
      assert.isAbove(server.requests.length, 0)
    }))
})

describe("keys that are refused", () => {
  it.live.each(
    [
      ["of somebody unknown", keysOf("UNKNOWN"), REGION, "403: InvalidAccessKeyId"],
      [
        "with a wrong secret",
        { ...keysOf("VALID"), secretAccessKey: Redacted.make(`${SECRET}x`) },
        REGION,
        "403: SignatureDoesNotMatch"
      ],
      [
        "for another region",
        keysOf("VALID"),
        "us-east-1",
        "400: AuthorizationHeaderMalformed; the bucket is in the region eu-test-1"
      ]
    ] as const
  )("%s fail, and the error has the reason and no secret", ([, keys, region, message]) =>
    Effect.gen(function*() {
      const { ask, server } = yield* makeBucket(keys, region)
      const error = yield* Effect.flip(ask("/film.mkv"))
      assert.strictEqual(error._tag, "OriginUnexpected")
      assert.include(error.message, message)
      silent(error)
      assert.strictEqual(server.requests.length, 1)
    }))

  it.live("are the reason if a bucket has moved, with the region", () =>
    Effect.gen(function*() {
      const elsewhere = yield* makeRawOrigin(() =>
        response(301, { "x-amz-bucket-region": "us-west-2", location: "http://other.invalid/" })
      )
      const { ask } = yield* makeBucket(keysOf("VALID"))
      const signing = { authorization: { _tag: "SigV4" as const, region: REGION, keys: keysOf("VALID") } }
      const error = yield* Effect.flip(
        ask("", { url: `${elsewhere.url}/film.mkv`, route: policyOf(elsewhere.url, signing) })
      )
      assert.include(error.message, "301: the bucket has another endpoint; the bucket is in the region us-west-2")
    }))

  it.live("by a clock that is wrong are used again with the time of the server", () =>
    Effect.gen(function*() {
      const { ask, server } = yield* makeBucket(keysOf("VALID"))
      const clock = yield* Clock.Clock
      const wrongly = Effect.provideService(ask("/film.mkv"), Clock.Clock, shifted(clock, -60))
      assert.strictEqual((yield* wrongly).text, "0123456789")
      assert.deepStrictEqual(server.requests.map(({ status }) => status), [403, 200])
      assert.strictEqual((yield* wrongly).text, "0123456789")
      assert.strictEqual(server.requests.length, 3)
      // The clock has been set right.
      assert.strictEqual((yield* ask("/film.mkv")).text, "0123456789")
      assert.deepStrictEqual(server.requests.slice(3).map(({ status }) => status), [403, 200])
    }))
})

describe("temporary keys", () => {
  const profile = (id: string, token: string, name = "films") =>
    `[default]\naws_access_key_id = NONE\n\n# Those of the films\n[${name}]\naws_access_key_id=${id}\n` +
    `aws_secret_access_key = ${SECRET}\naws_session_token = ${token}\n`

  it.live("are read from a file, and again when they have expired", () =>
    Effect.gen(function*() {
      const file = join(yield* temporaryDirectory, "credentials")
      Fs.writeFileSync(file, profile("FIRST", "token-1"))
      const { ask, server } = yield* makeBucket({ _tag: "Profile", file, profile: "films" })
      yield* server.makeKeys("FIRST", SECRET, "token-1")
      yield* server.makeKeys("SECOND", SECRET, "token-2")
      assert.strictEqual((yield* ask("/film.mkv")).text, "0123456789")
      server.expire("token-1")
      Fs.writeFileSync(file, profile("SECOND", "token-2"))
      assert.strictEqual((yield* ask("/film.mkv")).text, "0123456789")
      assert.deepStrictEqual(server.requests.map(({ status }) => status), [200, 400, 200])
      server.expire("token-2")
      const error = yield* Effect.flip(ask("/film.mkv"))
      assert.include(error.message, "400: ExpiredToken")
      silent(error)
    }))

  it.live("are those of a process, which is run again shortly before they end, and if they are refused", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const file = join(directory, "credentials")
      const printed = join(directory, "printed")
      const print = (id: string, token: string, minutes: number) =>
        Effect.map(Clock.currentTimeMillis, (now) =>
          Fs.writeFileSync(
            printed,
            JSON.stringify({
              Version: 1,
              AccessKeyId: id,
              SecretAccessKey: SECRET,
              SessionToken: token,
              Expiration: new Date(now + minutes * 60_000).toISOString()
            })
          ))
      Fs.writeFileSync(file, `[films]\ncredential_process = echo x >> '${directory}/calls'; cat '${printed}'\n`)
      const { ask, server } = yield* makeBucket({ _tag: "Profile", file, profile: "films" })
      yield* server.makeKeys("FIRST", SECRET, "token-1")
      yield* server.makeKeys("SECOND", SECRET, "token-2")
      yield* print("FIRST", "token-1", 60)
      const many = Effect.forEach([1, 2, 3], () => ask("/film.mkv"), { concurrency: "unbounded" })
      assert.deepStrictEqual((yield* many).map(({ status }) => status), [200, 200, 200])
      yield* print("SECOND", "token-2", 60)
      yield* ask("/film.mkv")
      assert.strictEqual(Fs.readFileSync(`${directory}/calls`, "utf8"), "x\n")
      const later = shifted(yield* Clock.Clock, 56)
      assert.strictEqual((yield* Effect.provideService(ask("/film.mkv"), Clock.Clock, later)).status, 200)
      assert.strictEqual(Fs.readFileSync(`${directory}/calls`, "utf8"), "x\nx\n")
      assert.include(server.requests.at(-1)!.headers.authorization, "Credential=SECOND/")
      server.expire("token-2")
      yield* print("FIRST", "token-1", 60)
      assert.strictEqual((yield* ask("/film.mkv")).status, 200)
      assert.strictEqual(Fs.readFileSync(`${directory}/calls`, "utf8"), "x\nx\nx\n")
    }))

  it.live.each(
    [
      ["of a file that is missing", undefined],
      ["of a profile that is missing", profile("FIRST", "token-1", "other")],
      ["of a process that fails", "[films]\ncredential_process = echo token-1 >&2; exit 1"],
      ["of a process that prints something else", "[films]\ncredential_process = echo token-1"]
    ] as const
  )("%s are an error without secrets", ([, text]) =>
    Effect.gen(function*() {
      const file = join(yield* temporaryDirectory, "credentials")
      if (text !== undefined) Fs.writeFileSync(file, text)
      const { ask, server } = yield* makeBucket({ _tag: "Profile", file, profile: "films" })
      const error = yield* Effect.flip(ask("/film.mkv"))
      assert.strictEqual(error._tag, "OriginUnreachable")
      assert.strictEqual(codeOf(error), "NO_CREDENTIALS")
      silent(error)
      assert.strictEqual(server.requests.length, 0)
    }))
})
