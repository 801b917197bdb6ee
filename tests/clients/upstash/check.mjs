// Upstash's official JavaScript clients, unchanged, against the gateway that UPSTASH_REDIS_REST_URL and
// UPSTASH_REDIS_REST_TOKEN name. Prints what was checked; exits 1 if anything was not as it should be.
// With CHECK_BILLING=1 the gateway must serve its counts (--stats --count-script-calls), and they are checked too.
import assert from "node:assert/strict";
import { randomUUID } from "node:crypto";
import { MultiRegionRatelimit, Ratelimit } from "@upstash/ratelimit";
import { Redis } from "@upstash/redis";

const { UPSTASH_REDIS_REST_URL: url, UPSTASH_REDIS_REST_TOKEN: token, CHECK_BILLING } = process.env;
const redis = Redis.fromEnv();
const run = `check-js:${randomUUID()}`;
const key = (name) => `${run}:${name}`;
// So long that no check crosses the edge of a window.
const WINDOW = "30 d";
// No check takes nearly as long.
const DEADLINE_MS = 60_000;
let failures = 0;

async function check(name, work) {
  try {
    const late = new Promise((_, reject) => {
      setTimeout(() => reject(new Error(`nothing after ${DEADLINE_MS} ms`)), DEADLINE_MS).unref();
    });
    await Promise.race([work(), late]);
    console.log(`ok      javascript: ${name}`);
  } catch (error) {
    failures += 1;
    console.log(`FAILED  javascript: ${name}\n${error.stack}`);
  }
}

await check("strings, numbers and lifetimes", async () => {
  const k = key("string");
  assert.equal(await redis.set(k, "väl,ue\n"), "OK");
  assert.equal(await redis.get(k), "väl,ue\n");
  assert.equal(await redis.set(k, "other", { nx: true }), null);
  assert.equal(await redis.set(k, "OK", { xx: true, get: true, ex: 100 }), "väl,ue\n");
  assert.equal(await redis.get(k), "OK");
  assert.equal(await redis.ttl(k), 100);
  assert.equal(await redis.incrby(key("n"), 41), 41);
  assert.equal(await redis.incr(key("n")), 42);
  assert.equal(await redis.incrbyfloat(key("f"), 1.5), 1.5);
  assert.deepEqual(await redis.mget(k, key("n"), key("missing")), ["OK", 42, null]);
  assert.equal(await redis.mset({ [key("m1")]: 1, [key("m2")]: { two: 2 } }), "OK");
  assert.equal(await redis.append(k, "!"), 3);
  assert.equal(await redis.strlen(k), 3);
  assert.equal(await redis.del(k, key("n")), 2);
  assert.equal(await redis.get(k), null);
  assert.equal(await redis.ping(), "PONG");
  assert.equal(await redis.echo("hello"), "hello");
});

await check("values go through JSON on their way", async () => {
  for (const value of [{ a: [1, "zwei", null, { b: true }] }, [1, 2, 3], 7, true, "text", "", "12345678901234567890"]) {
    await redis.set(key("json"), value);
    assert.deepEqual(await redis.get(key("json")), value);
  }
});

await check("hashes", async () => {
  const k = key("hash");
  assert.equal(await redis.hset(k, { name: "Ada", born: 1815, tags: ["x"] }), 3);
  assert.deepEqual(await redis.hgetall(k), { name: "Ada", born: 1815, tags: ["x"] });
  assert.equal(await redis.hget(k, "name"), "Ada");
  assert.deepEqual(await redis.hmget(k, "born", "none"), { born: 1815, none: null });
  assert.equal(await redis.hincrby(k, "born", 1), 1816);
  assert.equal(await redis.hdel(k, "tags"), 1);
  assert.deepEqual((await redis.hkeys(k)).sort(), ["born", "name"]);
  assert.equal(await redis.hgetall(key("missing")), null);
});

await check("lists and sets", async () => {
  assert.equal(await redis.rpush(key("list"), "a", { b: 2 }, 3), 3);
  assert.deepEqual(await redis.lrange(key("list"), 0, -1), ["a", { b: 2 }, 3]);
  assert.equal(await redis.lpop(key("list")), "a");
  assert.equal(await redis.llen(key("list")), 2);
  assert.equal(await redis.sadd(key("set"), "a", "b", "a"), 2);
  assert.deepEqual((await redis.smembers(key("set"))).sort(), ["a", "b"]);
  assert.equal(await redis.sismember(key("set"), "b"), 1);
});

