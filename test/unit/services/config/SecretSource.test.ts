import { NodeServices } from "@effect/platform-node"
import { assert, describe, it } from "@effect/vitest"
import { ConfigProvider, Effect } from "effect"
import * as Fs from "node:fs"
import { join } from "node:path"
import { SecretSource } from "../../../../src/services/config/SecretSource.ts"
import { temporaryDirectory } from "../../../support/disks.ts"

describe("SecretSource", () => {
  it.live("reads variables and files, and says why it can't", () =>
    Effect.gen(function*() {
      const directory = yield* temporaryDirectory
      Fs.writeFileSync(join(directory, "token"), "abc\n\n")
      Fs.writeFileSync(join(directory, "large"), Buffer.alloc(1024 ** 2 + 1))
      const { read } = yield* SecretSource.make(directory)
      assert.strictEqual(yield* read({ kind: "env", name: "TOKEN" }), "xyz")
      assert.strictEqual(yield* read({ kind: "file", name: "token" }), "abc\n")
      assert.strictEqual(yield* read({ kind: "file", name: join(directory, "token") }), "abc\n")
      const failures = yield* Effect.forEach(
        [["env", "NONE"], ["env", "EMPTY"], ["file", "none"], ["file", "."], ["file", "large"]] as const,
        ([kind, name]) => Effect.flip(read({ kind, name }))
      )
      assert.deepStrictEqual(failures.map((text) => text.replaceAll(directory, "…")), [
        "the environment variable NONE is not set",
        "the environment variable EMPTY is not set",
        "cannot read …/none (NotFound)",
        "cannot read … (BadResource)",
        "…/large has more than 1048576 bytes"
      ])
    }).pipe(
      Effect.provide(NodeServices.layer),
      Effect.provideService(
        ConfigProvider.ConfigProvider,
        ConfigProvider.fromEnv({ env: { TOKEN: "xyz", EMPTY: "" } })
      ),
      Effect.scoped
    ))
})
