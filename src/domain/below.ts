const withoutSlash = (path: string): string => path.replace(/\/$/, "")

/** What `path` is below `base`, or `undefined` when it is not. */
export const below = (base: string, path: string): string | undefined => {
  const root = withoutSlash(base)
  return path === root || path.startsWith(`${root}/`) ? path.slice(root.length) : undefined
}

/** Whether `path` is `base` or below it. */
export const isBelow = (base: string, path: string): boolean => below(base, path) !== undefined

/** Whether `url` is `base` or below it, at the same origin. */
export const isUrlBelow = (base: URL, url: URL): boolean =>
  base.origin === url.origin && isBelow(base.pathname, url.pathname)
