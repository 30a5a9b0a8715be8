import { Effect } from "effect"
import { annotationsOf, codeOf, loggable, type OriginError } from "../../domain/OriginError.ts"
import { makeRateLimited } from "../../effects/rateLimited.ts"

/** What the log says of origins that fail viewers: one line a minute for each origin and cause. */
export interface OriginLog {
  /** A request was answered with an error. */
  readonly failed: (url: string, error: OriginError) => Effect.Effect<void>
  /** An answer that had begun was cut. */
  readonly cut: (url: string, error: OriginError) => Effect.Effect<void>
}

export const makeOriginLog = (): OriginLog => {
  const once = makeRateLimited()
  const warn = (message: string) => (url: string, error: OriginError) => {
    const host = URL.parse(error.url)?.host
    return once(
      [message, host, error._tag, "phase" in error ? error.phase : codeOf(error)].join(" "),
      Effect.annotateLogs(Effect.logWarning(message), { url: loggable(url), ...annotationsOf(error) })
    )
  }
  return { failed: warn("Origin failed"), cut: warn("Response cut: the origin failed") }
}
