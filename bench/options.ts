import { parseArgs } from "node:util"

export interface Options {
  /** The one scenario to run, or all without it. */
  readonly only: string | undefined
  readonly rounds: number
  /** The built checkout of another version that Spillway is measured beside, in place of other servers. */
  readonly against: string | undefined
  /** Where Spillway writes a CPU profile of each scenario. */
  readonly profiles: string | undefined
  readonly json: string | undefined
  readonly markdown: string | undefined
}

export const usage = (scenarios: ReadonlyArray<string>): string =>
  `usage: npm run bench -- [options]

  --only NAME        one scenario: ${scenarios.join(", ")}
  --rounds N         rounds of each measurement (5)
  --against DIR      compare with another version of Spillway, built in DIR, instead of with other servers
  --cpu-prof DIR     have each Spillway that is started write a CPU profile
  --json FILE        write all samples
  --markdown FILE    write the table, below what is written by hand in the file
  --help
`

/** Reads the command line; throws an `Error` that says what is wrong with it. */
export const parseOptions = (args: Array<string>, scenarios: ReadonlyArray<string>): Options | "help" => {
  const { values } = parseArgs({
    args,
    options: {
      only: { type: "string" },
      rounds: { type: "string", default: "5" },
      against: { type: "string" },
      "cpu-prof": { type: "string" },
      json: { type: "string" },
      markdown: { type: "string" },
      help: { type: "boolean", default: false }
    }
  })
  if (values.help) return "help"
  const rounds = Number(values.rounds)
  if (!Number.isInteger(rounds) || rounds < 1) throw new Error(`--rounds: "${values.rounds}" is not a positive integer`)
  if (values.only !== undefined && !scenarios.includes(values.only)) {
    throw new Error(`--only: "${values.only}" is none of ${scenarios.join(", ")}`)
  }
  return {
    only: values.only,
    rounds,
    against: values.against,
    profiles: values["cpu-prof"],
    json: values.json,
    markdown: values.markdown
  }
}
