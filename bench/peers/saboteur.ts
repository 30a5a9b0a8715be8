import * as Fs from "node:fs"
import { join } from "node:path"
import { chunkFiles } from "../cacheFiles.ts"

/** `saboteur.ts HOW DIRECTORY`: does harm to a cache's directory once SIGUSR2 comes, and ends with SIGTERM. */

const [how = "", directory = ""] = process.argv.slice(2)

const BLOCK = Buffer.alloc(1024 ** 2)

/** Takes all room, and what is made of it later, until the end. */
const fill = (): void => {
  const file = join(directory, "somebody-else")
  const fd = Fs.openSync(file, "w")
  const write = (): void => {
    try {
      while (Fs.writeSync(fd, BLOCK) > 0);
    } catch {
      // It is full.
    }
  }
  write()
  setInterval(write, 1)
  process.once("exit", () => Fs.rmSync(file))
}

const corrupt = (path: string): void => {
  const fd = Fs.openSync(path, "r+")
  Fs.writeSync(fd, "damaged", 4096)
  Fs.closeSync(fd)
}

// Listed before: what is done then is done at once.
const files = chunkFiles(directory)

const harms: Record<string, () => void> = {
  fill,
  delete: () => files.forEach((path) => Fs.rmSync(path, { force: true })),
  corrupt: () => files.forEach(corrupt)
}

process.once("SIGUSR2", () => harms[how]!())
process.once("SIGTERM", () => process.exit(0))
setInterval(() => {}, 60_000)
process.stdout.write("ready\n")
