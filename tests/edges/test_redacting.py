"""Nothing secret and nothing personal is stored: what is found, and what is left alone.

Everything secret-like here is put together from parts, so that no scanner takes this file for a leak.
"""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bot.redacting import redact

A = "aB3dE5fG7hJ9kL1mN3pQ5rS7tU9vW1xY3zA5bC7dE9fG1hJ3kL5mN7pQ9rS1tU3vW5xY7z"
HEX = "0123456789abcdef" * 4
UP = "A1B2C3D4E5F6G7H8"
DIGITS = "123456789012"
JWT = ".".join(["ey" + "JhbGciOiJIUzI1NiJ9", "ey" + "JzdWIiOiIxMjM0NTY3ODkwIn0", A[:43]])
PEM = "-----BEGIN RSA " + "PRIVATE KEY-----\n" + A + "\n" + A + "\n-----END RSA " + "PRIVATE KEY-----"
PGP = "-----BEGIN PGP " + "PRIVATE KEY BLOCK-----\n\n" + A + "\n-----END PGP " + "PRIVATE KEY BLOCK-----"

SECRETS = {
    "slack bot": "xo" + "xb-" + f"{DIGITS}-{DIGITS}-{A[:24]}",
    "slack user": "xo" + "xp-" + f"{DIGITS}-{DIGITS}-{DIGITS}-{HEX[:32]}",
    "slack app": "xa" + "pp-1-" + f"A0{UP[:9]}-{DIGITS}-{HEX}",
    "slack refresh": "xo" + "xe-1-" + A[:60],
    "slack rotated": "xo" + "xe.xo" + "xp-1-" + A[:60],
    "slack legacy": "xo" + "xa-2-" + f"{DIGITS}-{DIGITS}-{A[:24]}",
    "slack session": "xo" + "xc-" + f"{DIGITS}-{DIGITS}-{A[:24]}",
    "slack cookie": "xo" + "xd-" + A[:60],
    "slack workflow": "xw" + "fp-" + f"{DIGITS}-{A[:24]}",
    "slack webhook": "https://hooks.slack.com/" + f"services/T{UP[:8]}/B{UP[:8]}/{A[:24]}",
    "openai": "s" + "k-" + A[:48],
    "openai project": "s" + "k-proj-" + A[:60] + "_" + A[:20],
    "openai service": "s" + "k-svcacct-" + A[:60],
    "openai admin": "s" + "k-admin-" + A[:60],
    "anthropic": "s" + "k-ant-api03-" + A[:60] + "-" + A[:20] + "AA",
    "openrouter": "s" + "k-or-v1-" + HEX,
    "google": "AI" + "zaSy" + A[:33],
    "google oauth": "ya" + "29." + A[:60],
    "google client": "GOC" + "SPX-" + A[:28],
    "aws key": "AK" + "IA" + UP,
    "aws session": "AS" + "IA" + UP,
    "github": "gh" + "p_" + A[:36],
    "github oauth": "gh" + "o_" + A[:36],
    "github server": "gh" + "s_" + A[:36],
    "github refresh": "gh" + "r_" + A[:60],
    "github fine-grained": "github" + "_pat_" + A[:22] + "_" + A[:59],
    "gitlab": "gl" + "pat-" + A[:20],
    "gitlab runner": "gl" + "rt-" + A[:20],
    "gitlab deploy": "gl" + "dt-" + A[:20],
    "stripe live": "s" + "k_live_" + A[:24],
    "stripe test": "s" + "k_test_" + A[:24],
    "stripe restricted": "r" + "k_live_" + A[:24],
    "stripe webhook": "wh" + "sec_" + A[:32],
    "product key": "hp" + "_live_" + A[:24],
    "jwt": JWT,
    "pem": PEM,
    "pem cut off": PEM[:90],
    "pgp": PGP,
    "npm": "np" + "m_" + A[:36],
    "pypi": "py" + "pi-AgEIcHlwaS5vcmc" + A[:50],
    "sendgrid": "S" + "G." + A[:22] + "." + A[:43],
    "twilio": "S" + "K" + HEX[:32],
    "telegram": "123456789:" + "AA" + A[:33],
    "huggingface": "h" + "f_" + A[:34],
    "digitalocean": "do" + "p_v1_" + HEX,
    "shopify": "sh" + "pat_" + HEX[:32],
    "databricks": "da" + "pi" + HEX[:32],
    "mailgun": "ke" + "y-" + HEX[:32],
    "mailchimp": HEX[:32] + "-us" + "12",
    "vault": "hv" + "s." + A[:24],
    "atlassian": "ATA" + "TT3" + A[:60],
    "linear": "lin" + "_api_" + A[:40],
    "notion": "nt" + "n_" + A[:46],
    "groq": "gs" + "k_" + A[:52],
    "replicate": "r" + "8_" + A[:37],
    "new relic": "NR" + "AK-" + UP + "ABCDEFGHIJK",
    "square": "sq" + "0atp-" + A[:22],
    "discord": "M" + A[:25] + "." + A[:6] + "." + A[:38],
}


