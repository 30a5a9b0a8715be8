import { assert, describe, it } from "@effect/vitest"
import { Effect } from "effect"
import { spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import { basename, dirname, join } from "node:path"
import { fileURLToPath } from "node:url"
import { run } from "../support/command.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { freePort } from "../support/freePort.ts"
import { eventually } from "../support/Program.ts"

/**
 * The steps of the Dockerfile, in plain directories: what each stage copies is enough for what it runs. To build, the packages are
 * those that are installed here; to run, there are none.
 */

const root = fileURLToPath(new URL("../..", import.meta.url))

interface Instruction {
  readonly name: string
  readonly text: string
}

const parse = (dockerfile: string): ReadonlyArray<Instruction> =>
  dockerfile.replace(/^#.*\n/gm, "").replace(/\\\n\s*/g, "").split("\n").filter((line) => line !== "").map((line) => {
    const [name] = line.split(" ")
    return { name: name!, text: line.slice(name!.length + 1) }
  })

const instructions = parse(Fs.readFileSync(join(root, "deploy/Dockerfile"), "utf8"))

const begin = instructions.findLastIndex(({ name }) => name === "FROM")

const stages = { build: instructions.slice(0, begin), last: instructions.slice(begin) }

/** Does what a COPY says, between directories that stand for `WORKDIR /app`. */
const copy = (text: string, from: string, to: string): void => {
  const words = text.split(" ").filter((word) => !word.startsWith("--")).map((word) => word.replace(/^\/app\//, ""))
  const target = words.pop()!
  for (const word of words) {
    const destination = target.endsWith("/") ? join(to, target, basename(word)) : join(to, target)
    Fs.mkdirSync(dirname(destination), { recursive: true })
    Fs.cpSync(join(from, word), destination, { recursive: true })
  }
}

/** What the context of the build has, by the file that says what it leaves out. */
const inContext = (text: string): ReadonlyArray<string> => {
  const kept = Fs.readFileSync(join(root, "deploy/Dockerfile.dockerignore"), "utf8").split("\n")
  return text.split(" ").slice(0, -1).filter((word) => !kept.includes(`!${word}`))
}

const only = (stage: ReadonlyArray<Instruction>, name: string) => stage.filter((step) => step.name === name)

describe("the Dockerfile", () => {
  it("has two stages, of which the last one runs as a user with a number, which is not root", () => {
    assert.lengthOf(only(instructions, "FROM"), 2)
    assert.deepStrictEqual(only(stages.last, "USER"), [{ name: "USER", text: "1000:1000" }])
    assert.deepStrictEqual(only(stages.last, "VOLUME"), [{ name: "VOLUME", text: "/var/cache/spillway" }])
    const [major] = /\d+/.exec(stages.last[0]!.text)!
    assert.isAtLeast(Number(major), 24)
  })

  it.live(
    "builds a program that runs with what it copies, and whose health can be checked",
    () =>
      Effect.gen(function*() {
        const build = join(yield* temporaryDirectory, "app")
        for (const { text } of only(stages.build, "COPY")) {
          assert.isEmpty(inContext(text))
          copy(text, root, build)
        }
        Fs.symlinkSync(join(root, "node_modules"), join(build, "node_modules"))
        const commands = only(stages.build, "RUN").map(({ text }) => text)
        assert.deepStrictEqual(commands, ["npm ci --ignore-scripts", "npm run build"])
        const built = spawnSync("npm", ["run", "build"], { cwd: build, encoding: "utf8" })
        assert.strictEqual(built.status, 0, built.stdout + built.stderr)

        const app = join(yield* temporaryDirectory, "app")
        for (const { text } of only(stages.last, "COPY")) {
          const isBuilt = text.startsWith("--from=build ")
          if (!isBuilt) assert.isEmpty(inContext(text))
          copy(text, isBuilt ? build : root, app)
        }
        // As it is started: ENV, ENTRYPOINT and CMD, but for the port and the directory of the cache.
        const cache = yield* temporaryDirectory
        const port = String(yield* freePort)
        const told = Object.fromEntries(
          only(stages.last, "ENV").flatMap(({ text }) => text.split(" ").map((pair) => pair.split("=")))
        ) as Record<string, string>
        assert.strictEqual(told["SPILLWAY_CACHE_DIR"], "/var/cache/spillway")
        const env = {
          ...told,
          SPILLWAY_ORIGIN: "http://127.0.0.1:9",
          PATH: process.env["PATH"]!,
          SPILLWAY_PORT: port,
          SPILLWAY_CACHE_DIR: cache
        }
        const { bin: { spillway: program } } = JSON.parse(Fs.readFileSync(join(root, "package.json"), "utf8"))
        const command = ["ENTRYPOINT", "CMD"].flatMap((name) => JSON.parse(only(stages.last, name)[0]!.text))
        assert.deepStrictEqual(command, ["node", "--max-semi-space-size=8", program, "serve"])
        const check = JSON.parse(/CMD (.*)$/.exec(only(stages.last, "HEALTHCHECK")[0]!.text)![1]!) as Array<string>
        const isHealthy = Effect.map(
          run("env", [...Object.entries(env).map(([name, value]) => `${name}=${value}`), ...check]),
          ({ code }) => code === 0
        )
        assert.isFalse(yield* isHealthy)
        const script = `cd ${app} && exec ${command.join(" ")}`
        yield* Effect.forkChild(
          run("env", ["-i", ...Object.entries(env).map(([n, v]) => `${n}=${v}`), "sh", "-c", script])
        )
        yield* eventually("health", isHealthy)
        const written = Fs.readdirSync(app)
        assert.sameMembers(written, ["package.json", "dist", "assets"])
      })
  )
})
