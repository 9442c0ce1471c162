"""What a stranger installs and deploys keeps the promises of the documentation. The compose file, the Dockerfile and
the manifest are parsed here, not run: there is no container engine and no Slack in the tests."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import honcho.environ
import pytest
import yaml

from bot.settings import Settings

ROOT = Path(__file__).parents[2]
COMPOSE_ONLY = {"VALKEY_PASSWORD"}


def read(name: str) -> str:
    return (ROOT / name).read_text("utf-8")


def compose() -> dict[str, Any]:
    return yaml.safe_load(read("docker-compose.yml"))


def services() -> dict[str, Any]:
    return compose()["services"]


def manifest() -> dict[str, Any]:
    return json.loads(read("manifest.json"))


# The Procfile and the image


def test_the_procfile_names_the_two_processes() -> None:
    """`honcho start` runs the web process and the worker, each a command of the bot."""
    assert honcho.environ.parse_procfile(read("Procfile")).processes == {
        "web": "python -m bot web",
        "worker": "python -m bot worker",
    }


def test_the_containers_run_the_commands_of_the_procfile() -> None:
    """Compose starts the same two commands, from one image."""
    processes = honcho.environ.parse_procfile(read("Procfile")).processes
    assert {name: " ".join(services()[name]["command"]) for name in processes} == processes
    assert services()["web"]["image"] == services()["worker"]["image"]


def test_the_image_is_built_from_the_lock_without_a_compiler() -> None:
    """Exactly the locked files go in, all of them wheels, and the process is not root."""
    dockerfile = read("Dockerfile")
    assert "ARG LOCK=requirements.lock" in dockerfile
    assert "pip install --no-deps --require-hashes --only-binary :all:" in dockerfile
    assert not re.search(r"apt-get|gcc|build-essential", dockerfile)
    users = re.findall(r"^USER (\S+)", dockerfile, re.MULTILINE)
    assert users and "root" not in users
    assert "/healthz" in dockerfile and "HEALTHCHECK" in dockerfile


def test_the_image_takes_in_only_what_is_named() -> None:
    """Everything is kept out of the build, `.env` and `.git` with it, but what stands in this short list."""
    lines = [line for line in read(".dockerignore").splitlines() if not line.startswith("#")]
    assert lines[0] == "*"
    assert {line[1:] for line in lines if line.startswith("!")} == {
        "bot",
        "handlers",
        "retrieval",
        "manifest.json",
        "requirements.lock",
        "requirements-cloud.lock",
        "requirements-models.lock",
        "requirements-multilingual.lock",
        "LICENSE",
    }


# The compose file


def test_every_published_port_is_bound_to_loopback() -> None:
    """Nothing listens to the network unless the operator puts a proxy before it."""
    ports = [port for service in services().values() for port in service.get("ports", [])]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


def test_weaviate_demands_a_key_and_makes_no_schema_by_itself() -> None:
    """Anonymous access, automatic schemas and telemetry are off; the data folder is a volume."""
    weaviate = services()["weaviate"]
    environment = weaviate["environment"]
    assert environment["AUTHENTICATION_ANONYMOUS_ACCESS_ENABLED"] == "false"
    assert environment["AUTHENTICATION_APIKEY_ENABLED"] == "true"
    assert environment["AUTHENTICATION_APIKEY_ALLOWED_KEYS"].startswith("${WEAVIATE_API_KEY:?")
    assert environment["AUTOSCHEMA_ENABLED"] == "false"
    assert environment["DEFAULT_VECTORIZER_MODULE"] == "none"
    assert environment["DISABLE_TELEMETRY"] == "true"
    assert environment["LIMIT_RESOURCES"] == "true"
    assert environment["QUERY_DEFAULTS_LIMIT"]
    assert weaviate["volumes"] == [f"weaviate-data:{environment['PERSISTENCE_DATA_PATH']}"]


def test_weaviate_keeps_its_node_name_when_its_container_is_replaced() -> None:
    """The node's name is fixed: by default it is the container's, and the data belongs to a node."""
    assert services()["weaviate"]["environment"]["CLUSTER_HOSTNAME"] == "node1"


def test_valkey_writes_everything_down_and_evicts_nothing() -> None:
    """The queue survives a restart: append-only file, flushed each second, on a volume, and no eviction."""
    valkey = services()["valkey"]
    options = dict(zip(valkey["command"][1::2], valkey["command"][2::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "everysec"
    assert options["--maxmemory-policy"] == "noeviction"
    assert options["--requirepass"].startswith("${VALKEY_PASSWORD:?")
    assert valkey["volumes"] == ["valkey-data:/data"]


def test_the_bot_gets_the_password_and_the_key_that_the_servers_demand() -> None:
    """The addresses name the services of this file; each secret comes from the same variable on both sides."""
    for name in ("web", "worker"):
        environment = services()[name]["environment"]
        assert environment["REDIS_URL"].startswith("redis://:${VALKEY_PASSWORD:?")
        assert environment["REDIS_URL"].endswith("@valkey:6379/0")
        assert environment["WEAVIATE_URL"] == "http://weaviate:8080"
        assert (
            environment["WEAVIATE_API_KEY"]
            == (services()["weaviate"]["environment"]["AUTHENTICATION_APIKEY_ALLOWED_KEYS"])
        )


def test_the_bot_waits_until_its_servers_are_healthy() -> None:
    """Both servers have a health check, and both processes depend on it."""
    for server in ("weaviate", "valkey"):
        assert services()[server]["healthcheck"]["test"]
        for name in ("web", "worker"):
            assert services()[name]["depends_on"][server] == {"condition": "service_healthy"}


def test_every_image_is_pinned_and_every_volume_declared() -> None:
    """No image floats on `latest`, and no data lands in a nameless volume."""
    for service in services().values():
        assert re.search(r":(?!latest$)[\w.-]+$", service["image"])
    used = {volume.split(":")[0] for service in services().values() for volume in service.get("volumes", [])}
    assert used == set(compose()["volumes"])


def test_every_variable_of_the_compose_file_stands_in_the_example() -> None:
    """A variable that compose demands can be found and filled in, and its message names it."""
    demanded = re.findall(r"\$\{(\w+):\?set (\w+) in \.env\}", read("docker-compose.yml"))
    assert len(demanded) == len(re.findall(r"(?<!\$)\$\{", read("docker-compose.yml")))
    assert all(name == message for name, message in demanded)
    assert {name for name, _ in demanded} <= {name for name, _ in example_variables()}


# The example of the environment


def example_variables() -> list[tuple[str, str]]:
    """(name, value) of each variable, those that only show their default too."""
    return re.findall(r"^(?:# )?([A-Z][A-Z_]+)=(\S*)$", read(".env.example"), re.MULTILINE)


def test_the_example_names_every_setting_once() -> None:
    """Nothing is missing, nothing is named twice, and nothing is there that the code does not read."""
    names = [name for name, _ in example_variables()]
    assert sorted(names) == sorted({field.upper() for field in Settings.model_fields} | COMPOSE_ONLY)


def test_the_defaults_shown_in_the_example_are_those_of_the_code() -> None:
    """A value that is shown is the code's default, and what is left empty has none."""
    shown = {name.lower(): value for name, value in example_variables() if name not in COMPOSE_ONLY}
    settings = Settings(**{name: value for name, value in shown.items() if value})
    for name, value in shown.items():
        default = Settings.model_fields[name].get_default()
        assert getattr(settings, name) == default if value else not default, name


