import { Effect, Exit, Scope } from "effect"
import type { OriginError } from "../../domain/OriginError.ts"
import type { Resource } from "../../domain/Resource.ts"
import type { HeaderFields } from "../../domain/rfc/HeaderFields.ts"
import type { Access } from "../../domain/Route.ts"
import type { Origin, OriginResponse } from "./Origin.ts"

/** Where the bytes of a resource are available at the moment. */
export interface Location {
  readonly url: string
  /** Fields that the origin is to get besides the viewer's, such as a token. */
  readonly headers: HeaderFields
  /** `public`: the address that the name resolves to must be a public one when the connection is made. `any` without it. */
  readonly access?: Access
}

/** A location that the origin did not accept, and the status that said so, 401 or 403. */
export interface Refusal {
  readonly location: Location
  readonly status: number
}

/** The origin as one viewer sees it. */
export interface Source {
  /** The viewer's fields that go to the origin; the ones that `Vary` may name. */
  readonly fields: HeaderFields
  /** Nobody waits for its response: requests of waiting viewers go first. */
  readonly background?: boolean
  /** Asked before each request; once more with the `refusal` when the origin did not accept the location. */
  readonly locate: (refusal?: Refusal) => Effect.Effect<Location, OriginError>
}

/** Whether the origin can't tell two sources apart: their requests have the same fields. */
export const isSameSource = (a: Source | undefined, b: Source | undefined): boolean => {
  if (a === b) return true
  if (a === undefined || b === undefined) return false
  const names = Object.keys(a.fields)
  return names.length === Object.keys(b.fields).length && names.every((name) => a.fields[name] === b.fields[name])
}

/** A resource at its own URL, for an unknown viewer. */
export const plainSource = ({ url }: Resource): Source => ({
  fields: {},
  locate: () => Effect.succeed({ url, headers: {} })
})

/** A request without the place where it goes. */
export interface Question {
  readonly method: "GET" | "HEAD"
  readonly headers: HeaderFields
  /** Nobody waits for it: requests of waiting viewers go first. */
  readonly background?: boolean
}

const isElsewhere = (a: Location, b: Location): boolean =>
  a.url !== b.url || JSON.stringify(a.headers) !== JSON.stringify(b.headers)

/**
 * One request at the location of `source`. Where the origin answers 401 or 403, the location is requested once more, and when
 * it is another one by then, as a signed URL that has expired, the request is made there.
 */
export const askOrigin = (
  origin: Origin["Service"],
  source: Source,
  { background = false, headers, method }: Question
): Effect.Effect<OriginResponse, OriginError, Scope.Scope> => {
  const ask = Effect.fnUntraced(function*({ access = "any", headers: ofLocation, url }: Location) {
    const scope = yield* Scope.fork(yield* Effect.scope)
    const response = yield* Scope.provide(
      origin.request({
        method,
        url,
        access,
        background: background || source.background === true,
        headers: { ...source.fields, ...ofLocation, ...headers },
        secrets: Object.keys(ofLocation)
      }),
      scope
    )
    return { response, scope }
  })
  return Effect.gen(function*() {
    const location = yield* source.locate()
    const { response, scope } = yield* ask(location)
    if (response.status !== 401 && response.status !== 403) return response
    const next = yield* source.locate({ location, status: response.status })
    if (!isElsewhere(location, next)) return response
    yield* Scope.close(scope, Exit.void)
    return (yield* ask(next)).response
  })
}
