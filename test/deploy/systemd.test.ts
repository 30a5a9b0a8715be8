import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"
import { find, run } from "../support/command.ts"
import { temporaryDirectory } from "../support/disks.ts"

const UNIT = fileURLToPath(new URL("../../deploy/systemd/spillway.service", import.meta.url))

const analyze = find("systemd-analyze")
if (analyze === undefined) process.stderr.write("skipped: the systemd unit: there is no systemd-analyze\n")

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
})
