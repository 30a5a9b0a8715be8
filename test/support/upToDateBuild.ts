import { execFileSync } from "node:child_process"
import * as Fs from "node:fs"
import { join } from "node:path"
import { root } from "./Project.ts"

const BUILT = join(root, "dist/bin/spillway.js")

/** When the file that changed last was changed, in milliseconds since 1970. */
const lastChange = (directory: string): number =>
  Math.max(
    ...Fs.readdirSync(directory, { recursive: true, encoding: "utf8" })
      .map((name) => Fs.statSync(join(directory, name)).mtimeMs)
  )

/** Builds what the tests of programs run, unless the last build is newer than its sources. */
export const setup = (): void => {
  if (Fs.existsSync(BUILT) && Fs.statSync(BUILT).mtimeMs > lastChange(join(root, "src"))) return
  execFileSync("npm", ["run", "-s", "build"], { cwd: root, stdio: "inherit" })
}
