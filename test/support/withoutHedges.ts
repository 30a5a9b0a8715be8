import { Effect, type Scope } from "effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import { temporaryDirectory } from "./disks.ts"

/**
 * Arguments of the program for one origin, from which no byte is requested twice at a time. Tests that count requests need them: on a busy
 * machine, a test's own origin can be silent for longer than the 3 s after which Spillway sends a second request.
 */
export const withoutHedges = (origin: string): Effect.Effect<ReadonlyArray<string>, never, Scope.Scope> =>
  Effect.map(temporaryDirectory, (directory) => {
    // A program that runs as another user reads it, too.
    Fs.chmodSync(directory, 0o755)
    const file = join(directory, "spillway.toml")
    Fs.writeFileSync(file, `[[route]]\norigin = "${origin}"\nhedge-after = "off"\n`)
    return ["--config", file]
  })
