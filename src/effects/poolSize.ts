/** The number of threads in Node's pool: four unless `UV_THREADPOOL_SIZE` says otherwise. */
export const poolSize = (): number => Number(process.env["UV_THREADPOOL_SIZE"]) || 4
