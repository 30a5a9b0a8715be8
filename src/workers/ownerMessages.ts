import { Clock, Effect } from "effect"
import { ANONYMOUS } from "../domain/Asker.ts"
import { isFresh } from "../domain/rfc/Freshness.ts"
import { CacheIndex } from "../services/cache/CacheIndex.ts"
import { Catalog, freshnessFor } from "../services/cache/Catalog.ts"
import { refusals } from "../services/observe/connections.ts"
import { Counters } from "../services/observe/Counters.ts"
import { ResponseMetrics } from "../services/observe/ResponseMetrics.ts"
import type { Member } from "./members.ts"
import type { Known, ToOwner } from "./messages.ts"

/** What the pool does with messages about the workers themselves. */
interface Handlers {
  readonly onListening: (member: Member, address: string) => void
  readonly onFailed: (message: string) => void
  readonly onReport: () => void
}

/** Handles the messages of workers: answers their questions about resources, and counts what they report. */
export const make = Effect.fnUntraced(function*({ onFailed, onListening, onReport }: Handlers) {
  const catalog = yield* Catalog
  const index = yield* CacheIndex
  const counters = yield* Counters
  const responses = yield* ResponseMetrics
  const clock = yield* Clock.Clock
  const context = yield* Effect.context()

  const known = (resource: { readonly id: string; readonly url: string }): Known | undefined => {
    const choices = catalog.choices(resource)
    const entry = catalog.known(resource.id)
    if (choices === undefined || entry === undefined) return undefined
    const freshness = freshnessFor(entry, ANONYMOUS)
    if (freshness === undefined || !isFresh(freshness, clock.currentTimeMillisUnsafe())) return undefined
    // Only the owner knows which viewers with cookies may get it.
    const { audience: _, ...shared } = entry
    return {
      ...shared,
      freshness,
      chunks: index.stretches(resource.id, entry.representation.id),
      choices: Array.from(choices, ([{ field }, coding]) => [field, coding])
    }
  }

  return (member: Member, message: ToOwner): void => {
    switch (message._tag) {
      case "Listening":
        return onListening(member, message.address)
      case "Failed":
        return onFailed(message.message)
      case "Ask": {
        const { resource } = message
        const answer = known(resource)
        if (answer !== undefined) member.share(resource.id)
        return member.send({ _tag: "Answer", resource: resource.id, ...(answer !== undefined && { known: answer }) })
      }
      case "Used":
        return index.touch(message.key)
      case "Settled":
        return member.settled(message.number)
      case "Report":
        member.take(message.report)
        counters.add(message.report)
        responses.add(message.report.responses)
        refusals.updateUnsafe(message.report.refused, context)
        return onReport()
    }
  }
})
