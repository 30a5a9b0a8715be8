import { Effect, Option, type Scope } from "effect"
import { type ChildProcess, spawn, spawnSync } from "node:child_process"
import * as Fs from "node:fs"
import { type AddressInfo, connect, createServer, type Socket } from "node:net"
import { join, resolve } from "node:path"
import { find } from "./command.ts"
import { ordinaryUser, temporaryDirectory } from "./disks.ts"
import { freePort } from "./freePort.ts"
import { eventually, view } from "./Program.ts"
import { root } from "./Project.ts"

/** The values for a server's command line and configuration. */
export interface Place {
  /** The directory to serve. */
  readonly files: string
  /** A directory for everything that the server itself writes. */
  readonly state: string
  readonly port: number
}

/** A program that serves the files of a directory. */
export interface OriginServer {
  readonly name: string
  readonly command: string
  /** Arguments that make it print its version. Without them, the version is that of its `Server` field. */
  readonly version?: ReadonlyArray<string>
  /** The npm package that it is part of, which has its version. */
  readonly npmPackage?: string
  /** Arguments that make the command compile a program, whose path is the first of `args`. */
  readonly build?: (place: Place) => ReadonlyArray<string>
  /** The contents of its configuration file, if it has one. */
  readonly configuration?: (place: Place) => string
  /** Arguments that keep it in the foreground, as one process. */
  readonly args: (place: Place, configuration: string) => ReadonlyArray<string>
  /** Flags that Spillway gets in front of it. */
  readonly flags?: ReadonlyArray<string>
}

const php: OriginServer = {
  name: "PHP's built-in server",
  command: "php",
  version: ["-v"],
  args: ({ files, port }) => ["-n", "-S", `127.0.0.1:${port}`, "-t", files]
}

const nginx = (name: string, options = ""): OriginServer => ({
  name,
  command: "nginx",
  version: ["-v"],
  configuration: ({ files, port, state }) => `
daemon off;
master_process off;
pid ${state}/pid;
events {}
http {
  access_log off;
  types { video/mp4 mp4; text/plain txt; application/vnd.apple.mpegurl m3u8; }
  client_body_temp_path ${state}/body;
  proxy_temp_path ${state}/proxy;
  fastcgi_temp_path ${state}/fastcgi;
  uwsgi_temp_path ${state}/uwsgi;
  scgi_temp_path ${state}/scgi;
  ${options}
  server { listen 127.0.0.1:${port}; root ${files}; }
}`,
  args: ({ state }, configuration) => ["-e", join(state, "log"), "-c", configuration]
})

const apache = (
  name: string,
  modules: ReadonlyArray<string>,
  options: (place: Place) => string = () => ""
): OriginServer => ({
  name,
  command: "apache2",
  version: ["-v"],
  configuration: (place) => `
ServerRoot /usr/lib/apache2
ServerName localhost
Listen 127.0.0.1:${place.port}
${
    ["mpm_event", "authz_core", "mime", ...modules].map((module) =>
      `LoadModule ${module}_module modules/mod_${module}.so`
    ).join("\n")
  }
TypesConfig /dev/null
AddType video/mp4 .mp4
AddType text/plain .txt
AddType application/vnd.apple.mpegurl .m3u8
PidFile ${place.state}/pid
DefaultRuntimeDir ${place.state}
ErrorLog ${place.state}/log
DocumentRoot ${place.files}
${options(place)}`,
  args: (_, configuration) => ["-X", "-f", configuration]
})

const rclone = (protocol: "http" | "webdav"): OriginServer => ({
  name: `rclone serve ${protocol}`,
  command: "rclone",
  version: ["version"],
  // By default, a new file is not found for five minutes.
  args: ({ files, port }) => ["serve", protocol, files, "--addr", `127.0.0.1:${port}`, "--dir-cache-time", "0s"]
})

