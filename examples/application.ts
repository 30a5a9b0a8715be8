import { NodeHttpServer, NodeRuntime, NodeServices } from "@effect/platform-node"
import { Config, Effect, Layer } from "effect"
import { HttpRouter, HttpServerResponse } from "effect/http"
import { createServer } from "node:http"
import { Spillway } from "spillway"

/**
 * An application with routes of its own. Below `/media`, viewers get the files of SPILLWAY_ORIGIN; the trailer is streamed by the
 * application; and `/play` sends a player that cannot log in at the origin to a local URL.
 *
 *     SPILLWAY_ORIGIN=https://media.example.org TOKEN=secret PORT=3000 node examples/application.ts
 */
const Home = HttpRouter.add("GET", "/", HttpServerResponse.text("Films\n"))

/** The first MiB of a file, through the cache. What fails before the first byte is a 502; after it, the connection is cut. */
const Trailer = HttpRouter.use((router) =>
  Effect.gen(function*() {
    const spillway = yield* Spillway
    yield* router.add(
      "GET",
      "/trailer",
      spillway.open("/film.mp4", { range: { start: 0, end: 1024 ** 2 } }).pipe(
        Effect.map(({ headers, stream }) =>
          HttpServerResponse.stream(stream, { contentType: headers["content-type"] ?? "video/mp4" })
        ),
        Effect.catch((error) => Effect.succeed(HttpServerResponse.text(`${error.message}\n`, { status: 502 })))
      )
    )
  })
)

/** Registered after `routes` has told where it is served, for as long as the application runs. */
const Play = HttpRouter.use((router) =>
  Effect.gen(function*() {
    const spillway = yield* Spillway
    const origin = yield* Config.String("SPILLWAY_ORIGIN")
    const token = yield* Config.String("TOKEN")
    const film = yield* spillway.register(`${origin}/film.mp4`, {
      headers: { authorization: `Bearer ${token}` },
      key: "film"
    })
    yield* router.add("GET", "/play", HttpServerResponse.redirect(film.path))
  })
).pipe(Layer.provide(Spillway.routes("/media")))

const Listener = Layer.unwrap(
  Effect.map(
    Config.Port("PORT").pipe(Config.withDefault(3000)),
    (port) => NodeHttpServer.layer(createServer, { port, host: "127.0.0.1" })
  )
)

HttpRouter.serve(Layer.mergeAll(Home, Trailer, Play)).pipe(
  // It listens when everything else is there: a request that comes before would wait for ever.
  Layer.provide(Listener),
  Layer.provide(Spillway.layerEnvironment),
  Layer.provide(NodeServices.layer),
  Layer.launch,
  NodeRuntime.runMain
)
