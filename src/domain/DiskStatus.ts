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

const GB = 1_000_000_000

/** How many file nodes are left free for others: a sixty-fourth of them, at most 1024. */
export const minFreeNodes = (totalNodes: number): number => Math.min(1024, Math.floor(totalNodes / 64))

/** The free nodes below which a disk that has `total` of them has each status. */
const nodeThresholds = (total: number) => ({
  info: Math.min(total * 0.2, 100_000),
  warning: Math.min(total * 0.1, 50_000),
  critical: Math.min(total * 0.05, 10_000)
})

interface Thresholds {
  readonly info: number
  readonly warning: number
  readonly critical: number
}

const below = (free: number, { critical, info, warning }: Thresholds): number =>
  free < critical ? 3 : free < warning ? 2 : free < info ? 1 : 0

/** From the most room to the least. */
const order = ["Healthy", "Info", "Warning", "Critical"] as const

export type DiskStatus = typeof order[number]

/**
 * Classifies free space: `Info` below 20 % of the disk, `Warning` below 10 % or 5 GB, `Critical` below 5 % or 1 GB, or
 * below `minFree`. On a small disk the absolute bounds shrink to 15 % and 7.5 % of it, so that the order holds and a
 * disk of 16 MiB is not always critical. File nodes count alike, where there are any: below 20 %, 10 % and 5 % of them, and on a
 * large disk below 100 000, 50 000 and 10 000. The worse of both holds.
 */
export const classify = ({ free, freeNodes, total, totalNodes }: DiskUsage, minFree: number): DiskStatus =>
  order[Math.max(below(free, thresholds(total, minFree)), below(freeNodes, nodeThresholds(totalNodes)))]!

/** The free bytes below which a disk of `total` bytes has each status; whichever is the worst holds. */
export const thresholds = (total: number, minFree: number): Thresholds => ({
  info: total * 0.2,
  warning: Math.max(total * 0.1, Math.min(5 * GB, total * 0.15)),
  critical: Math.max(total * 0.05, Math.min(GB, total * 0.075), minFree)
})
