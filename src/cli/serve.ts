import { Console, Effect, Layer, Option, Schema } from "effect"
import { Argument, Command } from "effect/cli"
import { HttpServer, type HttpServerError } from "effect/http"
import { errnoOf } from "../domain/CacheError.ts"
import { layer, Server } from "../index.ts"
import * as SampleOrigin from "../sample/SampleOrigin.ts"
import { CacheConfig } from "../services/CacheConfig.ts"
import { CacheHealth } from "../services/CacheHealth.ts"
import { Origin } from "../services/Origin.ts"
import { serveFlags } from "./flags.ts"

/** What keeps the program from starting, in one line for the person who started it. */
export class StartupError extends Schema.TaggedError<StartupError>()("StartupError", { message: Schema.String }) {}

const parseOrigin = (text: string): Effect.Effect<URL, StartupError> => {
  const url = URL.parse(text)
  const wrong = (why: string) => Effect.fail(new StartupError({ message: `origin "${text}": ${why}` }))
  if (url === null) return wrong("not a URL; give one such as https://media.example.org")
  if (url.protocol !== "http:" && url.protocol !== "https:") return wrong("only http and https are supported")
  if (url.username !== "" || url.password !== "") return wrong("a user name or password in it is not supported")
  if (url.search !== "" || url.hash !== "") return wrong("it must have no query and no fragment")
  return Effect.succeed(url)
}

const cannotListen = (host: string, port: number) => (error: HttpServerError.ServeError): StartupError => {
  const errno = errnoOf(error.cause)
  const reasons: Record<string, string> = {
    EADDRINUSE: "the port is in use",
    EACCES: "permission denied",
    EADDRNOTAVAIL: "this machine has no such address",
    ENOTFOUND: "no such host"
  }
  return new StartupError({ message: `cannot listen on ${host}:${port}: ${reasons[errno] ?? errno}` })
}

/** An origin that is down at the start is no reason not to start, but worth a word. */
const checkOrigin = Effect.fnUntraced(function*(url: URL) {
  const origin = yield* Origin
  yield* Effect.scoped(origin.request({ method: "HEAD", url: url.href, headers: {} })).pipe(
    Effect.catch((error) =>
      Effect.logWarning("The origin does not answer; what is cached is served").pipe(
        Effect.annotateLogs({ origin: url.href, error: error._tag })
      )
    )
  )
})

export const serve = Command.make(
  "serve",
  {
    origin: Argument.String("origin").pipe(
      Argument.withDescription("URL that paths are appended to; without it, a sample origin is started"),
      Argument.optional
    ),
    ...serveFlags
  },
  Effect.fnUntraced(function*({ host, origin, port, ...options }) {
    if (options.chunkSize > options.maxSize / 4) {
      return yield* new StartupError({ message: "--max-size must hold at least four chunks of --chunk-size" })
    }
    const sample = Option.isNone(origin) ? yield* SampleOrigin.start : undefined
    const url = sample ?? (yield* parseOrigin(Option.getOrThrow(origin)))
    const running = Server.layerProxy(url).pipe(
      Layer.provideMerge(Server.layerNode({ host, port })),
      Layer.provideMerge(layer),
      Layer.provide(CacheConfig.layer(options))
    )
    const services = yield* Layer.build(running).pipe(
      Effect.catchTag("ServeError", (error) => Effect.fail(cannotListen(host, port)(error)))
    )
    return yield* Effect.gen(function*() {
      const health = yield* CacheHealth
      if (health.unwritable()?.errno === "LOCKED") {
        return yield* new StartupError({ message: `cache directory ${options.directory} is in use by another process` })
      }
      const address = yield* HttpServer.addressFormattedWith(Effect.succeed)
      yield* Console.log(`spillway listening on ${address}, origin ${url.href}, cache ${options.directory}`)
      if (sample !== undefined) yield* Console.log(SampleOrigin.instructions(address))
      yield* Effect.forkScoped(checkOrigin(url))
      return yield* Effect.never
    }).pipe(Effect.provideContext(services))
  }, Effect.scoped)
).pipe(
  Command.withDescription("Run the caching proxy"),
  Command.withExamples([
    { command: "spillway serve", description: "See it work, with a sample origin" },
    {
      command: "spillway serve https://media.example.org --cache-dir /var/cache/spillway --max-size 200GiB",
      description: "Cache an origin"
    }
  ])
)
