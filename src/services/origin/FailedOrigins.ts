import type { RouteOrigin } from "../../domain/RoutePolicy.ts"

/** The origins of a route that have failed one body. Those that failed first are the first to be asked again. */
export class FailedOrigins {
  readonly #origins = new Set<RouteOrigin>()

  /** In the order in which they failed last. */
  inOrder(): ReadonlyArray<RouteOrigin> {
    return [...this.#origins]
  }

  /** Adds an origin, if it is known which one it was. */
  add(origin: RouteOrigin | undefined): void {
    if (origin === undefined) return
    this.#origins.delete(origin)
    this.#origins.add(origin)
  }

  clear(): void {
    this.#origins.clear()
  }
}
