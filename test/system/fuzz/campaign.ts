import { drive, type Report } from "./drive.ts"
import { planOf } from "./grammar.ts"

/** What came of many seeds. */
export interface Summary {
  readonly connections: number
  /** How often each status came. */
  readonly statuses: ReadonlyMap<number, number>
  /** The first that was found, and no more are played after it. */
  readonly failed: Report | undefined
}

/** Plays the seeds `from` to `from + count - 1`, `concurrency` connections at a time, until one fails. */
export const campaign = async (
  port: number,
  from: number,
  count: number,
  concurrency: number,
  onReport: (report: Report) => void = () => {}
): Promise<Summary> => {
  const statuses = new Map<number, number>()
  let next = from
  let connections = 0
  let failed: Report | undefined
  const worker = async () => {
    while (next < from + count && failed === undefined) {
      const report = await drive(planOf(next++), port)
      connections++
      for (const status of report.statuses) statuses.set(status, (statuses.get(status) ?? 0) + 1)
      if (report.violation !== undefined) failed ??= report
      onReport(report)
    }
  }
  await Promise.all(Array.from({ length: concurrency }, worker))
  return { connections, statuses, failed }
}

/** Text of which each byte can be read. */
const visible = (bytes: Buffer, most: number): string => {
  const text = JSON.stringify(bytes.toString("latin1", 0, most)).replaceAll("\\r\\n", "\\r\\n\n    ")
  return bytes.length > most ? `${text}… (${bytes.length} bytes)` : text
}

/** A report for whoever has to find out why. */
export const explain = ({ plan, received, statuses, violation }: Report): string =>
  [
    `seed ${plan.seed}: ${violation ?? "nothing violated"}`,
    `  ${plan.kind}${plan.defect === undefined ? "" : `: ${plan.defect}`}, ${plan.requests.length} valid requests`,
    `  parted at ${plan.parts.map(([offset]) => offset).slice(0, 20).join(", ") || "nothing"}`,
    ...(plan.leaving === undefined ? [] : [`  leaves: ${JSON.stringify(plan.leaving)}`]),
    `  sent: ${visible(plan.bytes, 6000)}`,
    `  statuses: ${statuses.join(", ")}`,
    `  received: ${visible(received, 3000)}`
  ].join("\n")
