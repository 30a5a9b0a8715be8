import type { OriginError } from "../../domain/OriginError.ts"
import { isSameSource } from "../origin/askOrigin.ts"
import type { Fetch } from "./Fetch.ts"
import type { Reader } from "./Reader.ts"

/**
 * Chooses the fetch that a reader waits for. A fetch sends the fields of the reader that it was started for, and the origin may
 * refuse or delay those alone. So when a fetch fails, readers with other sources retry before they fail.
 */

/** How many fetches for one byte may be active at a time for readers that other readers' fetches have failed. */
const MAX_OWN_TRIES = 8

/** Leaves the reader's fetch if it has failed, and notes whose failure that was. */
const leaveFailed = (reader: Reader): void => {
  const { fetch } = reader
  const failure = fetch?.failureFor(reader.source)
  if (fetch === undefined || failure === undefined) return
  if (isSameSource(fetch.source, reader.source)) reader.ownFailure = failure
  else reader.foreignFailures += 1
  fetch.leave(reader)
}

/**
 * How many fetches have to be active for a reader to wait for one of them rather than start its own: one, unless fetches with other
 * sources have failed. Each such failure doubles the number. So every reader soon gets to its own try, and if only the first
 * reader's request was at fault, a single fetch serves all others.
 */
const enough = ({ foreignFailures, ownFailure }: Reader): number =>
  ownFailure !== undefined || foreignFailures === 0 ? 1 : Math.min(2 ** (foreignFailures - 1), MAX_OWN_TRIES)

/** The fetch for the reader to wait for, the failure to give it, or `undefined` if it should start a fetch. */
export const chooseFetch = (reader: Reader): Fetch | { readonly failure: OriginError } | undefined => {
  const { download, fetch, offset, source } = reader
  if (fetch !== undefined && fetch.isOpenTo(source) && fetch.covers(offset)) return fetch
  leaveFailed(reader)
  const open = download.fetches.approaching(offset).filter((fetch) => fetch.isOpenTo(source))
  if (open.length >= enough(reader)) return open[0]
  return reader.ownFailure && { failure: reader.ownFailure }
}
