import { assert, layer } from "@effect/vitest"
import { Context, Effect, Layer } from "effect"
import { spawn } from "node:child_process"
import * as Fs from "node:fs"
import { dirname, join, relative } from "node:path"
import { Script } from "node:vm"
import { run } from "../support/command.ts"
import { temporaryDirectory } from "../support/disks.ts"
import { eventually, eventuallyHit, view } from "../support/Program.ts"
import { makeProject, root } from "../support/Project.ts"
import { sha256 } from "../support/TestOrigin.ts"

/** An empty project with the package in it. */
class Project extends Context.Service<Project, string>()("spillway/test/e2e/package.test/Project") {
  static readonly layer = Layer.effect(Project, makeProject)
}

/** Where the package is in the project. */
const PACKAGE = "node_modules/spillway"

/** The files of the package, by their paths in it. */
const filesOf = (project: string): Array<string> =>
  Fs.readdirSync(join(project, PACKAGE), { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => relative(join(project, PACKAGE), join(entry.parentPath, entry.name)))

const program = `
import { NodeServices } from "@effect/platform-node"
import { Effect, Layer, Stream } from "effect"
import { type InvalidOptions, type OriginError, Spillway } from "spillway"
import { MemoryOrigin, TestSpillway } from "spillway/testing"

const kept = Effect.gen(function*() {
  const { files } = yield* MemoryOrigin.MemoryOrigin
  files.set("https://media.example.org/a", { bytes: new TextEncoder().encode("spillway"), etag: '"1"' })
  const { open } = yield* Spillway
  const { size, stream } = yield* open("https://media.example.org/a", { range: { start: 5 } })
  const typed: Stream.Stream<Uint8Array, OriginError> = stream
  return [size, new TextDecoder().decode(yield* Stream.mkUint8Array(typed))] as const
}).pipe(Effect.scoped, Effect.provide(TestSpillway.layer()))

// @ts-expect-error There is no such option.
void Effect.flatMap(Spillway, ({ open }) => open("/a", { rnage: { start: 5 } }))

export const whole: Layer.Layer<Spillway, InvalidOptions, never> = Layer.provide(
  Spillway.layer({ directory: "cache", maxSize: "10 GiB", readDeadline: "1 second" }),
  NodeServices.layer
)

Effect.runPromise(kept).then((told) => console.log(JSON.stringify(told)))
`

/** Effect's own declarations are not checked without the DOM's, which they name. */
const options = (resolution: "nodenext" | "bundler", files: ReadonlyArray<string> = ["program.ts"]) => ({
  compilerOptions: {
    target: "ES2024",
    lib: ["ES2024", "DOM", "DOM.Iterable"],
    module: resolution === "nodenext" ? "nodenext" : "esnext",
    moduleResolution: resolution,
    types: ["node"],
    strict: true,
    exactOptionalPropertyTypes: true,
    skipLibCheck: false,
    rootDir: ".",
    outDir: resolution
  },
  files
})

/** What an application has around the code that the documentation shows without its imports. */
const inAnApplication = (code: string) => `
import { NodeServices } from "@effect/platform-node"
import { Config, Effect, Layer, Stream } from "effect"
import { type CacheConfig, type ChunkStore, type DirectoryLock, type DiskMonitor, Engines, EvictionPolicy } from "spillway"
import { InvalidOptions, Origin, OriginResolver, type Refusal, Resource, Spillway, type SpillwayOptions } from "spillway"
declare const layerStore: Layer.Layer<ChunkStore | DirectoryLock | DiskMonitor, never, CacheConfig>
declare const options: SpillwayOptions
declare const secret: string
declare const spillway: Spillway["Service"]
declare const token: string
declare const sign: (url: string, refusal: Refusal | undefined) => Effect.Effect<string>
export const program = Effect.gen(function*() {
${code}
})
`

const sources = Fs.readdirSync(join(root, "src"), { encoding: "utf8", recursive: true })
  .filter((file) => file.endsWith(".ts"))
  .map((file) => ({ name: `src-${file.replace(/\W/g, "-")}`, text: Fs.readFileSync(join(root, "src", file), "utf8") }))

/** The examples in doc comments, by where they are. */
const examples = sources.flatMap(({ name, text }) =>
  [...text.matchAll(/^ *\* @example\n *\* ```ts\n([^]*?)^ *\* ```$/gm)].map(([, code = ""], index) => ({
    name: `${name}-${index}.ts`,
    code: code.replace(/^ *\* ?/gm, "")
  }))
)

/** The code in the documentation, by where it is. */
const documented = ["README.md", "docs/guide/embedding.md", "docs/guide/testing.md"].flatMap((file) =>
  [...Fs.readFileSync(join(root, file), "utf8").matchAll(/^```ts\n([^]*?)^```$/gm)].map(([, code = ""], index) => ({
    name: `${file.replace(/\W/g, "-")}-${index}.ts`,
    code: code.startsWith("import ") ? code : inAnApplication(code)
  }))
)

layer(Project.layer, { excludeTestServices: true })(
  "the packed tarball in an empty project",
  (it) => {
    for (const resolution of ["nodenext", "bundler"] as const) {
      it.effect(`has types under moduleResolution ${resolution}, and runs`, () =>
        Effect.gen(function*() {
          const project = yield* Project
          Fs.writeFileSync(join(project, "program.ts"), program)
          Fs.writeFileSync(join(project, `tsconfig.${resolution}.json`), JSON.stringify(options(resolution)))
          const tsc = join(root, "node_modules/typescript/bin/tsc")
          const compiled = yield* run(process.execPath, [tsc, "-p", join(project, `tsconfig.${resolution}.json`)])
          assert.strictEqual(compiled.stdout + compiled.stderr, "")
          assert.strictEqual(compiled.code, 0)
          const ran = yield* run(process.execPath, [join(project, resolution, "program.js")])
          assert.strictEqual(ran.stdout, "[8,\"way\"]\n", ran.stderr)
        }))
    }

    it.effect("has the types that the code in the documentation wants", () =>
      Effect.gen(function*() {
        const project = yield* Project
        assert.lengthOf(documented, 13)
        assert.lengthOf(examples, sources.reduce((sum, { text }) => sum + text.split("@example").length - 1, 0))
        const shown = [...documented, ...examples]
        for (const { code, name } of shown) Fs.writeFileSync(join(project, name), code)
        const config = join(project, "tsconfig.documented.json")
        Fs.writeFileSync(config, JSON.stringify(options("nodenext", shown.map(({ name }) => name))))
        const tsc = join(root, "node_modules/typescript/bin/tsc")
        const { stderr, stdout } = yield* run(process.execPath, [tsc, "--noEmit", "-p", config])
        assert.strictEqual(stdout + stderr, "")
      }))

    it.effect("has nothing in it that its users do not need", () =>
      Effect.gen(function*() {
        const files = filesOf(yield* Project)
        assert.includeMembers(files, ["LICENSE", "README.md", "package.json", "dist/index.js", "assets/sample.mp4"])
        assert.isEmpty(files.filter((file) => /^(?:src|test|bench|node_modules)\//.test(file) || file.endsWith(".map")))
        const { exports } = JSON.parse(Fs.readFileSync(join(yield* Project, PACKAGE, "package.json"), "utf8"))
        const named = Object.values(exports).flatMap((entry) =>
          typeof entry === "string" ? entry : Object.values(entry!)
        )
        assert.isEmpty(named.filter((file) => !files.includes(file.slice(2))))
      }))

    it.effect("has documentation whose links lead to files in it", () =>
      Effect.gen(function*() {
        const files = filesOf(yield* Project)
        const isThere = (target: string) => files.some((file) => file === target || file.startsWith(`${target}/`))
        const dead = files.filter((file) => file.endsWith(".md")).flatMap((file) => {
          const text = Fs.readFileSync(join(root, file), "utf8")
          const targets = [...text.matchAll(/\]\((?!https?:|mailto:)([^)#\s]+)/g)].map(([, link = ""]) => link)
          return targets.filter((link) => !isThere(join(dirname(file), link))).map((link) => `${file}: ${link}`)
        })
        assert.isEmpty(dead)
      }))

    it.effect("has a program that sizes the thread pool, by a module that nothing imports a value of", () =>
      Effect.gen(function*() {
        const project = yield* Project
        const { stdout } = yield* run(join(project, "node_modules/.bin/spillway"), ["doctor"])
        assert.include(stdout, "24 threads")
      }))

    it.effect("has a program whose entry even a Node without modules can run", () =>
      Effect.gen(function*() {
        const entry = Fs.readFileSync(join(yield* Project, "node_modules/spillway/dist/bin/spillway.js"), "utf8")
        // A script, not a module.
        assert.doesNotThrow(() => new Script(entry))
      }))

    it.effect("has a program that plays the sample and has the dashboard", () =>
      Effect.gen(function*() {
        const project = yield* Project
        const env = { SPILLWAY_PORT: "0", SPILLWAY_CACHE_DIR: yield* temporaryDirectory }
        let printed = ""
        const child = yield* Effect.acquireRelease(
          Effect.sync(() =>
            spawn(join(project, "node_modules/.bin/spillway"), ["demo"], { env: { ...process.env, ...env } })
          ),
          (child) =>
            Effect.callback<void>((resume) => {
              child.once("close", () => resume(Effect.void))
              child.kill("SIGKILL")
            })
        )
        for (const stream of [child.stdout, child.stderr]) {
          stream.on("data", (data: Buffer) => printed += data.toString())
        }
        const listening = /listening on (http:[^\s,]+)/
        yield* eventually("the program to listen", Effect.sync(() => listening.test(printed)))
        const url = listening.exec(printed)![1]!
        const sample = Fs.readFileSync(join(root, "assets/sample.mp4"))
        assert.strictEqual((yield* view(`${url}/sample.mp4`)).sha256, sha256(sample))
        yield* eventuallyHit(`${url}/sample.mp4`)
        const page = yield* Effect.promise(() => fetch(`${url}/_spillway/`))
        const html = yield* Effect.promise(() => page.text())
        assert.strictEqual(page.status, 200, html)
        const files = Array.from(html.matchAll(/(?:src|href)="(assets\/[^"]+)"/g), ([, file]) => file!)
        assert.isNotEmpty(files)
        for (const file of files) {
          const { status } = yield* Effect.promise(() => fetch(`${url}/_spillway/${file}`))
          assert.strictEqual(status, 200, file)
        }
      }))
  }
)
