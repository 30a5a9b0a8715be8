import S3rver from "@20minutes/s3rver"
import AwsAccount from "@20minutes/s3rver/lib/models/account.js"
import aws4 from "aws4"
import { Effect, type Scope } from "effect"
import { createServer, type IncomingMessage, type RequestListener } from "node:http"
import type { AddressInfo } from "node:net"
import { temporaryDirectory } from "./disks.ts"

export const BUCKET = "films"

export const REGION = "eu-test-1"

/** A request as the server received it, and what it was answered. */
export interface SeenS3Request {
  readonly method: string
  readonly url: string
  readonly headers: IncomingMessage["headers"]
  status: number
}

/** An S3 server whose bucket is private, and which verifies signatures. */
export interface S3Server {
  readonly url: string
  readonly requests: Array<SeenS3Request>
  /** Makes keys that are valid, with this session token if they are temporary, until the scope closes. */
  readonly makeKeys: (id: string, secret: string, token?: string) => Effect.Effect<void, never, Scope.Scope>
  /** Temporary keys with this token have expired from now on. */
  readonly expire: (token: string) => void
  readonly put: (key: string, bytes: string | Buffer) => Effect.Effect<void>
}

/** What s3rver leaves out of S3: a bucket that nobody may read without keys, regions, and the tokens of temporary keys. */
const refusalOf = (
  { headers }: IncomingMessage,
  tokens: ReadonlyMap<string, string | undefined>,
  expired: ReadonlySet<string>
): readonly [number, string] | undefined => {
  const [, id = "", region] = /Credential=([^/]+)\/\d+\/([^/]+)\/s3\//.exec(headers.authorization ?? "") ?? []
  if (id === "") return [403, "AccessDenied"]
  if (region !== REGION) return [400, "AuthorizationHeaderMalformed"]
  const token = headers["x-amz-security-token"] as string | undefined
  if (token !== undefined && expired.has(token)) return [400, "ExpiredToken"]
  if (tokens.has(id) && tokens.get(id) !== token) return [403, "InvalidToken"]
  const isTokenSigned = /SignedHeaders=[^,]*x-amz-security-token/.test(headers.authorization ?? "")
  return token !== undefined && !isTokenSigned ? [403, "AccessDenied"] : undefined
}

const listen = (listener: RequestListener): Effect.Effect<string, never, Scope.Scope> =>
  Effect.acquireRelease(
    Effect.callback<ReturnType<typeof createServer>>((resume) => {
      const server = createServer(listener)
      server.listen(0, "127.0.0.1", () => resume(Effect.succeed(server)))
    }),
    (server) =>
      Effect.callback<void>((resume) => {
        server.close(() => resume(Effect.void))
        server.closeAllConnections()
      })
  ).pipe(Effect.map((server) => `http://127.0.0.1:${(server.address() as AddressInfo).port}`))

/** Starts it on a free port of the loopback interface; it ends with the scope. */
export const makeS3Server: Effect.Effect<S3Server, never, Scope.Scope> = Effect.gen(function*() {
  const s3 = new S3rver({
    silent: true,
    directory: yield* temporaryDirectory,
    vhostBuckets: false,
    configureBuckets: [{ name: BUCKET }]
  })
  yield* Effect.promise(() => s3.configureBuckets())
  const requests: Array<SeenS3Request> = []
  const tokens = new Map<string, string | undefined>()
  const expired = new Set<string>()
  const answer = s3.callback()
  const url = yield* listen((incoming, response) => {
    const seen = { method: incoming.method!, url: incoming.url!, headers: { ...incoming.headers }, status: 0 }
    requests.push(seen)
    response.on("finish", () => seen.status = response.statusCode)
    const refusal = refusalOf(incoming, tokens, expired)
    if (refusal === undefined) return answer(incoming, response)
    const [status, code] = refusal
    const signature = incoming.headers.authorization ?? ""
    response.writeHead(status, { "content-type": "application/xml", "x-amz-bucket-region": REGION })
    response.end(`<Error><Code>${code}</Code><StringToSign>${signature}</StringToSign></Error>`)
  })
  const account = AwsAccount.DUMMY_ACCOUNT
  const put = (key: string, bytes: string | Buffer) =>
    Effect.promise(async () => {
      const { host } = new URL(url)
      const request = {
        method: "PUT",
        host,
        path: `/${BUCKET}/${key.split("/").map(encodeURIComponent).join("/")}`,
        body: bytes,
        service: "s3",
        region: REGION
      }
      const { headers, path } = aws4.sign(request, { accessKeyId: "S3RVER", secretAccessKey: "S3RVER" })
      const response = await fetch(url + path!, {
        method: "PUT",
        body: new Uint8Array(Buffer.from(bytes)),
        headers: headers as Record<string, string>
      })
      if (!response.ok) throw new Error(await response.text())
      requests.length = 0
    })
  return {
    url,
    requests,
    put,
    expire: (token) => void expired.add(token),
    makeKeys: (id, secret, token) =>
      Effect.acquireRelease(
        Effect.sync(() => {
          account.createKeyPair(id, secret)
          tokens.set(id, token)
        }),
        () => Effect.sync(() => account.revokeAccessKey(id))
      )
  }
})
