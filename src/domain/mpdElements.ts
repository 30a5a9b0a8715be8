import sax from "sax"

/**
 * The elements of a DASH manifest (ISO/IEC 23009-1), as far as they name files.
 */

/** An element, without the children that don't matter here. */
export interface MpdElement {
  readonly name: string
  readonly attributes: Readonly<Record<string, string>>
  readonly children: Array<MpdElement>
  text: string
}

/** A text isn't the manifest that it should be. The message is for people. */
export class InvalidManifest extends Error {
  override readonly name = "InvalidManifest"
}

/** The largest number of elements that are kept of a manifest, and how deep elements may be nested. */
const MAX_ELEMENTS = 100_000
const MAX_NESTING = 32

/** The number of characters that are parsed in one turn. */
const TURN_LENGTH = 65_536

const KEPT = new Set([
  "MPD",
  "Period",
  "AdaptationSet",
  "Representation",
  "BaseURL",
  "SegmentBase",
  "SegmentList",
  "SegmentTemplate",
  "SegmentTimeline",
  "SegmentURL",
  "S",
  "Initialization",
  "RepresentationIndex"
])

/** Whether `text` begins like a manifest: with an element `MPD`, after declarations and comments. */
export const isDash = (text: string): boolean =>
  /^\s*(?:<\?[^>]*>\s*|<!--(?:(?!-->).)*-->\s*)*<(?:[\w.-]+:)?MPD[\s>]/s.test(text.slice(0, TURN_LENGTH))

/**
 * Parses a manifest, and returns its root. Yields now and then, so that the caller can let others have their turn. Throws
 * `InvalidManifest`. Entities of a document type are not expanded.
 */
export function* parseMpd(text: string): Generator<undefined, MpdElement> {
  const parser = sax.parser(true, { xmlns: true, position: false })
  /** The open elements. `undefined` is one that isn't kept, with all that is in it. */
  const open: Array<MpdElement | undefined> = []
  let root: MpdElement | undefined
  let namespace: string | undefined
  let kept = 0

  const keep = (name: string, attributes: MpdElement["attributes"]): MpdElement => {
    kept += 1
    if (kept > MAX_ELEMENTS) throw new InvalidManifest(`it has more than ${MAX_ELEMENTS} elements`)
    const element = { name, attributes, children: [], text: "" }
    root ??= element
    open.at(-1)?.children.push(element)
    return element
  }
  const onText = (piece: string): void => {
    const element = open.at(-1)
    if (element?.name === "BaseURL") element.text += piece
  }
  Object.assign(
    parser,
    {
      onerror: ({ message }) => {
        throw new InvalidManifest(message.split("\n")[0])
      },
      onopentag: (tag) => {
        if (!("uri" in tag)) return
        const { attributes, local, uri } = tag
        namespace ??= uri
        if (open.length === MAX_NESTING) throw new InvalidManifest(`elements are nested deeper than ${MAX_NESTING}`)
        const isWithin = open.length === 0 || open.at(-1) !== undefined
        const values = Object.values(attributes).map(({ name, value }) => [name, value] as const)
        open.push(
          isWithin && uri === namespace && KEPT.has(local) ? keep(local, Object.fromEntries(values)) : undefined
        )
      },
      onclosetag: () => void open.pop(),
      ontext: onText,
      oncdata: onText
    } satisfies Partial<sax.SAXParser>
  )
  for (let at = 0; at < text.length; at += TURN_LENGTH) {
    parser.write(text.slice(at, at + TURN_LENGTH))
    yield
  }
  parser.close()
  if (root?.name !== "MPD") throw new InvalidManifest("its root isn't MPD")
  return root
}
