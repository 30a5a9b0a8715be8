#!/usr/bin/env node
/**
 * Starts the program if Node is new enough. Old versions of Node run this file to print their message, so it has no static import and no
 * syntax that is newer than ES2015, apart from `import()`.
 */

/** The oldest version that runs the program, as `engines` in `package.json` says. */
const OLDEST = [22, 19] as const

const [major = 0, minor = 0] = process.versions.node.split(".").map(Number)

if (major > OLDEST[0] || (major === OLDEST[0] && minor >= OLDEST[1])) {
  void import("./cli/program.ts")
} else {
  process.stderr.write(
    `spillway: needs Node ${OLDEST.join(".")} or newer; this is Node ${process.versions.node} (${process.execPath})\n`
  )
  process.exitCode = 1
}
