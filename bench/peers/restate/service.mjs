// The peer's side of the orchestration rows: a service whose handler runs three no-op steps.

// Node 20 lacks it, and the SDK needs it when it is loaded.
Promise.withResolvers ??= function () {
  let resolve, reject;
  const promise = new Promise((onResolve, onReject) => {
    resolve = onResolve;
    reject = onReject;
  });
  return { promise, resolve, reject };
};
const restate = await import("@restatedev/restate-sdk");

const three = async (ctx) => {
  // CLOCK_MONOTONIC, which the load generator reads too: nanoseconds, as text because a journal entry is JSON.
  const first = await ctx.run("first", () => String(process.hrtime.bigint()));
  await ctx.run("second", () => null);
  await ctx.run("third", () => null);
  return { first };
};

await restate.serve({
  services: [restate.service({ name: "bench", handlers: { three } })],
  port: Number(process.env.PORT),
});
console.log("the service listens");
