import { Effect, type Scope } from "effect"
import * as Fs from "node:fs"
import { dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { run } from "./command.ts"
import { temporaryDirectory } from "./disks.ts"

/** The root of this repository. */
export const root = fileURLToPath(new URL("../..", import.meta.url))

/**
 * An empty project into which the packed tarball, of the build, has been installed. Its peers, and Node's types, are links to those here, so that
 * nothing has to be fetched that `npm ci` has not. The scope removes it.
 */
export const makeProject: Effect.Effect<string, never, Scope.Scope> = Effect.gen(function*() {
  const directory = yield* temporaryDirectory
  const packed = yield* run("npm", ["pack", root, "--silent", "--ignore-scripts", "--pack-destination", directory])
  if (packed.code !== 0) return yield* Effect.die(packed.stderr)
  const tarball = join(directory, packed.stdout.trim().split("\n").at(-1)!)
  Fs.writeFileSync(join(directory, "package.json"), JSON.stringify({ name: "viewer", private: true, type: "module" }))
  const flags = ["--prefix", directory, "--prefer-offline", "--no-audit", "--no-fund", "--legacy-peer-deps"]
  const installed = yield* run("npm", ["install", ...flags, tarball])
  if (installed.code !== 0) return yield* Effect.die(installed.stdout + installed.stderr)
  const { peerDependencies } = JSON.parse(
    Fs.readFileSync(join(directory, "node_modules/spillway/package.json"), "utf8")
  )
  for (const name of [...Object.keys(peerDependencies), "@types/node"]) {
    const at = join(directory, "node_modules", name)
    Fs.mkdirSync(dirname(at), { recursive: true })
    Fs.symlinkSync(join(root, "node_modules", name), at)
  }
  return directory
})
