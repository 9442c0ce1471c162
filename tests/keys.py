"""Finds what would stay in Redis for ever."""

from __future__ import annotations

from redis.asyncio import Redis


async def keys_without_ttl(redis: Redis) -> set[str]:
    """The keys of this database that never expire; the client decodes its answers."""
    return {key async for key in redis.scan_iter(count=1000) if await redis.pttl(key) == -1}
