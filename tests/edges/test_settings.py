"""What operators set, rightly and wrongly."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from bot.errors import TellUser
from bot.settings import SLACK_API, Settings
from tests.edges.test_command_line import bot


def test_nothing_set_means_everything_embedded() -> None:
    """Variables of others, and those that are set to nothing, change nothing."""
    settings = Settings.from_environment({"REDIS_URL": "", "PORT": "", "HOME": "/home/bot", "port": "1"})
    assert settings == Settings()
    assert (settings.redis_url, settings.weaviate_url, settings.port) == (None, None, 3000)


def test_a_variable_is_read_as_what_its_setting_is() -> None:
    """Numbers, a switch, a folder, a list with commas, a secret that is not shown."""
    settings = Settings.from_environment(
        {
            "PORT": "8080",
            "HYBRID_ALPHA": "0.25",
            "ALLOW_EMBEDDED": "1",
            "DATA_DIR": "/var/lib/footnote",
            "ADMIN_USERS": "U1, U2,,",
            "SLACK_BOT_TOKEN": "xoxb-" + "1",
        }
    )
    assert (settings.port, settings.hybrid_alpha, settings.allow_embedded) == (8080, 0.25, True)
    assert settings.data_dir == Path("/var/lib/footnote")
    assert settings.admin_users == {"U1", "U2"}
    assert settings.slack_bot_token is not None and settings.slack_bot_token.get_secret_value() == "xoxb-" + "1"
    assert "xoxb" not in repr(settings)


def test_settings_do_not_change() -> None:
    """They are handed down and stay as they are; and there is none that nobody knows."""
    with pytest.raises(ValidationError, match="frozen"):
        Settings().port = 1  # type: ignore[misc]
    with pytest.raises(ValidationError, match="extra"):
        Settings(redis="redis://cache")  # type: ignore[call-arg]


def test_wrong_ones_are_named_all_at_once_without_their_values(tmp_path: Path) -> None:
    """By the names of the variables, with status 2; a value may be a secret in the wrong place."""
    wrong = {"PORT": "xoxb-in-the-wrong-place", "HYBRID_ALPHA": "2", "RETENTION_DAYS": "0"}
    done = bot(tmp_path, "search", "x", **wrong)
    assert (done.returncode, done.stdout) == (2, "")
    assert {line.split(":")[0] for line in done.stderr.splitlines()} == wrong.keys()
    assert "xoxb" not in done.stderr


def test_a_model_without_an_address_is_named(tmp_path: Path) -> None:
    """What two variables say together is checked, too."""
    done = bot(tmp_path, "search", "x", PERSONA_MODEL="m")
    assert done.returncode == 2
    assert done.stderr.startswith("PERSONA_MODEL is set, so OPENAI_BASE_URL or OPENAI_API_KEY must be set too")


@pytest.mark.parametrize("model", ["minilm", "minilm-int8", "multilingual"])
def test_prompts_are_refused_where_no_model_would_heed_them(model: str) -> None:
    """Whoever sets one shall not believe that it does something; at a server a model may be called as it likes."""
    for prompt in ("EMBEDDING_QUERY_PROMPT", "EMBEDDING_PASSAGE_PROMPT"):
        given = {"EMBEDDING_MODEL": model, prompt: "query: "}
        with pytest.raises(ValidationError, match=f"{prompt}.* are for other models: EMBEDDING_MODEL={model}"):
            Settings.from_environment(given)
        Settings.from_environment(given | {"EMBEDDING_MODEL": "intfloat/e5-small"})
        Settings.from_environment(given | {"EMBEDDING_BASE_URL": "https://embed.example/v1"})
    with pytest.raises(ValidationError, match="EMBEDDING_MODEL=minilm"):
        Settings.from_environment({"EMBEDDING_QUERY_PROMPT": "query: "})


def test_production_does_not_start_embedded_by_accident() -> None:
    """With Slack's own API a missing URL is named, unless it is meant."""
    with pytest.raises(TellUser, match="REDIS_URL and WEAVIATE_URL"):
        Settings(slack_bot_token="xoxb-1").refuse_accidental_embedding()  # type: ignore[arg-type]
    Settings(slack_bot_token="xoxb-1", allow_embedded=True).refuse_accidental_embedding()  # type: ignore[arg-type]
    local = Settings(slack_bot_token="xoxb-1", slack_api_url="http://127.0.0.1:1/api/")  # type: ignore[arg-type]
    local.refuse_accidental_embedding()
    assert Settings().slack_api_url == SLACK_API
