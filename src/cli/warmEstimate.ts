import type { WarmJob } from "../http/admin/api/model.ts"

/** The files of a run that have ended, and the bytes that had to be fetched for them. */
interface Ended {
  readonly files: number
  readonly fetched: number
}

/**
 * Estimates the time until all of `total` files are fetched, after a run of `seconds`. Bytes that were cached before cost no time, and files
 * that haven't begun, and those of playlists that aren't done, are as long as the others on average. `undefined` until something was fetched.
 */
export const secondsLeft = (
  { fetched, files }: Ended,
  running: ReadonlyArray<WarmJob>,
  total: number,
  seconds: number
): number | undefined => {
  const sized = running.filter((job) => job.size !== undefined)
  const fetchedNow = fetched + running.reduce((sum, { bytes, cachedBytes }) => sum + bytes - cachedBytes, 0)
  const named = running.reduce((sum, job) => sum + (job.files === undefined ? 0 : job.files.done + job.files.failed), 0)
  const known = files + sized.length + named
  if (fetchedNow <= 0 || known === 0) return undefined
  const missing = sized.reduce((sum, { bytes, size = 0 }) => sum + size - bytes, 0)
  const average = (fetchedNow + missing) / known
  return (missing + (total - known) * average) / (fetchedNow / seconds)
}
