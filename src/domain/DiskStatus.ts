/**
 * How full the cache's disk is, and where the lines are drawn.
 */

/** What `statfs(2)` says of a file system. Bytes, and file nodes (both 0 where the file system counts none). */
export interface DiskUsage {
  readonly free: number
  readonly total: number
  readonly freeNodes: number
  readonly totalNodes: number
}

/** From the most room to the least. */
export type DiskStatus = "Healthy" | "Info" | "Warning" | "Critical"

const GB = 1_000_000_000

/**
 * Classifies free space: `Info` below 20 % of the disk, `Warning` below 10 % or 5 GB, `Critical` below 5 % or 1 GB, or
 * below `minFree`. On a small disk the absolute bounds shrink to 15 % and 7.5 % of it, so that the order holds and a
 * disk of 16 MiB is not critical for ever.
 */
export const classify = ({ free, total }: DiskUsage, minFree: number): DiskStatus => {
  const { critical, info, warning } = thresholds(total, minFree)
  if (free < critical) return "Critical"
  if (free < warning) return "Warning"
  return free < info ? "Info" : "Healthy"
}

/** The free bytes below which a disk of `total` bytes has each status; whichever is the worst holds. */
export const thresholds = (
  total: number,
  minFree: number
): { readonly info: number; readonly warning: number; readonly critical: number } => ({
  info: total * 0.2,
  warning: Math.max(total * 0.1, Math.min(5 * GB, total * 0.15)),
  critical: Math.max(total * 0.05, Math.min(GB, total * 0.075), minFree)
})
