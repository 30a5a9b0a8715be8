/** Metrics as Prometheus reads them. */
export interface Family {
  readonly name: string
  readonly type: string
  readonly labels: ReadonlyArray<string>
}

const orderedNames = (labels: string): ReadonlyArray<string> =>
  [...new Set([...labels.matchAll(/(\w+)="/g)].map(([, label]) => label!))].toSorted()

/** The families of a scrape, by name. */
export const familiesOf = (text: string): ReadonlyArray<Family> => {
  const series = text.split("\n").filter((line) => line !== "" && !line.startsWith("#"))
  return [...text.matchAll(/^# TYPE (\S+) (\S+)$/gm)].map(([, name, type]) => {
    const own = series.filter((line) => new RegExp(`^${name}(?:_bucket)?[{ ]`).test(line))
    const labels = orderedNames(own.join(" ")).filter((label) => type !== "histogram" || label !== "le")
    return { name: name!, type: type!, labels }
  }).toSorted((a, b) => a.name < b.name ? -1 : 1)
}

/** The value of one series, written as in the scrape. */
export const valueOf = (text: string, series: string): number | undefined => {
  const line = text.split("\n").find((line) => line.startsWith(`${series} `))
  return line === undefined ? undefined : Number(line.slice(series.length + 1))
}
