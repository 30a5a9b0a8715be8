import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, Redacted, type Scope, Stream } from "effect"
import type { IncomingMessage, ServerResponse } from "node:http"
import { createServer } from "node:https"
import type { AddressInfo } from "node:net"
import type { TLSSocket } from "node:tls"
import { inspect } from "node:util"
import type { OriginAccess } from "../../../../src/domain/OriginAccess.ts"
import { makeRoute, type Origins } from "../../../../src/domain/Route.ts"
import { defaultPolicy, type RoutePolicy } from "../../../../src/domain/RoutePolicy.ts"
import { OriginConfig } from "../../../../src/services/config/OriginConfig.ts"
import { Origin, type OriginRequest } from "../../../../src/services/origin/Origin.ts"
import { authority, forOther, issued } from "../../../support/certificates.ts"
import { makeRawOrigin, response } from "../../../support/RawOrigin.ts"

const policyOf = (url: string, access: OriginAccess): RoutePolicy => ({
  ...defaultPolicy(new URL(url)),
  origins: [{ url: new URL(url), weight: 1, access }]
})

const makeOrigin = (urls: ReadonlyArray<string> = []) => {
  const origins: Origins = {
    routes: urls.map((url) => makeRoute({ _tag: "All" }, new URL(url))),
    urlHosts: [],
    allowPrivate: false
  }
  return Origin.layer.pipe(
    Layer.provide(OriginConfig.layer({ origins })),
    Layer.build,
    Effect.map(Context.get(Origin))
  )
}

/** The whole answer of a server that is reached by `access`. */
const ask = (origin: Origin["Service"], url: string, access: OriginAccess, more: Partial<OriginRequest> = {}) =>
  Effect.scoped(Effect.gen(function*() {
    const request = { method: "GET", url, headers: {}, route: policyOf(url, access), ...more }
    const { body, headers, status } = yield* origin.request(request)
    return { status, headers, text: Buffer.from(yield* Stream.mkUint8Array(body)).toString() }
  }))

interface Seen {
  readonly serverName: string | false | null
  readonly client: string | undefined
  readonly host: string | undefined
}

interface SecureServer {
  readonly url: string
  readonly seen: Array<Seen>
  readonly connections: () => number
}

/** An HTTPS server with the certificate `own`, which knows clients of the authority. */
const secure = (own: typeof issued, requiresClient = false): Effect.Effect<SecureServer, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<{ readonly server: ReturnType<typeof createServer>; readonly result: SecureServer }>((resume) => {
      const seen: Array<Seen> = []
      let connections = 0
      const onRequest = ({ headers, socket }: IncomingMessage, response: ServerResponse) => {
        const { servername } = socket as TLSSocket & { readonly servername?: string | false }
        const { subject } = (socket as TLSSocket).getPeerCertificate()
        const name = subject?.CN
        seen.push({
          serverName: servername ?? null,
          client: Array.isArray(name) ? name[0] : name,
          host: headers.host
        })
        response.end("secure")
      }
      const server = createServer(
        { ...own, ca: authority, requestCert: true, rejectUnauthorized: requiresClient },
        onRequest
      )
      server.on("secureConnection", () => connections += 1)
      server.listen(0, "127.0.0.1", () => {
        const { port } = server.address() as AddressInfo
        const result = { url: `https://localhost:${port}`, seen, connections: () => connections }
        resume(Effect.succeed({ server, result }))
      })
    }),
    ({ server }) =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  ).pipe(Effect.map(({ result }) => result))

const SECRET = "secret-77c1"

describe("a server with TLS of its own", () => {
  it.live("is trusted by the authority of its route alone", () =>
    Effect.gen(function*() {
      const server = yield* secure(issued)
      const origin = yield* makeOrigin()
      assert.strictEqual((yield* ask(origin, server.url, { tls: { ca: authority } })).text, "secure")
      const error = yield* Effect.flip(ask(origin, server.url, {}))
      assert.strictEqual(error._tag, "OriginUnreachable")
      assert.include(error.message, "unknown CA")
    }))

  it.live("gets the client certificate of its route, and others don't", () =>
    Effect.gen(function*() {
      const server = yield* secure(issued, true)
      const origin = yield* makeOrigin()
      const tls = { ca: authority, certificate: forOther.cert, key: Redacted.make(forOther.key) }
      assert.strictEqual((yield* ask(origin, server.url, { tls })).text, "secure")
      assert.strictEqual(server.seen[0]!.client, "other.test")
      const error = yield* Effect.flip(ask(origin, server.url, { tls: { ca: authority } }))
      assert.strictEqual(error._tag, "OriginUnreachable")
      assert.notInclude(inspect(error, { depth: 10 }), "PRIVATE")
    }))

  it.live("is asked for the server name of its route, which its certificate has to be for", () =>
    Effect.gen(function*() {
      const server = yield* secure(forOther)
      const origin = yield* makeOrigin()
      const tls = { ca: authority, serverName: "other.test" }
      assert.strictEqual((yield* ask(origin, server.url, { tls })).text, "secure")
      assert.strictEqual(server.seen[0]!.serverName, "other.test")
      assert.strictEqual(server.seen[0]!.host, new URL(server.url).host)
      const error = yield* Effect.flip(ask(origin, server.url, { tls: { ca: authority } }))
      assert.include(error.message, "another name")
    }))

  it.live("is asked for its own name, whatever the Host field of its route", () =>
    Effect.gen(function*() {
      const server = yield* secure(issued)
      const origin = yield* makeOrigin()
      const access = { tls: { ca: authority }, host: "media.example" }
      yield* ask(origin, server.url, access)
      assert.deepStrictEqual(server.seen.map(({ host, serverName }) => [host, serverName]), [
        ["media.example", "localhost"]
      ])
    }))

  it.live("shares no connection with a route that has another certificate", () =>
    Effect.gen(function*() {
      const server = yield* secure(issued)
      const origin = yield* makeOrigin()
      const as = ({ cert, key }: typeof issued) => ({ ca: authority, certificate: cert, key: Redacted.make(key) })
      const rounds = 4
      for (let round = 0; round < rounds; round++) {
        // New objects with the same texts, as after a reload.
        yield* ask(origin, server.url, { tls: as(issued) })
        yield* ask(origin, server.url, { tls: as(forOther) })
      }
      const clients = server.seen.map(({ client }) => client)
      assert.deepStrictEqual(clients, Array.from({ length: rounds }, () => ["localhost", "other.test"]).flat())
      assert.isBelow(server.connections(), clients.length)
    }))
})

