/** The `limit` rows of the highest ranks, the highest first. Sorts only a few of the rows, however many there are. */
export const highest = (rows: Iterable<number>, limit: number, rankOf: (row: number) => number): Array<number> => {
  let best: Array<number> = []
  let least = -Infinity
  const cut = (): void => {
    best = best.toSorted((a, b) => rankOf(b) - rankOf(a)).slice(0, limit)
  }
  for (const row of rows) {
    if (rankOf(row) <= least) continue
    best.push(row)
    if (best.length < 2 * limit) continue
    cut()
    least = rankOf(best.at(-1)!)
  }
  cut()
  return best
}
