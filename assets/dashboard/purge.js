import { send } from "./api.js"
import { byId, say } from "./dom.js"
import { bytes, things } from "./format.js"

/**
 * Purges of many files: those whose URL begins with a text, those with a tag, or all.
 *
 * @import { Purged, PurgeState, Status } from "../../src/http/admin/api/model.ts"
 */

/** How often the removal of files is looked at until it is over, in milliseconds. */
const POLL_MILLIS = 1000

/** @typedef {"prefix" | "tag" | "all"} By */

/** @typedef {{ readonly total: number, readonly bytes: number }} Counted */

/** @typedef {{ readonly by: By, readonly text: string, readonly soft: boolean }} Wanted */

const by = /** @type {HTMLSelectElement} */ (byId("purge-by"))
const input = /** @type {HTMLInputElement} */ (byId("purge-text"))
const soft = /** @type {HTMLInputElement} */ (byId("purge-soft"))
const dialog = /** @type {HTMLDialogElement} */ (byId("purge-dialog"))

/**
 * Says what a purge has done.
 *
 * @param {string} text
 */
const tell = (text) => say(byId("purge-says"), text)

/** @type {(wanted: Wanted) => Record<string, unknown>} */
const requestOf = ({ by, soft, text }) => ({ [by]: by === "all" ? true : text, ...(soft && { soft }) })

/**
 * Says which files a purge is for, and how many; or why that is unknown.
 *
 * @param {Wanted} wanted
 * @returns {Promise<{ readonly what: string, readonly error?: undefined } | { readonly error: string }>}
 */
const describe = async ({ by, text }) => {
  /** @type {{ readonly value: Counted, readonly error?: undefined } | { readonly error: string }} */
  const told = await send("GET", `resources?limit=1&${by === "all" ? "" : `${by}=${encodeURIComponent(text)}`}`)
  // For a tag, the server reads what it knows of each file. That may take too long.
  if (told.error !== undefined && by !== "tag") return told
  const files = told.error === undefined
    ? `${things(told.value.total, "cached file")}, ${bytes(told.value.bytes)}`
    : `Cached files, not counted (${told.error})`
  switch (by) {
    case "all":
      return { what: `Everything: ${files}.` }
    case "tag":
      return { what: `${files}, with the tag “${text}” in Surrogate-Key or Cache-Tag.` }
    case "prefix":
      return { what: `${files}, whose URL begins with “${text}”.` }
  }
}

const HARD = "They are never served again, and removed with their pins. Running streams continue from the origin."

const SOFT =
  "They are marked as stale: they may be served while the origin is asked, or if it fails. Nothing is removed."

/**
 * Asks whether it is really meant.
 *
 * @param {string} what
 * @param {Wanted} wanted
 */
const confirm = async (what, { soft }) => {
  const status = await send("GET", "status")
  const isInFleet = status.error === undefined && /** @type {Status} */ (status.value).fleet !== undefined
  say(byId("purge-what"), what + (isInFleet ? " The same on all other nodes of the fleet." : ""))
  say(byId("purge-then"), soft ? SOFT : HARD)
  // Escape leaves it as it was.
  dialog.returnValue = ""
  dialog.showModal()
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }))
  return dialog.returnValue === "purge"
}

/** The purge whose removal is looked at. @type {string | undefined} */
let watched

/**
 * Says how much was removed, as soon as it is over.
 *
 * @param {string} id
 * @param {string} missing
 */
const watch = async (id, missing) => {
  watched = id
  for (;;) {
    const told = await send("GET", "purges")
    if (told.error !== undefined) return
    const { purges } = /** @type {{ readonly purges: ReadonlyArray<PurgeState> }} */ (told.value)
    const found = purges.find((purge) => purge.id === id)
    // A later purge has taken it over.
    if (found === undefined || watched !== id) return
    if (found.state === "done") {
      return tell(`Purged: ${things(found.resources, "file")} removed, ${bytes(found.bytes)}${missing}`)
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_MILLIS))
  }
}

/** @param {() => Promise<void>} onPurged */
const purge = async (onPurged) => {
  const wanted = { by: /** @type {By} */ (by.value), text: input.value.trim(), soft: soft.checked }
  tell("")
  const described = await describe(wanted)
  if (described.error !== undefined) return tell(described.error)
  if (!await confirm(described.what, wanted)) return tell("Nothing was purged")
  const told = await send("POST", "purge", requestOf(wanted))
  if (told.error !== undefined) return tell(told.error)
  const { id, missing: nodes = [] } = /** @type {Purged} */ (told.value)
  const missing = nodes.length === 0 ? "" : `; not confirmed by ${nodes.join(", ")}`
  tell(`${wanted.soft ? "Marked as stale" : "Purged; files are removed in the background"}${missing}`)
  if (!wanted.soft) await watch(id, missing)
  await onPurged()
}

/**
 * Takes purges of many files.
 *
 * @param {() => Promise<void>} onPurged called when one is over
 */
export const showPurge = (onPurged) => {
  const showInput = () => {
    const isAll = by.value === "all"
    input.hidden = isAll
    input.required = !isAll
    input.setAttribute("aria-label", by.value === "tag" ? "Tag" : "Beginning of the URL or path")
  }
  by.addEventListener("change", showInput)
  showInput()
  byId("purge").addEventListener("submit", (event) => {
    event.preventDefault()
    purge(onPurged)
  })
}