/** A server of an npm package, which `nodeServers.js` runs as `server`. */
const ofPackage = (name: string, npmPackage: string, server: string): OriginServer => ({
  name,
  command: process.execPath,
  npmPackage,
  args: ({ files, port }) => [join(root, "test/support/nodeServers.js"), server, files, String(port)]
})

export const servers: ReadonlyArray<OriginServer> = [
  nginx("nginx"),
  nginx("nginx, `gzip on`", "gzip on; gzip_types *; gzip_min_length 1; gzip_proxied any;"),
  apache("Apache", []),
  apache("Apache with mod_deflate", ["deflate", "filter"], () => "SetOutputFilter DEFLATE"),
  apache(
    "Apache with mod_dav",
    ["dav", "dav_fs"],
    ({ files, state }) => `DavLockDB ${state}/locks\n<Directory ${files}>\nDav On\n</Directory>`
  ),
  {
    name: "lighttpd",
    command: "lighttpd",
    version: ["-v"],
    configuration: ({ files, port, state }) => `
server.bind = "127.0.0.1"
server.port = ${port}
server.document-root = "${files}"
server.upload-dirs = ("${state}")
mimetype.assign = (".mp4" => "video/mp4", ".txt" => "text/plain", ".m3u8" => "application/vnd.apple.mpegurl")`,
    args: (_, configuration) => ["-D", "-f", configuration]
  },
  {
    name: "Caddy",
    command: "caddy",
    version: ["version"],
    args: ({ files, port }) => ["file-server", "--root", files, "--listen", `127.0.0.1:${port}`]
  },
  {
    name: "H2O",
    command: "h2o",
    version: ["-v"],
    configuration: ({ files, port }) => `
listen: { host: 127.0.0.1, port: ${port} }
num-threads: 1
hosts: { "*": { paths: { "/": { file.dir: ${files} } } } }`,
    args: (_, configuration) => ["-m", "worker", "-c", configuration]
  },
  {
    name: "webfs",
    command: "webfsd",
    args: ({ files, port }) => ["-F", "-i", "127.0.0.1", "-p", String(port), "-r", files]
  },
  {
    name: "BusyBox httpd",
    command: "busybox",
    version: [],
    args: ({ files, port }) => ["httpd", "-f", "-p", `127.0.0.1:${port}`, "-h", files]
  },
  {
    name: "Python http.server",
    command: "python3",
    version: ["-V"],
    args: ({ files, port }) => ["-m", "http.server", "--bind", "127.0.0.1", "--directory", files, String(port)]
  },
  {
    name: "Ruby WEBrick",
    command: "ruby",
    version: ["-rwebrick", "-e", "puts WEBrick::VERSION"],
    args: ({ files, port }) => ["-run", "-e", "httpd", files, "-b", "127.0.0.1", "-p", String(port)]
  },
  {
    name: "Go's http.FileServer",
    command: "go",
    version: ["version"],
    build: ({ state }) => ["build", "-o", join(state, "server"), join(root, "test/support/fileServer.go")],
    args: ({ files, port, state }) => [join(state, "server"), files, `127.0.0.1:${port}`]
  },
  rclone("http"),
  rclone("webdav"),
  {
    name: "Icecast",
    command: "icecast2",
    version: ["-v"],
    configuration: ({ files, port, state }) =>
      `<icecast>
<authentication><admin-user>admin</admin-user><admin-password>secret</admin-password></authentication>
<listen-socket><bind-address>127.0.0.1</bind-address><port>${port}</port></listen-socket>
<fileserve>1</fileserve>
<paths><webroot>${files}</webroot><adminroot>${state}</adminroot><logdir>${state}</logdir></paths>
</icecast>`,
    args: (_, configuration) => ["-c", configuration]
  },
  ofPackage("Express, `express.static`", "express", "express"),
  ofPackage("Express, `res.send`", "express", "express-send"),
  ofPackage("Fastify, `@fastify/static`", "@fastify/static", "fastify"),
  ofPackage("koa-send", "koa-send", "koa"),
  ofPackage("hono, `serveStatic`", "@hono/node-server", "hono"),
  ofPackage("sirv", "sirv", "sirv"),
  ofPackage("serve", "serve-handler", "serve"),
  {
    ...ofPackage("http-server", "http-server", ""),
    args: ({ files, port }) => [
      join(root, "node_modules/http-server/bin/http-server"),
      files,
      "-a",
      "127.0.0.1",
      "-p",
      String(port)
    ]
  },
  ofPackage("Vite preview", "vite", "vite"),
  php,
  { ...php, name: "PHP's built-in server, `--ttl 1h`", flags: ["--ttl", "1h"] }
]