describe("the credentials of a route", () => {
  const basic: OriginAccess = {
    authorization: { _tag: "Basic", user: "gärtner", password: Redacted.make(SECRET) }
  }
  const bearer: OriginAccess = { authorization: { _tag: "Bearer", token: Redacted.make(SECRET) } }

  it.live("go with what reads, instead of those of the viewer", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(() => response(200))
      const origin = yield* makeOrigin()
      yield* ask(origin, server.url, basic)
      yield* ask(origin, server.url, bearer, { method: "HEAD", headers: { authorization: "Basic eDp5" } })
      assert.deepStrictEqual(server.requests.map(({ fields }) => fields["authorization"]), [
        `Basic ${Buffer.from(`gärtner:${SECRET}`).toString("base64")}`,
        `Bearer ${SECRET}`
      ])
    }))

  it.live("don't go with what may change something, which has those of the viewer", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(() => response(204))
      const origin = yield* makeOrigin()
      for (const method of ["PUT", "DELETE", "POST", "MKCOL", "BREW"]) {
        yield* ask(origin, server.url, bearer, { method })
        yield* ask(origin, server.url, bearer, { method, headers: { authorization: "Basic eDp5" } })
      }
      yield* ask(origin, server.url, bearer, { upgrade: "websocket" })
      assert.deepStrictEqual(
        new Set(server.requests.map(({ fields }) => fields["authorization"])),
        new Set([undefined, "Basic eDp5"])
      )
    }))

  it.live("follow a redirect within their server, and none to another, even one with a route", () =>
    Effect.gen(function*() {
      const other = yield* makeRawOrigin(() => response(200, {}, "elsewhere"))
      const server = yield* makeRawOrigin(({ target }) =>
        response(302, { location: target === "/" ? "/here" : `${other.url}/there` })
      )
      const origin = yield* makeOrigin([server.url, other.url])
      const { text } = yield* ask(origin, server.url, { ...bearer, host: "media.example" })
      assert.strictEqual(text, "elsewhere")
      assert.deepStrictEqual(server.requests.map(({ fields: { authorization, host } }) => [authorization, host]), [
        [`Bearer ${SECRET}`, "media.example"],
        [`Bearer ${SECRET}`, "media.example"]
      ])
      assert.strictEqual(other.requests[0]!.fields["authorization"], undefined)
      assert.strictEqual(other.requests[0]!.fields["host"], `127.0.0.1:${other.port}`)
    }))

  it.live("don't go to a server that an application's resolver names, if it isn't the route's", () =>
    Effect.gen(function*() {
      const own = yield* makeRawOrigin(() => response(200))
      const other = yield* makeRawOrigin(() => response(200))
      const origin = yield* makeOrigin()
      yield* ask(origin, other.url, {}, { route: policyOf(own.url, bearer) })
      assert.strictEqual(other.requests[0]!.fields["authorization"], undefined)
    }))

  it.live("are in no error, and a viewer is not asked for them if the server refuses them", () =>
    Effect.gen(function*() {
      const server = yield* makeRawOrigin(() => response(401, { "www-authenticate": "Basic realm=\"origin\"" }))
      const origin = yield* makeOrigin()
      const error = yield* Effect.flip(ask(origin, server.url, basic))
      assert.strictEqual(error._tag, "OriginUnexpected")
      assert.include(error.message, "401: it refuses the credentials of its route")
      const encoded = Buffer.from(`gärtner:${SECRET}`).toString("base64")
      for (const secret of [SECRET, encoded]) assert.notInclude(inspect(error, { depth: 10 }), secret)
      // A viewer's own request is another matter.
      assert.strictEqual((yield* ask(origin, server.url, basic, { method: "POST" })).status, 401)
      assert.strictEqual((yield* ask(origin, server.url, {})).status, 401)
    }))
})
