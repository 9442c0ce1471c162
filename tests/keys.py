"""Finds what would stay in Redis for ever, and where something is written down."""

from __future__ import annotations

import json
from typing import Any

from redis.asyncio import Redis

from bot.memory import Memory


async def keys_without_ttl(redis: Redis) -> set[str]:
    """The keys of this database that never expire; the client decodes its answers."""
    return {key async for key in redis.scan_iter(count=1000) if await redis.pttl(key) == -1}


async def holding(memory: Memory, words: str) -> set[str]:
    """The keys whose name or value holds these words, plain or as JSON escapes them; whatever the type of the value."""
    needles = (words.encode(), json.dumps(words)[1:-1].encode())
    async with Redis.from_url(memory.docket_url) as redis:  # docket's values are pickled, so nothing is decoded
        found = [key async for key in redis.scan_iter(count=1000) if _holds([key, await _value(redis, key)], needles)]
    return {key.decode() for key in found}


async def _value(redis: Redis, key: bytes) -> Any:
    match (await redis.type(key)).decode():
        case "string":
            return await redis.get(key)
        case "hash":
            return await redis.hgetall(key)
        case "list":
            return await redis.lrange(key, 0, -1)
        case "set":
            return list(await redis.smembers(key))
        case "zset":
            return await redis.zrange(key, 0, -1)
        case "stream":
            return await redis.xrange(key)
        case "none":
            return None  # gone meanwhile
    raise AssertionError(f"{key!r} is of a type that nobody looks into")


def _holds(value: Any, needles: tuple[bytes, ...]) -> bool:
    if isinstance(value, dict):
        return any(_holds(part, needles) for part in [*value, *value.values()])
    if isinstance(value, list | tuple):
        return any(_holds(part, needles) for part in value)
    return isinstance(value, bytes) and any(needle in value for needle in needles)
