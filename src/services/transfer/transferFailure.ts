import { Cause, Exit } from "effect"
import { loggable, OriginBodyFailed, type OriginError } from "../../domain/OriginError.ts"

/** The failure that viewers get when the fiber of a transfer from `url` has ended with `exit` at `offset`; `undefined` if it succeeded. */
export const transferFailure = (
  exit: Exit.Exit<unknown, OriginError>,
  url: string,
  offset: number
): OriginError | undefined => {
  if (Exit.isSuccess(exit)) return undefined
  const error = Cause.findErrorOption(exit.cause)
  if (error._tag === "Some") return error.value
  return new OriginBodyFailed({ url: loggable(url), offset, cause: Cause.squash(exit.cause) })
}