const minidlna: OriginServer = {
  name: "minidlna",
  command: "minidlnad",
  version: ["-V"],
  configuration: ({ files, port, state }) => `
port=${port}
media_dir=${files}
db_dir=${state}
log_dir=${state}
network_interface=lo
inotify=no
`,
  // It scans the directory at each start.
  args: ({ state }, configuration) => ["-S", "-R", "-f", configuration, "-P", join(state, "pid")]
}

/** Servers that serve the media that they find, under numbers instead of names. */
export const mediaServers: ReadonlyArray<OriginServer> = [
  minidlna,
  {
    ...minidlna,
    name: "minidlna, `--ttl 1h --assume-unchanged '/MediaItems/*'`",
    flags: ["--ttl", "1h", "--assume-unchanged", "/MediaItems/*"]
  }
]

/** Where a command is. The system's own come first: another may be a wrapper that only its owner can run. */
const locate = (command: string): string | undefined =>
  ["/usr/sbin", "/usr/bin"].map((directory) => resolve(directory, command)).find((path) => Fs.existsSync(path)) ??
    find(command)

const findVersion = (text: string): string | undefined => /\d+(?:\.\d+)+/.exec(text)?.[0]

/** The version that a server's command prints, or else that of its `Server` field. */
export const versionOf = ({ command, npmPackage, version }: OriginServer, field = ""): string | undefined => {
  if (npmPackage !== undefined) {
    const path = join(root, "node_modules", npmPackage, "package.json")
    return Fs.existsSync(path)
      ? findVersion(Fs.readFileSync(path, "utf8").match(/"version": *"([^"]+)"/)![1]!)
      : undefined
  }
  const path = locate(command)
  if (path === undefined) return undefined
  if (version === undefined) return findVersion(field)
  const { status, stderr, stdout } = spawnSync(path, version, { encoding: "utf8" })
  return status === 0 ? findVersion(stdout + stderr) : undefined
}

/** Why tests with a server can't run here, or `undefined`. */
export const obstacle = (server: OriginServer): string | undefined => {
  if (typeof ordinaryUser === "string") return ordinaryUser
  const { command, npmPackage } = server
  return versionOf(server, "0.0") === undefined ? `${npmPackage ?? command} is not installed` : undefined
}

/** A TCP server that forwards connections to a port, and counts the bytes that come back. */
const makeRelay = (port: number) =>
  Effect.gen(function*() {
    let received = 0
    let breakAt = Number.POSITIVE_INFINITY
    const sockets = new Set<Socket>()
    const relay = createServer((client) => {
      const server = connect(port, "127.0.0.1")
      server.on("data", (data: Buffer) => {
        received += data.length
        if (received < breakAt) return
        breakAt = Number.POSITIVE_INFINITY
        server.destroy()
        client.destroy()
      })
      client.pipe(server).pipe(client)
      for (const [socket, other] of [[client, server], [server, client]] as const) {
        sockets.add(socket)
        socket.on("error", () => other.destroy())
        socket.on("close", () => {
          sockets.delete(socket)
          if (!socket.readableEnded) other.destroy()
        })
      }
    })
    yield* Effect.acquireRelease(
      Effect.callback<void>((resume) => void relay.listen(0, "127.0.0.1", () => resume(Effect.void))),
      () =>
        Effect.sync(() => {
          relay.close()
          for (const socket of sockets) socket.destroy()
        })
    )
    return {
      url: `http://127.0.0.1:${(relay.address() as AddressInfo).port}`,
      received: () => received,
      breakAfter: (bytes: number) => void (breakAt = received + bytes)
    }
  })

