/**
 * Requests to the control API. JSON bodies are what pages of other sites can't send.
 */

/**
 * Sends a request. Returns what the API says, or the message of its error.
 *
 * @template A
 * @param {"GET" | "POST" | "PUT" | "DELETE"} method
 * @param {string} path
 * @param {unknown} [body]
 * @returns {Promise<{ readonly value: A, readonly error?: undefined } | { readonly error: string }>}
 */
export const send = async (method, path, body) => {
  try {
    const response = await fetch(`api/${path}`, {
      method,
      cache: "no-store",
      ...(body !== undefined && { headers: { "content-type": "application/json" }, body: JSON.stringify(body) })
    })
    if (response.status === 401) location.reload()
    const told = await response.json()
    return response.ok ? { value: told } : { error: told.message ?? `The server answers ${response.status}` }
  } catch {
    return { error: "The server does not respond" }
  }
}

/** @param {string} url */
export const query = (url) => `?url=${encodeURIComponent(url)}`