@pytest.mark.parametrize("before", ["", "my key is ", "it says `", 'export TOKEN="', "(", "see: "])
@pytest.mark.parametrize("secret", SECRETS.values(), ids=SECRETS.keys())
def test_a_secret_is_replaced_wherever_it_stands(secret: str, before: str) -> None:
    """Alone, behind words, in quotes, in code."""
    shown = redact(f"{before}{secret}")
    assert "⟨" in shown
    assert not any(part in shown for part in (secret, secret[len(secret) // 3 :], secret[-12:]))


PLAIN_PASSWORD = "hun" + "ter2!x"
IN_WORDS = {
    f"my password is {PLAIN_PASSWORD}": PLAIN_PASSWORD,
    f"Password: {PLAIN_PASSWORD}": PLAIN_PASSWORD,
    f"password={PLAIN_PASSWORD}": PLAIN_PASSWORD,
    f"pwd = {PLAIN_PASSWORD}, does not work": PLAIN_PASSWORD,
    f"the passphrase was {PLAIN_PASSWORD}.": PLAIN_PASSWORD,
    "my password is " + "swordfish": "swordfish",
    "the password is " + "swordfish.": "swordfish",
    'password is "' + 'correct horse battery"': "correct horse",
    f"mein Passwort ist {PLAIN_PASSWORD}": PLAIN_PASSWORD,
    f"Kennwort: {PLAIN_PASSWORD}": PLAIN_PASSWORD,
    f"the password for bob is {PLAIN_PASSWORD}": PLAIN_PASSWORD,
    "my PIN is " + "4831": "4831",
    f"Authorization: Bearer {A[:40]}": A[:40],
    "Authorization: Basic " + "dXNlcjpwYXNzd29yZA==": "dXNlcjpwYXNzd29yZA==",
    f"api key: {A[:20]}": A[:20],
    f"API_KEY={A[:20]}": A[:20],
    f"client_secret = '{A[:20]}'": A[:20],
    f"the signing secret is {HEX[:32]}": HEX[:32],
    f"aws_secret_access_key = {A[:40]}": A[:40],
    f"access token → {A[:20]}": A[:20],
    f"https://x.example/cb?token={A[:20]}&a=1": A[:20],
    f"https://x.example/cb?a=1&sig={A[:20]}": A[:20],
    "postgres://app:" + "s3cr3tpw@db.internal:5432/x": "s3cr3tpw",
    "https://bob:" + "s3cr3tpw@git.example/repo": "s3cr3tpw",
    "redis://:" + "s3cr3tpw@cache:6379": "s3cr3tpw",
    "DefaultEndpoints;AccountKey=" + A[:60] + "==;": A[:60],
}


@pytest.mark.parametrize(("text", "secret"), IN_WORDS.items(), ids=range(len(IN_WORDS)))
def test_a_secret_is_known_by_the_words_around_it(text: str, secret: str) -> None:
    """The words stay, the value goes."""
    shown = redact(text)
    assert secret not in shown and "⟨" in shown
    assert shown.startswith(text[:2])


PERSONAL = {
    "mail bob@acme.example please": "mail ⟨email 1⟩ please",
    "bob.o'neil+x@mail.acme.co.uk": "⟨email 1⟩",
    "BOB_SMITH@ACME.EXAMPLE!": "⟨email 1⟩!",
    "<bob@acme.example>": "<⟨email 1⟩>",
    "jürgen@müller.example": "⟨email 1⟩",
    "call +49 171 1234567": "call ⟨phone 1⟩",
    "+1 (555) 123-4567": "⟨phone 1⟩",
    "+44 20 7946 0958 or so": "⟨phone 1⟩ or so",
    "+4917112345678": "⟨phone 1⟩",
    "(555) 123-4567": "⟨phone 1⟩",
    "555-123-4567": "⟨phone 1⟩",
    "1-800-555-0199": "⟨phone 1⟩",
    "030 / 1234567": "⟨phone 1⟩",
    "0171 1234567": "⟨phone 1⟩",
    "0049 171 1234567": "⟨phone 1⟩",
    "phone: 5551234567": "phone: ⟨phone 1⟩",
    "call me at 555 1234": "call me at ⟨phone 1⟩",
    "card " + "4111 1111 1111 " + "1111": "card ⟨card 1⟩",
    "4111" + "111111111111": "⟨card 1⟩",
    "5500-0000-" + "0000-0004": "⟨card 1⟩",
    "3400 000000 " + "00009": "⟨card 1⟩",
    "DE89 3704 0044 " + "0532 0130 00": "⟨iban 1⟩",
    "GB82WEST" + "12345698765432": "⟨iban 1⟩",
    "FR1420041010050" + "500013M02606": "⟨iban 1⟩",
    "from 203.0.113.7 today": "from ⟨ip 1⟩ today",
    "host 192.168.17.4:8080": "host ⟨ip 1⟩:8080",
    "2001:db8:85a3:0:0:8a2e:370:7334": "⟨ip 1⟩",
    "fe80::1ff:fe23:4567:890a": "⟨ip 1⟩",
}


@pytest.mark.parametrize(("text", "shown"), PERSONAL.items())
def test_personal_data_becomes_a_typed_placeholder(text: str, shown: str) -> None:
    """Checksums decide about cards and account numbers."""
    assert redact(text) == shown


HARMLESS = [
    "Upgrade from 1.2.3 to 1.10.0-beta.2",
    "version 10.4.0.1 is out",
    "ERR-4021 and E1234, HTTP 429",
    "request 123e4567-e89b-12d3-a456-426614174000",
    "ts 1700000000.123456",
    "order 4471-2291-88 of 2026-11-05",
    "order number 1234567890123456",
    "card that fails its check 4111 1111 1111 1112",
    "DE89 3704 0044 0532 0130 01 fails its check",
    "see https://docs.heronpost.example/api/keys#reset?tab=2",
    "https://github.com/acme/repo/commit/0123456789abcdef0123456789abcdef01234567",
    "git clone git@github.com:acme/repo.git",
    "sha256:" + HEX,
    "npm i @scope/pkg@1.2.3",
    "How do I reset my API key?",
    "the password is wrong",
    "my password is not working",
    "Password is required.",
    "the password is stored encrypted",
    "password: required",
    "password reset link expired",
    "where is the password policy?",
    "is the API key public?",
    "the token is invalid",
    "the secret is shown once",
    "Test keys begin with hp_test_ and live ones with hp_live_",
    "Bearer authentication is used",
    "Basic plan costs $10",
    "set OPENAI_API_KEY in the environment",
    "listen on 127.0.0.1:3000 or 0.0.0.0",
    "netmask 255.255.255.0",
    "at 12:30:45 on 5 November 2026",
    "std::vector<int> and a::b",
    "1,000 requests per 60 seconds, 10-12 days, 24/7",
    "call limit is 1000 a minute",
    "phone support is for Enterprise customers",
    "<@U0123ABCD> in <#C0123ABCD|general>",
    "ratio 16:9, 100% of 3/4",
    "skip sk-learn, risk-free, ask-me-anything-about-our-plans",
    "MAX_TOKENS=4096 and max_retries=3",
    "the pin icon: pins a message",
    "Fact 12: 2026 was fine. 555 people came.",
    "column A1:B22, ISO 8601, RFC 2606",
    "T01ABCDEF:C01ABCDEF:1700000000.123456",
]


@pytest.mark.parametrize("text", HARMLESS)
def test_harmless_lines_are_left_alone(text: str) -> None:
    """A support question is full of numbers and codes that are nobody's."""
    assert redact(text) == text


def test_there_are_enough_cases() -> None:
    """The tables grow with every miss, and never shrink."""
    assert len(SECRETS) + len(IN_WORDS) + len(PERSONAL) + len(HARMLESS) >= 120


def test_the_same_value_has_the_same_name_within_a_text() -> None:
    """So that a redacted conversation can still be followed."""
    text = "bob@a.example wrote to eve@b.example, then bob@a.example called +49 171 1234567"
    assert redact(text) == "⟨email 1⟩ wrote to ⟨email 2⟩, then ⟨email 1⟩ called ⟨phone 1⟩"


def test_names_given_before_are_kept() -> None:
    """A text that was redacted and went on is redacted again without mixing people up."""
    assert redact("⟨email 1⟩ asks for bob@a.example") == "⟨email 1⟩ asks for ⟨email 2⟩"


PIECES = st.sampled_from(
    [
        *SECRETS.values(),
        *IN_WORDS,
        *PERSONAL,
        *HARMLESS,
        " ",
        "\n",
        ": ",
        "=",
        "⟨",
        "⟩",
        "⟨email 1⟩",
        "@",
        "+",
        "0",
        "://",
    ]
)


@given(st.lists(PIECES | st.text(max_size=8), max_size=6).map("".join))
def test_redacting_twice_changes_nothing_more(text: str) -> None:
    """Idempotent on anything."""
    once = redact(text)
    assert redact(once) == once


def test_a_message_takes_less_than_a_millisecond() -> None:
    """The median over ordinary messages, with and without something to find."""
    messages = [*HARMLESS, *IN_WORDS, *PERSONAL, " ".join(HARMLESS)[:600]]
    took = []
    for message in messages * 3:
        began = time.perf_counter()
        redact(message)
        took.append(time.perf_counter() - began)
    assert sorted(took)[len(took) // 2] < 0.001


LONGEST = 40_000
"""Characters that Slack lets through in one message."""
HURTING = [  # each is repeated, or its last part is, to the longest message: one for each shape at least
    ("-----BEGIN ", "A"), ("-----BEGIN PRIVATE KEY-----", "-----END A"), ("", "-----BEGIN "),
    ("https://hooks.slack.com/services/", "/"), ("https://", "hooks.slack.com/"),
    ("https://", "d"), ("https://discord.com/api/webhooks/", "1"), ("/api/webhooks/", "https://x.discord.com"),
    ("", "-xoxb-"), ("", "xoxe.xoxb-"),
    ("", "-eyJ"), ("", "-eyJaaaaaaaa"), ("", "-eyJaaaaaaaa."), ("eyJaaaaaaaa.", "-eyJaaaaaaaa"),
    ("", "-sk-"), ("", "sk-ant-a."), ("", "GOCSPX-"), ("", "-ya29."), ("AKIA", "A"), ("", ".AKIA"),
    ("ghp_", "a"), ("", "github_pat_"), ("", "-glpat-"), ("", ".glpat-a"), ("", "aa_live_"), ("aa_live_", "A"),
    ("whsec_", "+"), ("", "+whsec_"), ("", "-pypi-"), ("", "-npm_"), ("", "-SG."), ("SG.", "-"), ("", "SK0"),
    ("", "1:AA"), ("12345678:AA", "-"), ("dop_v1_", "a"), ("", "key-"), ("", "0-us1"), ("", "-hvs."), ("", "=ATATT3"),
    ("", "-xai-"), ("xai-", "_"), ("", "-sq0atp-"), ("", "-M"), (".", "-MA"), ("M" * 23, ".aaaaaa"),
    ("AccountKey=", "/"), ("", "AccountKey="), ("?", "token"), ("", "?token="), ("&", "key="),
    ("http://", "a"), ("", "http://a"), ("", "a+b-"), ("", "://:"), ("http://", "a:"), ("http://a:", "b@"),
    ("bearer", " "), ("", "bearer "), ("Token a", "~"), ("password", " "), ("password", "\"'"), ("", "password: "),
    ("password:", "\n"), ("mot", " "), ("mot de", "\t"), ("password for", " "), ("password for ", "x"),
    ("", "password for "), ("password is", " "), ("password is x", " "), ("", "password is '"), ("pwd is ", "a."),
    ("", "password is password is now "), ("pin", " "), ("pin code", "\n"), ("", "pin is "),
    ("secret", " "), ("api", "-"), ("", "api_access_"), ("access", " _"), ("secret is", "'"), ("", "api key "),
    ("secret:", " '"), ("A", "_KEY"), ("", "A_KEY "), ("A_KEY", " "), ("A_KEY=", "'"),
    ("", "a@"), ("", "%a"), ("a@", "b."), ("", "a."), ("a@b.", "c"), ("", "git@"), ("", "a@b.cc"), ("@", "a'"),
    ("", "DE89 "), ("DE89", "A1A1 "), ("", "1 "), ("", "0"), ("", "1-"), ("", "1."), ("", "1.1.1.1."), ("", "a:"),
    ("", ":"), ("+1", " ."), ("", "+1"), ("+1", "(1"), ("", "(555) "), ("", "555-123-"), ("", "030 / "), ("", "0-"),
    ("tel", " "), ("tel", "\n"), ("phone number", " "), ("call", " "), ("", "tel number. is "), ("tel ", "1 ."),
    ("", "+1234567"), ("", "+1234567a@b.cc"), ("", "⟨email 1⟩"), ("⟨a", " a"), ("⟨a ", "1"),
]  # fmt: skip


@pytest.mark.parametrize(("begin", "again"), HURTING, ids=range(len(HURTING)))
@pytest.mark.parametrize("end", ["", "@", "!", "\n⟩"], ids=["cut", "at", "mark", "line"])
def test_no_text_makes_it_slow(begin: str, again: str, end: str) -> None:
    """The longest message that Slack lets through, made to hurt a pattern: a second is what only a pattern that takes
    more than time in proportion to the length can need."""
    text = begin + again * ((LONGEST - len(begin + end)) // len(again)) + end
    began = time.process_time()
    redact(text)
    assert time.process_time() - began < 1


def test_the_longest_ordinary_message_takes_no_longer_than_many_short_ones() -> None:
    """Prose, logs and addresses up to the limit are redacted in well under the time that Slack waits."""
    text = "\n".join([*HARMLESS, *IN_WORDS, *PERSONAL] * 20)[:LONGEST]
    assert len(text) == LONGEST
    began = time.process_time()
    shown = redact(text)
    assert time.process_time() - began < 0.5
    assert "⟨email 1⟩" in shown and "bob@acme.example" not in shown


def test_values_that_hide_one_another_are_found_and_many_of_them_withheld() -> None:
    """Each is found when the one before it is gone; of a text that is made of nothing else nothing is kept."""
    assert redact("+1234567+7654321+1234567") == "⟨phone 1⟩⟨phone 2⟩⟨phone 1⟩"
    withheld = redact("+1234567" * 100)
    assert re.fullmatch(r"⟨[a-z ]+ \d+⟩", withheld) and redact(withheld) == withheld


def test_a_placeholder_with_an_endless_number_is_text() -> None:
    """Somebody may write what looks like a placeholder; a number of 5,000 digits is not read as one."""
    text = "⟨email " + "1" * 5_000 + "⟩ bob@acme.example"
    assert redact(text).endswith("⟩ ⟨email 1⟩")


def test_placeholders_are_of_one_form() -> None:
    """Others may look for them."""
    assert re.fullmatch(r"⟨[a-z ]+ \d+⟩", redact(SECRETS["slack bot"]))
