import { Effect, type Layer } from "effect"
import { HttpRouter, HttpServer } from "effect/http"
import { Proxy } from "../http/proxy/Proxy.ts"
import { LocalUrls } from "../services/origin/LocalUrls.ts"

/** `routes` of `Spillway`. */
export const routes = (
  prefix: HttpRouter.PathInput
): Layer.Layer<never, never, HttpRouter.HttpRouter | HttpServer.HttpServer | Proxy | LocalUrls> =>
  HttpRouter.use((router) =>
    Effect.gen(function*() {
      const { handler } = yield* Proxy
      const { serveAt } = yield* LocalUrls
      yield* HttpServer.addressFormattedWith((address) =>
        Effect.sync(() => serveAt(address + prefix.replace(/\/+$/, "")))
      )
      // The handler gets the target without the prefix.
      yield* router.prefixed(prefix).add("*", "/*", Effect.map(handler, ({ response }) => response))
    })
  )
