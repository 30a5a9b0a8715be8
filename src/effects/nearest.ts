/** How many characters have to be changed, added or removed to make `b` of `a`. */
const distance = (a: string, b: string): number => {
  let before = Array.from({ length: b.length + 1 }, (_, i) => i)
  for (let i = 1; i <= a.length; i++) {
    const row = [i]
    for (let j = 1; j <= b.length; j++) {
      const changed = before[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1)
      row.push(Math.min(changed, before[j]! + 1, row[j - 1]! + 1))
    }
    before = row
  }
  return before[b.length]!
}

/** The one of `names` that `name` is most likely a misspelling of: at most two characters differ, or a third of them. */
export const nearest = (name: string, names: ReadonlyArray<string>): string | undefined => {
  const known = names.map((other) => ({ other, far: distance(name.toLowerCase(), other.toLowerCase()) }))
  const [best] = known.toSorted((a, b) => a.far - b.far)
  return best !== undefined && best.far < name.length && best.far <= Math.max(2, name.length / 3)
    ? best.other
    : undefined
}
