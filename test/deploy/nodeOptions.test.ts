import { assert, describe, it } from "@effect/vitest"
import * as Fs from "node:fs"
import { fileURLToPath } from "node:url"

/** Each place that starts the program with Node, and how. */
const STARTS = [
  ["package.json", /"(?:start|spillway)": "node (.*?)dist\/bin\/spillway\.js/g],
  ["deploy/Dockerfile", /^ENTRYPOINT \["node", "(.*?)", "dist\/bin\/spillway\.js"\]$/gm],
  ["deploy/systemd/spillway.service", /^ExecStart=\S*node (.*?)\/opt\/spillway\/dist\/bin\/spillway\.js/gm],
  ["bench/servers.ts", /^const NODE_OPTIONS = \["(.*?)"\]$/gm]
] as const

describe("the options of Node", () => {
  it("are the same wherever the program is started", () => {
    const options = STARTS.map(([file, pattern]) => {
      const text = Fs.readFileSync(fileURLToPath(new URL(`../../${file}`, import.meta.url)), "utf8")
      return [file, [...text.matchAll(pattern)].map(([, option]) => option!.trim())]
    })
    const same = "--max-semi-space-size=8"
    assert.deepStrictEqual(options, [
      ["package.json", [same, same]],
      ["deploy/Dockerfile", [same]],
      ["deploy/systemd/spillway.service", [same]],
      ["bench/servers.ts", [same]]
    ])
  })
})