def test_the_example_holds_no_secret() -> None:
    """What must be kept secret is left empty, not filled with something that could be mistaken for real."""
    for name, value in example_variables():
        if re.search(r"TOKEN|KEY|SECRET|PASSWORD", name):
            assert value == "", name


def test_honcho_reads_the_example_as_it_is_written() -> None:
    """Its parser is a simple one: no comment or quote of ours may confuse it."""
    assert honcho.environ.parse(read(".env.example")) == {"PORT": "3000"}


# The Slack manifest


def test_the_scopes_are_those_that_the_documentation_explains() -> None:
    """The bot asks for nothing that a reader was not told the reason for."""
    explained = re.findall(r"^\| `([a-z:_.]+)` \| \S", read("docs/slack-scopes.md"), re.MULTILINE)
    assert len(explained) == len(set(explained))
    assert manifest()["oauth_config"]["scopes"] == {"bot": sorted(explained)}


@pytest.mark.parametrize(
    ("event", "scope"),
    [
        ("app_mention", "app_mentions:read"),
        ("message.channels", "channels:history"),
        ("message.groups", "groups:history"),
        ("message.im", "im:history"),
        ("message.mpim", "mpim:history"),
        ("reaction_added", "reactions:read"),
        ("reaction_removed", "reactions:read"),
    ],
)
def test_each_event_has_the_scope_that_slack_demands_for_it(event: str, scope: str) -> None:
    """Slack refuses a manifest that subscribes to an event without its scope
    (https://docs.slack.dev/reference/events)."""
    assert event in manifest()["settings"]["event_subscriptions"]["bot_events"]
    assert scope in manifest()["oauth_config"]["scopes"]["bot"]


def test_guests_are_not_locked_out() -> None:
    """No agent view and no assistant scope: a workspace's guests may not open apps that have them."""
    assert not {"agent_view", "assistant_view"} & set(manifest()["features"])
    assert "assistant:write" not in manifest()["oauth_config"]["scopes"]["bot"]


def test_the_app_can_be_met_in_every_way_that_the_readme_names() -> None:
    """Home, direct messages, the slash command, the message shortcut, buttons; over Socket Mode."""
    features, settings = manifest()["features"], manifest()["settings"]
    assert features["app_home"] == {
        "home_tab_enabled": True,
        "messages_tab_enabled": True,
        "messages_tab_read_only_enabled": False,
    }
    assert features["bot_user"]["display_name"] == "Footnote"
    assert [command["command"] for command in features["slash_commands"]] == ["/support"]
    assert [shortcut["callback_id"] for shortcut in features["shortcuts"]] == ["ask_about_message"]
    assert "app_home_opened" in settings["event_subscriptions"]["bot_events"]
    assert settings["interactivity"]["is_enabled"] and settings["socket_mode_enabled"]


def test_the_manifest_keeps_slacks_lengths() -> None:
    """Slack refuses longer names and descriptions (https://docs.slack.dev/reference/app-manifest)."""
    information, features = manifest()["display_information"], manifest()["features"]
    assert len(information["name"]) <= 35
    assert len(information["description"]) <= 140
    assert 174 <= len(information["long_description"]) <= 4000
    assert all(len(shortcut["name"]) <= 24 for shortcut in features["shortcuts"])
    assert all(len(shortcut["description"]) <= 150 for shortcut in features["shortcuts"])


# The licence


def test_the_licence_is_the_one_that_the_package_names() -> None:
    """Apache 2.0, whole, with the project's own copyright line."""
    licence = read("LICENSE")
    assert "Version 2.0, January 2004" in licence and "END OF TERMS AND CONDITIONS" in licence
    assert "Copyright 2026 The Footnote authors" in licence
    assert 'license = "Apache-2.0"' in read("pyproject.toml")
