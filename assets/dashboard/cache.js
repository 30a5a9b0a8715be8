import { query, send } from "./api.js"
import { makeMap } from "./chunks.js"
import { byId, keyed, make, say, sayMore } from "./dom.js"
import { ago, bytes, clock, count, nameOf, percent } from "./format.js"
import { showPurge } from "./purge.js"

/**
 * What is cached, and what can be done with it.
 *
 * @import { ResourceDetail, ResourceSummary, Status } from "../../src/http/admin/api/model.ts"
 */

/** How many files are listed. */
const LISTED = 100

/** How often the list is read again, in milliseconds: the server may have to read files for it. */
const REFRESH_MILLIS = 30_000

/** The same if there are more or fewer files than were listed. */
const CHANGED_MILLIS = 10_000

/** How long a second click purges, in milliseconds. */
const CONFIRM_MILLIS = 5000

const prefix = /** @type {HTMLInputElement} */ (byId("cache-prefix"))

/**
 * Says what an action has done.
 *
 * @param {string} text
 */
const tell = (text) => say(byId("cache-says"), text)

/**
 * A button that does something with a file, and says in its name with which one.
 *
 * @param {string} text
 * @param {string} name
 * @param {() => unknown} onClick
 */
const makeButton = (text, name, onClick) => {
  const button = make("button", { type: "button", "aria-label": `${text}: ${name}` }, text)
  button.addEventListener("click", onClick)
  return button
}

/** @param {ResourceSummary} first */
const makeFile = (first) => {
  const { url } = first
  const name = nameOf(url)
  const figures = make("span")
  const used = make("span")
  const mapPlace = make("div", { class: "map-place" })
  let pinned = first.pinned

  const showMap = async () => {
    if (mapPlace.hasChildNodes()) return mapPlace.replaceChildren()
    const told = await send("GET", `resource${query(url)}`)
    if (told.error !== undefined) return tell(told.error)
    const map = makeMap(/** @type {ResourceDetail} */ (told.value))
    mapPlace.replaceChildren(map.element)
    map.update(/** @type {ResourceDetail} */ (told.value))
  }

  const changePin = async () => {
    const { error } = pinned ? await send("DELETE", `pin${query(url)}`) : await send("PUT", "pin", { url })
    tell(error ?? (pinned ? `${name} may be evicted again` : `${name} is pinned`))
    await refresh()
  }

  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let confirming
  const ask = (/** @type {boolean} */ isAsked) => {
    clearTimeout(confirming)
    confirming = isAsked ? setTimeout(() => ask(false), CONFIRM_MILLIS) : undefined
    say(purgeButton, isAsked ? "Really purge" : "Purge")
    purgeButton.setAttribute("aria-label", `${isAsked ? "Really purge" : "Purge"}: ${name}`)
  }
  const purge = async () => {
    if (confirming === undefined) return ask(true)
    ask(false)
    const told = await send("POST", "purge", { url })
    tell(told.error ?? `Purged ${name}`)
    await refresh()
  }

  const pinButton = makeButton("Pin", name, changePin)
  const purgeButton = makeButton("Purge", name, purge)
  const element = make(
    "li",
    {},
    make("p", { class: "what", title: url }, name),
    make("p", { class: "figures dim" }, figures, used),
    make("p", { class: "actions" }, makeButton("Map", name, showMap), pinButton, purgeButton),
    mapPlace
  )

  /** @param {ResourceSummary} resource */
  const update = (resource) => {
    pinned = resource.pinned
    const { cachedBytes, lastUsed, size, status } = resource
    const kind = status === undefined ? "" : `status ${status}, `
    say(figures, `${kind}${bytes(cachedBytes)} of ${bytes(size)}, ${percent(cachedBytes, size)}`)
    const use = lastUsed === undefined ? "" : `used ${ago(lastUsed)}`
    say(used, [pinned ? "pinned" : "", use].filter((text) => text !== "").join(" · "))
    const action = pinned ? "Unpin" : "Pin"
    say(pinButton, action)
    pinButton.setAttribute("aria-label", `${action}: ${name}`)
  }
  return { element, update }
}

const updateFiles = keyed(byId("cache-list"), (/** @type {ResourceSummary} */ { resource }) => resource, makeFile)

/** How many files there are; how many there were when they were listed, and when that was, in milliseconds since 1970. */
let known = 0
let listed = 0
let listedAt = 0

const refresh = async () => {
  listed = known
  listedAt = Date.now()
  const search = prefix.value.trim()
  const begins = search === "" ? "" : `&prefix=${encodeURIComponent(search)}`
  const told = await send("GET", `resources?limit=${LISTED}${begins}`)
  if (told.error !== undefined) return tell(told.error)
  const { bytes: all, resources, total } =
    /** @type {{ readonly resources: ReadonlyArray<ResourceSummary>, readonly total: number, readonly bytes: number }} */ (
      told.value
    )
  updateFiles(resources)
  say(byId("cache-count"), count(total))
  say(byId("cache-bytes"), total === 0 ? "" : `${bytes(all)} at ${clock(Date.now())}, the most recently used first`)
  byId("cache-none").hidden = total > 0
  say(byId("cache-none"), search === "" ? "Nothing is cached." : "Nothing that is cached begins like this.")
  sayMore(byId("cache-more"), total - resources.length)
}

/**
 * Lists what is cached again, soon after the number of files has changed.
 *
 * @param {Status} status
 */
export const noteFiles = ({ cache: { resources } }) => {
  known = resources
  if (known !== listed && Date.now() - listedAt > CHANGED_MILLIS && !document.hidden) refresh()
}

/** Lists what is cached, again and again. */
export const showCache = () => {
  byId("cache-search").addEventListener("submit", (event) => {
    event.preventDefault()
    tell("")
    refresh()
  })
  showPurge(refresh)
  refresh()
  setInterval(() => {
    if (!document.hidden) refresh()
  }, REFRESH_MILLIS)
}
