import { assert, describe, it } from "@effect/vitest"
import { Context, Effect, Layer, type Scope } from "effect"
import { createSecureServer, createServer as createHttp2Server } from "node:http2"
import type { AddressInfo, Server } from "node:net"
import { createServer as createTlsServer, getCACertificates, setDefaultCACertificates } from "node:tls"
import { adviceOn, codeOf, type OriginError } from "../../src/domain/OriginError.ts"
import { OriginConfig, type OriginOptions } from "../../src/services/config/OriginConfig.ts"
import { Origin } from "../../src/services/origin/Origin.ts"
import { authority, type Certificate, early, expired, forOther, issued, selfSigned } from "../support/certificates.ts"
import { freePort } from "../support/freePort.ts"
import { makeRawOrigin } from "../support/RawOrigin.ts"

const failure = (url: string, options: Partial<OriginOptions> = {}): Effect.Effect<OriginError> =>
  Origin.layer.pipe(
    Layer.provide(OriginConfig.layer(options)),
    Layer.build,
    Effect.flatMap((services) =>
      Context.get(services, Origin).request({ method: "GET", url, headers: { authorization: "hidden" } })
    ),
    Effect.scoped,
    Effect.flip,
    Effect.orDie
  )

/** The port of a server that ends with the scope. */
const listening = (server: Server): Effect.Effect<number, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<number>((resume) => {
      server.on("connection", (socket) => socket.on("error", () => {}))
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed((server.address() as AddressInfo).port)))
    }),
    () => Effect.callback<void>((resume) => void server.close(() => resume(Effect.void)))
  )

/** An HTTPS server, whose CA is trusted unless it is its own. */
const secured = (certificate: Certificate): Effect.Effect<number, never, Scope.Scope> => {
  const server = createTlsServer(certificate, (socket) => socket.end("HTTP/1.1 204 No Content\r\n\r\n"))
  server.on("tlsClientError", () => {})
  return listening(server)
}

/** Has certificates from `authority` trusted until the scope closes. */
const trusting = Effect.acquireRelease(
  Effect.sync(() => {
    const before = getCACertificates("default")
    setDefaultCACertificates([...before, authority])
    return before
  }),
  (before) => Effect.sync(() => setDefaultCACertificates(before))
)

/** What the error says, as it stands in logs. */
const tells = (error: OriginError, code: string | undefined, message: RegExp, advice: RegExp): void => {
  assert.strictEqual(codeOf(error), code, error.message)
  assert.match(error.message, message)
  assert.match(adviceOn(error), advice)
  assert.notInclude(error.message + adviceOn(error), "hidden")
}

describe("a failure of an origin says why", () => {
  it.live("when nothing listens, with the address", () =>
    Effect.gen(function*() {
      const port = yield* freePort
      const error = yield* failure(`http://127.0.0.1:${port}/a?hidden`)
      tells(error, "ECONNREFUSED", new RegExp(`connection refused \\(ECONNREFUSED, 127.0.0.1:${port}\\)$`), /Start/)
    }))

  it.live("when its name does not exist", () =>
    Effect.gen(function*() {
      const error = yield* failure("http://no-such-host.invalid/")
      // Where there is no DNS at all, that is the cause.
      if (codeOf(error) === "EAI_AGAIN") return tells(error, "EAI_AGAIN", /name server/, /DNS/)
      tells(error, "ENOTFOUND", /no such host name/, /host name/)
    }))

  it.live.each(
    [
      ["is signed by itself", selfSigned, "DEPTH_ZERO_SELF_SIGNED_CERT", /self-signed/, /NODE_EXTRA_CA_CERTS/],
      ["is from an unknown CA", issued, "UNABLE_TO_VERIFY_LEAF_SIGNATURE", /unknown CA/, /NODE_EXTRA_CA_CERTS/]
    ] as const
  )("when its certificate %s", ([, certificate, code, message, advice]) =>
    Effect.gen(function*() {
      tells(yield* failure(`https://localhost:${yield* secured(certificate)}`), code, message, advice)
    }))

  it.live.each(
    [
      ["has expired", expired, "CERT_HAS_EXPIRED", /has expired/, /Renew/],
      ["is not valid yet", early, "CERT_NOT_YET_VALID", /not valid yet/, /clock/],
      ["is for another name", forOther, "ERR_TLS_CERT_ALTNAME_INVALID", /another name/, /name/]
    ] as const
  )("when its certificate is trusted, and %s", ([, certificate, code, message, advice]) =>
    Effect.gen(function*() {
      yield* trusting
      tells(yield* failure(`https://localhost:${yield* secured(certificate)}`), code, message, advice)
    }))

  it.live("when it speaks HTTP/2 only, with TLS and without", () =>
    Effect.gen(function*() {
      yield* trusting
      const plain = yield* listening(createHttp2Server())
      tells(yield* failure(`http://127.0.0.1:${plain}`), "HTTP2_ONLY", /HTTP\/2 only/, /HTTP\/1.1/)
      const server = createSecureServer({ ...issued, allowHTTP1: false })
      server.on("unknownProtocol", (socket) => socket.destroy())
      const secure = yield* listening(server as unknown as Server)
      tells(yield* failure(`https://localhost:${secure}`), "HTTP2_ONLY", /HTTP\/2 only/, /HTTP\/1.1/)
    }))

  it.live("when http and https are confused", () =>
    Effect.gen(function*() {
      const plain = yield* makeRawOrigin(() => {})
      plain.onConnection = (socket) => void socket.on("data", () => socket.end("HTTP/1.1 400 No\r\n\r\n"))
      tells(
        yield* failure(plain.url.replace("http:", "https:")),
        "ERR_SSL_WRONG_VERSION_NUMBER",
        /does not speak TLS/,
        /http:/
      )
      const alert = Buffer.from([0x15, 3, 1, 0, 2, 2, 0x46]).toString("latin1")
      const tls = yield* makeRawOrigin(() => alert)
      tells(yield* failure(tls.url), "TLS_ONLY", /speaks TLS/, /https:/)
    }))

  it.live.each(
    [
      ["ICY 200 OK\r\nicy-name: x\r\n\r\n", "ICY", /ICY/],
      ["SSH-2.0-OpenSSH_9.2\r\n", "NOT_HTTP", /not HTTP/],
      ["<html>hello</html>\r\n\r\n", "NOT_HTTP", /not HTTP/],
      ["HTTP/1.1 200 OK\r\nA b: c\r\n\r\n", "MALFORMED", /malformed \(MALFORMED, Invalid header token\)/],
      [`HTTP/1.1 200 OK\r\nA: ${"x".repeat(20_000)}\r\n\r\n`, "HEAD_TOO_LARGE", /too long/],
      ["HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", "UPGRADE", /another protocol/],
      [`HTTP/1.1 100 Continue\r\nA: ${"x".repeat(16_380)}\r\n\r\n`, "INTERIM_ANSWER", /interim answers/]
    ] as const
  )("when it answers %j", ([answer, code, message]) =>
    Effect.gen(function*() {
      const origin = yield* makeRawOrigin(() => answer)
      const error = yield* failure(origin.url)
      tells(error, code, message, /\w/)
    }))

  it.live("when it closes the connection, or resets it", () =>
    Effect.gen(function*() {
      const closing = yield* makeRawOrigin(({ socket }) => void socket.end())
      tells(yield* failure(closing.url), "CLOSED", /closed the connection/, /https:/)
      const resetting = yield* makeRawOrigin(({ socket }) => void socket.resetAndDestroy())
      tells(yield* failure(resetting.url), "ERR_RESET_BY_ORIGIN", /connection reset/, /log/)
    }))
})
