"""Addresses of sources as people in Slack may give and see them."""

from __future__ import annotations

import pytest

from bot.errors import TellUser
from bot.source_words import check_from_slack, holds_secret, shown_address, without_secrets

OPENED = {"s3://handbook", "github://acme:", "sftp://docs.example/", "file:///srv/", "memory://"}
SIGNED = "https://blob.example/docs?sv=2024&sig=Gr4nadilla"


@pytest.mark.parametrize(
    "address",
    [
        "https://docs.example/en/",
        "https://docs.example:8443/?page=2",
        "http://[2001:db8::1]/",
        "s3://handbook",
        "s3://handbook/",
        "s3://handbook/en/a.md",
        "github://acme:docs@main/en",
        "sftp://docs.example/en",
    ],
)
def test_the_web_and_what_the_operator_opened_may_be_added(address: str) -> None:
    """As it was written."""
    assert check_from_slack(address, OPENED) == address


@pytest.mark.parametrize(
    "address",
    [
        "/etc/passwd",
        "docs",
        "~/docs",
        "file:///etc/passwd",
        "file:///srv/docs",
        "local:///srv/",
        "memory://x/",
        "https://",
        "s3://handbook-secret/",
        "s3://other/",
        "s3://handbook/../other/",
        "s3://handbook/%2e%2e/other/",
        "S3://other/",
        "s3://handbook/x::file:///etc/passwd",
        "zip://x::file:///a.zip",
        "simplecache::s3://handbook/",
        "gs://handbook/",
        "github://evil:docs@main",
        "sftp://docs.example@evil.example/",
        "sftp://docs.example.evil.example/",
        "sftp://docs.example/..",
        "https://docs.example/a b",
        "javascript://docs.example/",
        "://x",
        "http:/docs.example/",
    ],
)
def test_everything_else_is_for_the_operator(address: str) -> None:
    """The server's disk, somebody else's bucket, and ways round what was opened."""
    with pytest.raises(TellUser, match="web addresses only"):
        check_from_slack(address, OPENED)


@pytest.mark.parametrize(
    "address",
    [
        "https://jane:Gr4nadilla@docs.example/",
        "https://Gr4nadilla@docs.example/",
        "sftp://jane:Gr4nadilla@docs.example/",
        SIGNED,
        "https://docs.example/?api_key=Gr4nadilla",
        "https://docs.example/?X-Amz-Signature=Gr4nadilla",
        "https://docs.example/?page=2&%74oken=Gr4nadilla",
        "https://docs.example/?k=Gr4nadilla9f8e7d6c5b",
        "https://docs.example/#token=Gr4nadilla",
        "https://docs.example/#/en?access_token=Gr4nadilla",
        "https://docs.example/en;jsessionid=Gr4nadilla",
        "https://docs.example/en;v=Gr4nadilla9f8e7d6c5b/help",
        "s3://handbook/AKIAABCDEFGHIJKLMNOP",
        "https://docs.example/ghp_abcdefghijklmnopqrstuvwxyz0123456789",
        "http://[",
    ],
)
def test_an_address_that_holds_a_secret_is_none_for_slack(address: str) -> None:
    """Whoever reads the list, the log or the queue would have it."""
    assert holds_secret(address)
    assert "Gr4nadilla" not in shown_address(address) and "ghp_" not in shown_address(address)
    with pytest.raises(TellUser, match="I keep no such thing"):
        check_from_slack(address, OPENED)


@pytest.mark.parametrize(
    "address",
    [
        "https://docs.example/articles/360012345678",
        "https://docs.example/?keyword=keys&page=2",
        "https://docs.example/?id=360012345678901234&of=guide-to-2024-pricing",
        "https://docs.example/?space=internationalization",
        "https://docs.example/My-page-0a1b2c3d4e5f60718293a4b5c6d7e8f9",
        "https://docs.example/en;v=2/help",
        "s3://handbook/year=2024/lang=en/",
        "https://192.0.2.7/docs",
        "github://acme:docs@main/en",
        "abfs://docs@acme.dfs.core.windows.net/en",
        "/srv/docs",
    ],
)
def test_an_ordinary_address_holds_none(address: str) -> None:
    """Owners, containers, numbers and hosts are no secrets."""
    assert not holds_secret(address)
    assert shown_address(address).partition("?")[0] == address.partition("?")[0]


def test_addresses_within_a_text_are_shown_without_their_secrets() -> None:
    """As in the reason why a page could not be read."""
    shown = without_secrets(f"the site map {SIGNED} is not there")
    assert shown == "the site map https://blob.example/docs?sv=…&sig=… is not there"
