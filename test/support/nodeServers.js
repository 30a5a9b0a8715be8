import { readFileSync } from "node:fs"
import { createServer } from "node:http"
import { extname, join } from "node:path"

/** Servers for Node that serve the files of a directory as they do by default: `node nodeServers.js NAME DIRECTORY PORT`. */
const [name, directory, port] = process.argv.slice(2)
const host = "127.0.0.1"

const servers = {
  express: async () => {
    const { default: express } = await import("express")
    express().use(express.static(directory)).listen(port, host)
  },
  // As an API sends JSON: from memory, with a weak `ETag` of the content.
  "express-send": async () => {
    const { default: express } = await import("express")
    const send = ({ path }, response) =>
      response.type(extname(path)).send(path === "/" ? "" : readFileSync(join(directory, path)))
    express().get("/{*path}", send).listen(port, host)
  },
  fastify: async () => {
    const [{ default: fastify }, { default: files }] = [await import("fastify"), await import("@fastify/static")]
    await fastify().register(files, { root: directory }).listen({ host, port })
  },
  koa: async () => {
    const [{ default: Koa }, { default: send }] = [await import("koa"), await import("koa-send")]
    new Koa().use((context) => send(context, context.path, { root: directory })).listen(port, host)
  },
  hono: async () => {
    const { Hono } = await import("hono")
    const { serve } = await import("@hono/node-server")
    const { serveStatic } = await import("@hono/node-server/serve-static")
    serve({ fetch: new Hono().use("/*", serveStatic({ root: directory })).fetch, hostname: host, port: Number(port) })
  },
  // Without `dev`, it serves the files that were there when it started.
  sirv: async () => {
    const { default: sirv } = await import("sirv")
    createServer(sirv(directory, { dev: true, etag: true })).listen(port, host)
  },
  serve: async () => {
    const { default: handler } = await import("serve-handler")
    // The flags of `serve` are these by default.
    createServer((request, response) => handler(request, response, { public: directory, etag: true })).listen(port, host)
  },
  vite: async () => {
    const { preview } = await import("vite")
    await preview({
      configFile: false,
      root: directory,
      build: { outDir: directory },
      preview: { host, port: Number(port), strictPort: true }
    })
  }
}

await servers[name]()
