import { Effect } from "effect"
import { HttpServerResponse } from "effect/http"
import { isUnchanged, withChanges } from "../../domain/fieldChanges.ts"
import { pathOf, withoutDots } from "../../domain/RequestTarget.ts"
import { findRoute, type Origins } from "../../domain/Route.ts"
import type { FieldChanges } from "../../domain/RoutePolicy.ts"
import { OriginConfig } from "../../services/config/OriginConfig.ts"
import { PREFIX } from "../admin/AdminPages.ts"
import type { PromptResponse } from "./mediaResponse.ts"
import type { RequestHead } from "./parseRequest.ts"
import { isOfPeer } from "./peerRequests.ts"
import type { Reply } from "./Reply.ts"

/** `fields`, a list of names and values in turn, with `changes`. */
const changedList = (fields: ReadonlyArray<string>, changes: FieldChanges): ReadonlyArray<string> => {
  const gone = new Set([...changes.remove, ...Object.keys(changes.set)])
  const kept = fields.filter((_, i) => !gone.has(fields[i - (i % 2)]!.toLowerCase()))
  return kept.concat(Object.entries(withChanges({}, changes)).flat())
}

/**
 * Changes the fields of responses as the routes of their requests say. Another node of a fleet gets them as they are, and changes them for its
 * viewers.
 */
export const makeResponseFields = Effect.gen(function*() {
  const config = yield* OriginConfig
  let origins: Origins | undefined
  let isAny = false

  const changesFor = (request: RequestHead): FieldChanges | undefined => {
    if (config.origins !== origins) {
      origins = config.origins
      isAny = origins.routes.some(({ policy }) => !isUnchanged(policy.responseFields))
    }
    if (!isAny || request.url.startsWith(PREFIX) || isOfPeer(request)) return undefined
    const path = pathOf(withoutDots(request.url))
    return findRoute(config.origins, request.headers["host"], path)?.policy.responseFields
  }

  return {
    ofReply: (reply: Reply, request: RequestHead): Reply => {
      const changes = changesFor(request)
      if (changes === undefined || isUnchanged(changes)) return reply
      const without = changes.remove.reduce(
        (response, name) => HttpServerResponse.removeHeader(response, name),
        reply.response
      )
      return { ...reply, response: HttpServerResponse.setHeaders(without, withChanges({}, changes)) }
    },
    ofPrompt: (response: PromptResponse | undefined, request: RequestHead): PromptResponse | undefined => {
      const changes = response && changesFor(request)
      if (response === undefined || changes === undefined || isUnchanged(changes)) return response
      return { ...response, fields: changedList(response.fields, changes) }
    }
  }
})