/** A running server with its own directory. */
export interface RealOrigin {
  /** Where the relay listens. */
  readonly url: string
  /** Where the server listens. */
  readonly direct: string
  /** Bytes that the server has sent through the relay, heads included. */
  readonly received: () => number
  /** Breaks the connection, once, as soon as the server has sent so many more bytes. */
  readonly breakAfter: (bytes: number) => void
  /** Puts a file into the directory, in place of an older one. `modified` is in seconds since 1970, by default now. */
  readonly put: (name: string, bytes: Buffer, modified?: number) => void
  readonly start: Effect.Effect<void>
  readonly stop: Effect.Effect<void>
}

/** Starts a server as an ordinary user on a free port, and a relay before it. Both end with the scope. */
export const makeRealOrigin = (server: OriginServer): Effect.Effect<RealOrigin, never, Scope.Scope> =>
  Effect.gen(function*() {
    if (typeof ordinaryUser === "string") return yield* Effect.die(ordinaryUser)
    const { own: give, prefix } = ordinaryUser
    const directory = yield* temporaryDirectory
    const place: Place = { files: join(directory, "files"), state: join(directory, "state"), port: yield* freePort }
    for (const path of [place.files, place.state]) Fs.mkdirSync(path)
    for (const path of [directory, place.files, place.state]) give(path)
    const configuration = join(directory, "configuration")
    Fs.writeFileSync(configuration, server.configuration?.(place) ?? "")
    const direct = `http://127.0.0.1:${place.port}`
    const put = (name: string, bytes: Buffer, modified?: number) => {
      const path = join(place.files, name)
      Fs.writeFileSync(`${path}.new`, bytes)
      if (modified !== undefined) Fs.utimesSync(`${path}.new`, modified, modified)
      Fs.renameSync(`${path}.new`, path)
    }

    let running: ChildProcess | undefined
    const stop = Effect.callback<void>((resume) => {
      const child = running
      running = undefined
      if (child === undefined || child.exitCode !== null || child.signalCode !== null) return resume(Effect.void)
      child.once("close", () => resume(Effect.void))
      child.kill("SIGKILL")
    })
    const env = { ...process.env, HOME: place.state }
    const own = server.build === undefined ? [locate(server.command)!] : []
    if (server.build !== undefined) {
      const [command, ...args] = [...prefix, locate(server.command)!, ...server.build(place)]
      const { status, stderr } = spawnSync(command!, args, { cwd: place.state, env, encoding: "utf8" })
      if (status !== 0) return yield* Effect.die(`${server.name}: ${stderr}`)
    }
    const start = Effect.gen(function*() {
      const [command, ...args] = [...prefix, ...own, ...server.args(place, configuration)]
      // A file, because nobody reads a pipe.
      const log = Fs.openSync(join(directory, "output"), "a")
      const child = spawn(command!, args, { cwd: place.state, env, stdio: ["ignore", log, log] })
      Fs.closeSync(log)
      running = child
      yield* eventually(
        `${server.name}: ${command} ${args.join(" ")}`,
        Effect.gen(function*() {
          if (child.exitCode !== null) return yield* Effect.die(Fs.readFileSync(join(directory, "output"), "utf8"))
          return Option.isSome(yield* Effect.option(view(`${direct}/`)))
        })
      )
    })
    yield* Effect.addFinalizer(() => stop)
    const relay = yield* makeRelay(place.port)
    yield* start
    return { ...relay, direct, put, start, stop }
  })