await check("sorted sets", async () => {
  const k = key("zset");
  assert.equal(await redis.zadd(k, { score: 1.5, member: "one" }, { score: 2, member: "two" }), 2);
  assert.deepEqual(await redis.zrange(k, 0, -1, { withScores: true }), ["one", 1.5, "two", 2]);
  assert.equal(await redis.zscore(k, "one"), 1.5);
  assert.equal(await redis.zincrby(k, 1, "one"), 2.5);
  assert.equal(await redis.zrank(k, "one"), 1);
  assert.equal(await redis.zremrangebyscore(k, 0, 2), 1);
});

await check("streams and scanning", async () => {
  const id = await redis.xadd(key("stream"), "*", { field: "value", n: 1 });
  assert.deepEqual(await redis.xrange(key("stream"), "-", "+"), { [id]: { field: "value", n: 1 } });
  const found = new Set();
  let cursor = "0";
  do {
    const [next, keys] = await redis.scan(cursor, { match: key("*"), count: 1000 });
    keys.forEach((name) => found.add(name));
    cursor = next;
  } while (cursor !== "0");
  assert.ok(found.has(key("stream")) && found.has(key("zset")));
});

await check("errors are errors", async () => {
  await redis.set(key("text"), "abc");
  await assert.rejects(redis.incr(key("text")), /ERR value is not an integer or out of range/);
  await assert.rejects(new Redis({ url, token: "wrong" }).get("x"), /WRONGPASS/);
});

await check("pipelines, by hand and automatic", async () => {
  const pipeline = redis.pipeline();
  pipeline.set(key("p"), { a: 1 });
  pipeline.get(key("p"));
  pipeline.incr(key("pn"));
  pipeline.lrange(key("list"), 0, -1);
  assert.deepEqual(await pipeline.exec(), ["OK", { a: 1 }, 1, [{ b: 2 }, 3]]);
  const kept = await redis.pipeline().incr(key("text")).get(key("text")).exec({ keepErrors: true });
  assert.match(kept[0].error, /ERR value is not an integer/);
  assert.deepEqual(kept[1], { error: undefined, result: "abc" });
  const together = await Promise.all(Array.from({ length: 50 }, () => redis.incr(key("auto"))));
  assert.deepEqual(together.sort((a, b) => a - b), Array.from({ length: 50 }, (_, i) => i + 1));
});

await check("transactions", async () => {
  const done = await redis.multi().set(key("t"), 1).incr(key("t")).get(key("t")).exec();
  assert.deepEqual(done, ["OK", 2, 2]);
  await assert.rejects(redis.multi().set(key("t"), 9).mget().exec(), /ERR wrong number of arguments/);
  assert.equal(await redis.get(key("t")), 2);
});

await check("scripts", async () => {
  const text = `#!lua flags=allow-key-locking\n-- ${run}\nreturn {KEYS[1], ARGV[1], redis.call("INCR", KEYS[1])}`;
  const script = redis.createScript(text);
  await assert.rejects(script.evalsha([key("s")], ["x"]), /NOSCRIPT/);
  assert.deepEqual(await script.exec([key("s")], ["x"]), [key("s"), "x", 1]);
  assert.deepEqual(await script.evalsha([key("s")], ["y"]), [key("s"), "y", 2]);
  assert.deepEqual(await redis.eval("return ARGV[1]", [], [{ a: 1 }]), { a: 1 });
  const plain = `-- ${run}\nreturn redis.call("GET", KEYS[1])`;
  const sha = await redis.scriptLoad(plain);
  assert.deepEqual(await redis.scriptExists(sha, "0".repeat(40)), [1, 0]);
  assert.equal(await redis.evalsha(sha, [key("s")], []), 2);
  assert.equal(await redis.createScript(plain, { readonly: true }).exec([key("s")], []), 2);
});

await check("what Upstash adds to Redis", async () => {
  const exec = (...command) => redis.exec(command);
  assert.equal(await exec("SET", key("lease"), "mine", "NX", "PX", "60000"), "OK");
  assert.equal(await exec("SET", key("lease"), "done", "IFEQ", "yours", "EX", "100"), null);
  assert.equal(await exec("SET", key("lease"), "Hello world", "IFEQ", "mine", "EX", "100"), "OK");
  assert.equal(await exec("DIGEST", key("lease")), "b6acb9d84a38ff74");
  assert.equal(await exec("DELEX", key("lease"), "IFEQ", "mine"), 0);
  assert.equal(await exec("DELEX", key("lease"), "IFDEQ", "b6acb9d84a38ff74"), 1);
});

