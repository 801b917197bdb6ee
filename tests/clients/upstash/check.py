"""Upstash's official Python clients, unchanged, against the gateway that UPSTASH_REDIS_REST_URL and
UPSTASH_REDIS_REST_TOKEN name. Prints what was checked; exits 1 if anything was not as it should be."""

import asyncio
import json
import sys
import traceback
import uuid

import upstash_ratelimit.asyncio
import upstash_redis.asyncio
from upstash_ratelimit import FixedWindow, Ratelimit, SlidingWindow, TokenBucket
from upstash_redis import Redis
from upstash_redis.errors import UpstashError

RUN = f"check-py:{uuid.uuid4()}"
DAYS = 30  # so long that no check crosses the edge of a window

redis = Redis.from_env()
failures = 0


def key(name):
    return f"{RUN}:{name}"


def check(name):
    """Runs a check immediately and reports it."""

    def decorate(work):
        global failures
        try:
            result = work()
            if asyncio.iscoroutine(result):
                asyncio.run(result)
            print(f"ok      python: {name}")
        except Exception:
            failures += 1
            print(f"FAILED  python: {name}\n{traceback.format_exc()}")

    return decorate


def equal(actual, expected):
    assert actual == expected, f"{actual!r} instead of {expected!r}"


def raises(text, work):
    try:
        result = work()
    except UpstashError as error:
        assert text in str(error), f"{error} instead of {text}"
    else:
        raise AssertionError(f"{result!r} instead of the error {text}")


@check("strings, numbers and lifetimes")
def _():
    equal(redis.set(key("s"), "väl,ue\n"), True)
    equal(redis.get(key("s")), "väl,ue\n")
    equal(redis.set(key("s"), "other", nx=True), False)
    equal(redis.set(key("s"), "OK", xx=True, get=True, ex=100), "väl,ue\n")
    equal(redis.get(key("s")), "OK")
    equal(redis.ttl(key("s")), 100)
    equal(redis.incrby(key("n"), 41), 41)
    equal(redis.incr(key("n")), 42)
    equal(redis.incrbyfloat(key("f"), 1.5), 1.5)
    equal(redis.mget(key("s"), key("n"), key("missing")), ["OK", "42", None])
    equal(redis.delete(key("s"), key("n")), 2)
    equal(redis.ping(), "PONG")
    equal(redis.echo("hello"), "hello")


@check("values go through JSON on their way")
def _():
    value = {"a": [1, "zwei", None, {"b": True}]}
    redis.set(key("json"), value)
    equal(json.loads(redis.get(key("json"))), value)


@check("hashes, lists, sets and sorted sets")
def _():
    equal(redis.hset(key("h"), values={"name": "Ada", "born": 1815}), 2)
    equal(redis.hgetall(key("h")), {"name": "Ada", "born": "1815"})
    equal(redis.hmget(key("h"), "born", "none"), ["1815", None])
    equal(redis.rpush(key("l"), "a", "b"), 2)
    equal(redis.lrange(key("l"), 0, -1), ["a", "b"])
    equal(redis.sadd(key("set"), "a", "b", "a"), 2)
    equal(set(redis.smembers(key("set"))), {"a", "b"})
    equal(redis.zadd(key("z"), {"one": 1.5, "two": 2}), 2)
    equal(redis.zrange(key("z"), 0, -1, withscores=True), [("one", 1.5), ("two", 2.0)])
    equal(redis.zscore(key("z"), "one"), 1.5)


@check("errors are errors")
def _():
    redis.set(key("text"), "abc")
    raises("ERR value is not an integer or out of range", lambda: redis.incr(key("text")))
    raises("WRONGPASS", lambda: Redis(url=redis._url, token="wrong").get("x"))


@check("pipelines and transactions")
def _():
    pipeline = redis.pipeline().set(key("p"), 1).incr(key("p")).get(key("p")).lrange(key("l"), 0, -1)
    equal(pipeline.exec(), [True, 2, "2", ["a", "b"]])
    transaction = redis.multi().set(key("t"), 1).incr(key("t")).hgetall(key("h"))
    equal(transaction.exec(), [True, 2, {"name": "Ada", "born": "1815"}])
    raises("ERR value is not an integer", lambda: redis.pipeline().incr(key("text")).exec())


@check("scripts")
def _():
    script = f"#!lua flags=allow-key-locking\n-- {RUN}\nreturn {{KEYS[1], ARGV[1], redis.call('INCR', KEYS[1])}}"
    equal(redis.eval(script, keys=[key("c")], args=["x"]), [key("c"), "x", 1])
    sha = redis.script_load(script)
    equal(redis.script_exists(sha, "0" * 40), [True, False])
    equal(redis.evalsha(sha, keys=[key("c")], args=["y"]), [key("c"), "y", 2])
    raises("NOSCRIPT", lambda: redis.evalsha("0" * 40))


@check("what Upstash adds to Redis")
def _():
    equal(redis.execute(["SET", key("lease"), "mine", "NX", "PX", 60_000]), True)
    equal(redis.execute(["SET", key("lease"), "done", "IFEQ", "yours"]), False)
    equal(redis.execute(["SET", key("lease"), "Hello world", "IFEQ", "mine", "EX", 100]), True)
    equal(redis.execute(["DIGEST", key("lease")]), "b6acb9d84a38ff74")
    equal(redis.execute(["DELEX", key("lease"), "IFEQ", "mine"]), 0)
    equal(redis.execute(["DELEX", key("lease"), "IFDEQ", "b6acb9d84a38ff74"]), 1)


@check("the asynchronous client, many concurrent requests")
async def _():
    async with upstash_redis.asyncio.Redis.from_env() as client:
        numbers = await asyncio.gather(*(client.incr(key("async")) for _ in range(50)))
        equal(sorted(numbers), list(range(1, 51)))
        equal(await client.multi().set(key("at"), "x").get(key("at")).exec(), [True, "x"])


LIMITERS = {
    "fixed window": FixedWindow(max_requests=5, window=DAYS, unit="d"),
    "sliding window": SlidingWindow(max_requests=5, window=DAYS, unit="d"),
    "token bucket": TokenBucket(max_tokens=5, refill_rate=1, interval=DAYS, unit="d"),
}

for name, limiter in LIMITERS.items():

    @check(f"limiter: {name}")
    def _():
        limit = Ratelimit(redis=redis, limiter=limiter, prefix=key(name))
        equal(sum(limit.limit("one").allowed for _ in range(8)), 5)
        equal(sum(limit.limit("another").allowed for _ in range(8)), 5)
        equal(limit.get_remaining("one"), 0)
        equal(limit.get_remaining("a third"), 5)

    @check(f"asynchronous limiter, 40 concurrent calls: {name}")
    async def _():
        async with upstash_redis.asyncio.Redis.from_env() as client:
            limit = upstash_ratelimit.asyncio.Ratelimit(redis=client, limiter=limiter, prefix=key(f"async {name}"))
            answers = await asyncio.gather(*(limit.limit("one") for _ in range(40)))
            equal(sum(answer.allowed for answer in answers), 5)


print("python: all as it should be" if failures == 0 else f"python: {failures} failed")
sys.exit(0 if failures == 0 else 1)
