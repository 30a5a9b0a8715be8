import { count } from "./format.js"

/**
 * The little that is needed of a framework. Nothing is ever put into the page as HTML: what servers and URLs say is text.
 */

/**
 * The element with that `id`, which the page has.
 *
 * @param {string} id
 * @returns {HTMLElement}
 */
export const byId = (id) => /** @type {HTMLElement} */ (document.getElementById(id))

/**
 * Says `text` in an element. Where it says so already, nothing changes, and nothing is announced.
 *
 * @param {Element} element
 * @param {string} text
 */
export const say = (element, text) => {
  if (element.textContent !== text) element.textContent = text
}

/**
 * A new element with attributes and children.
 *
 * @param {string} name
 * @param {Record<string, string>} [attributes]
 * @param {...(Node | string)} children
 * @returns {HTMLElement}
 */
export const make = (name, attributes = {}, ...children) => {
  const element = document.createElement(name)
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value)
  element.append(...children)
  return element
}

const SVG = "http://www.w3.org/2000/svg"

/**
 * The same for a part of a picture.
 *
 * @param {string} name
 * @param {Record<string, string | number>} [attributes]
 * @param {...Node} children
 * @returns {SVGElement}
 */
export const draw = (name, attributes = {}, ...children) => {
  const element = /** @type {SVGElement} */ (document.createElementNS(SVG, name))
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value))
  element.append(...children)
  return element
}

/**
 * One of the page's signs; what it means is said beside it.
 *
 * @param {string} id
 */
export const sign = (id) => draw("svg", { class: "sign", "aria-hidden": "true" }, draw("use", { href: `#${id}` }))

/**
 * Says in `more` how many there are that are not shown.
 *
 * @param {HTMLElement} more
 * @param {number} hidden
 */
export const sayMore = (more, hidden) => {
  more.hidden = hidden <= 0
  say(more, hidden > 0 ? `and ${count(hidden)} more` : "")
}

/**
 * Keeps the children of `list` in step with `items`: one element each, in order, which is made once and updated after that.
 *
 * @template A
 * @template {{ readonly element: HTMLElement, readonly update: (item: A) => void }} View
 * @param {HTMLElement} list
 * @param {(item: A) => string} keyOf
 * @param {(item: A) => View} makeView
 * @returns {(items: ReadonlyArray<A>) => void}
 */
export const keyed = (list, keyOf, makeView) => {
  /** @type {Map<string, View>} */
  const views = new Map()
  return (items) => {
    const keys = new Set(items.map(keyOf))
    for (const [key, { element }] of views) {
      if (keys.has(key)) continue
      element.remove()
      views.delete(key)
    }
    items.forEach((item, index) => {
      const key = keyOf(item)
      const view = views.get(key) ?? makeView(item)
      views.set(key, view)
      if (list.children[index] !== view.element) list.insertBefore(view.element, list.children[index] ?? null)
      view.update(item)
    })
  }
}