await check("subscriptions", async () => {
  const channel = key("channel");
  const subscriber = redis.subscribe([channel]);
  const patterns = redis.psubscribe([`${channel}*`]);
  const next = (source, event) => new Promise((resolve, reject) => {
    source.on(event, resolve);
    source.on("error", reject);
  });
  // Both listeners stand before either is waited for: events are not kept for late ones.
  const confirmed = Promise.all([next(subscriber, "subscribe"), next(patterns, "psubscribe")]);
  assert.deepEqual(await confirmed, [1, 1]);
  const message = next(subscriber, "message");
  const matched = next(patterns, "pmessage");
  assert.equal(await redis.publish(channel, { hello: "you, there" }), 2);
  assert.deepEqual(await message, { channel, message: { hello: "you, there" } });
  assert.deepEqual(await matched, { pattern: `${channel}*`, channel, message: { hello: "you, there" } });
  await subscriber.unsubscribe();
  await patterns.unsubscribe();
});

// Requests that pass before one is refused, over some more than there should be.
async function allowed(limiter, identifier, attempts = 8) {
  let passed = 0;
  for (let attempt = 0; attempt < attempts; attempt += 1) {
    const { success, reason, pending } = await limiter.limit(identifier);
    await pending;
    assert.notEqual(reason, "timeout");
    passed += success ? 1 : 0;
  }
  return passed;
}

const algorithms = {
  "fixed window": Ratelimit.fixedWindow(5, WINDOW),
  "sliding window": Ratelimit.slidingWindow(5, WINDOW),
  "token bucket": Ratelimit.tokenBucket(1, WINDOW, 5),
  "cached fixed window": Ratelimit.cachedFixedWindow(5, WINDOW),
};
for (const [name, limiter] of Object.entries(algorithms)) {
  await check(`limiter: ${name}`, async () => {
    const ratelimit = new Ratelimit({ redis, limiter, prefix: key(name), ephemeralCache: new Map() });
    assert.equal(await allowed(ratelimit, "one"), 5);
    assert.equal(await allowed(ratelimit, "another"), 5);
    assert.equal((await ratelimit.getRemaining("one")).remaining, 0);
    await ratelimit.resetUsedTokens("one");
    assert.equal((await ratelimit.getRemaining("one")).remaining, 5);
    const many = await Promise.all(Array.from({ length: 40 }, () => ratelimit.limit("many")));
    assert.equal(many.filter(({ success }) => success).length, 5);
  });
}

for (const [name, limiter] of Object.entries({
  "fixed window": MultiRegionRatelimit.fixedWindow(5, WINDOW),
  "sliding window": MultiRegionRatelimit.slidingWindow(5, WINDOW),
})) {
  await check(`limiter of several regions: ${name}`, async () => {
    const ratelimit = new MultiRegionRatelimit({ redis: [redis], limiter, prefix: key(`regions ${name}`) });
    assert.equal(await allowed(ratelimit, "one"), 5);
  });
}

await check("limiter: rates, analytics, blocking and limits changed while running", async () => {
  const limiter = Ratelimit.slidingWindow(5, WINDOW);
  const ratelimit = new Ratelimit({ redis, limiter, prefix: key("rates"), analytics: true, dynamicLimits: true });
  const { success, remaining, pending } = await ratelimit.limit("one", { rate: 3 });
  await pending;
  assert.deepEqual({ success, remaining }, { success: true, remaining: 2 });
  const unblocked = await ratelimit.blockUntilReady("one", 1000);
  await unblocked.pending;
  assert.equal(unblocked.success, true);
  await ratelimit.setDynamicLimit({ limit: 7 });
  const changed = await ratelimit.limit("two");
  await changed.pending;
  assert.equal(changed.limit, 7);
});

if (CHECK_BILLING === "1") {
  await check("what a limiter costs: 5 first, 4 steady, 3 denied, 0 from the cache", async () => {
    const headers = { authorization: `Bearer ${token}` };
    const billed = async (work) => {
      await fetch(`${url}/__stats`, { method: "DELETE", headers });
      await work();
      return (await (await fetch(`${url}/__stats`, { headers })).json()).billed;
    };
    const options = { redis, limiter: Ratelimit.slidingWindow(2, WINDOW), prefix: key("cost") };
    const plain = new Ratelimit({ ...options, ephemeralCache: false });
    const cached = new Ratelimit({ ...options, ephemeralCache: new Map() });
    await plain.limit("warm up, so that the script is loaded");
    assert.equal(await billed(() => plain.limit("one")), 5);
    assert.equal(await billed(() => plain.limit("one")), 4);
    assert.equal(await billed(() => cached.limit("one")), 3);
    assert.equal(await billed(() => cached.limit("one")), 0);
  });
}

console.log(failures === 0 ? "javascript: all as it should be" : `javascript: ${failures} failed`);
process.exit(failures === 0 ? 0 : 1);
