import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { find, run } from "../support/command.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { startProgram, view } from "../support/Program.ts"

const UNIT = fileURLToPath(new URL("../../deploy/systemd/spillway.service", import.meta.url))

const analyze = find("systemd-analyze")
if (analyze === undefined) process.stderr.write("skipped: the systemd unit: there is no systemd-analyze\n")

const strace = find("strace")
const canTrace = strace !== undefined && spawnSync(strace, ["-f", "true"]).status === 0
if (analyze !== undefined && !canTrace) process.stderr.write("skipped: the unit's system calls: there is no strace\n")

/** The calls of a set of systemd's, such as `@system-service`, and of the sets in it. */
const callsOf = (set: string): ReadonlyArray<string> =>
  spawnSync(analyze!, ["syscall-filter", "--no-pager", set], { encoding: "utf8" }).stdout.split("\n").slice(1)
    .map((line) => line.trim()).filter((line) => line !== "" && !line.startsWith("#"))
    .flatMap((name) => name.startsWith("@") ? callsOf(name) : [name])

/** Those that the unit allows. */
const allowedCalls = (): ReadonlySet<string> => {
  const calls = new Set<string>()
  for (const [, not, sets] of Fs.readFileSync(UNIT, "utf8").matchAll(/^SystemCallFilter=(~?)(.*)$/gm)) {
    for (const call of sets!.split(" ").flatMap(callsOf)) calls[not === "" ? "add" : "delete"](call)
  }
  return calls
}

/** From 0 for a service that can do nothing to 10 for one that can do everything. */
const MAX_EXPOSURE = 2

describe.skipIf(analyze === undefined)("the systemd unit", () => {
  it.live("is one that systemd takes without a word", () =>
    Effect.gen(function*() {
      // systemd sees whether what it starts is there.
      const unit = join(yield* temporaryDirectory, "spillway.service")
      Fs.writeFileSync(unit, Fs.readFileSync(UNIT, "utf8").replace("/usr/bin/node ", `${process.execPath} `))
      const { code, stderr, stdout } = yield* run(analyze!, ["verify", "--man=no", unit])
      assert.deepStrictEqual([code, stdout, stderr], [0, "", ""])
    }))

  it.live("leaves the service little to do harm with", () =>
    Effect.gen(function*() {
      const { stdout } = yield* run(analyze!, ["security", "--offline=true", UNIT])
      const exposure = Number(/exposure level for spillway\.service: ([\d.]+)/.exec(stdout)?.[1])
      assert.isAtMost(exposure, MAX_EXPOSURE)
    }))

  it.live.skipIf(!canTrace)("allows the system calls that the program makes", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      const trace = join(directory, "trace")
      // The program is what is started, and strace beside it: by itself it would take the signals.
      const prefix = [strace!, "-D", "-f", "-qq", "-o", trace]
      const program = yield* startProgram(["--cache-dir", join(directory, "cache")], {
        command: "demo",
        prefix,
        // Nothing receives it, but the program that sends it runs.
        env: { NOTIFY_SOCKET: join(directory, "notify") }
      })
      for (const path of ["sample.mp4", "sample.mp4", "_spillway/metrics"]) yield* view(`${program.url}/${path}`)
      yield* program.stop()
      const made = new Set([...Fs.readFileSync(trace, "utf8").matchAll(/^\d+ +(\w+)\(/gm)].map(([, call]) => call!))
      const allowed = allowedCalls()
      assert.isAbove(allowed.size, 200)
      assert.isTrue(made.has("listen"))
      assert.deepStrictEqual([...made].filter((call) => !allowed.has(call)), [])
    }))
})
