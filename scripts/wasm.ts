import { readFileSync, writeFileSync } from "node:fs"
import { fileURLToPath } from "node:url"
import wabt from "wabt"

/** Assembles `src/effects/xxh3/xxh3.wat` into `xxh3Modules.ts` beside it. */

const at = (name: string): string => fileURLToPath(new URL(`../src/effects/xxh3/${name}`, import.meta.url))

const MEMORY = "(memory (import \"memory\" \"memory\") 1 65536)"

/** The modules that `xxh3.wat` describes now, as a source file. */
export const assemble = async (): Promise<string> => {
  const { parseWat } = await wabt()
  const text = readFileSync(at("xxh3.wat"), "utf8")
  const constant = (name: string, about: string, text: string): string => {
    const module = parseWat("xxh3.wat", text, { simd: true, threads: true })
    const lines = Buffer.from(module.toBinary({}).buffer).toString("base64").match(/.{1,110}/g) ?? []
    module.destroy()
    return `/** ${about} */\nexport const ${name} =\n${lines.map((line) => `  "${line}"`).join(" +\n")}\n`
  }
  return [
    "// `node scripts/wasm.ts` writes this file. The modules are in base64.\n",
    constant("MODULE", "The module of `xxh3.wat`.", text),
    constant("SHARED_MODULE", "The same for shared memory.", text.replace(MEMORY, MEMORY.replace(/\)$/, " shared)")))
  ].join("\n")
}

/** The file as it is. */
export const assembled = (): string => readFileSync(at("xxh3Modules.ts"), "utf8")

if (import.meta.main) writeFileSync(at("xxh3Modules.ts"), await assemble())
