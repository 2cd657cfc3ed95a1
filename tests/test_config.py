"""The configuration: where a value comes from, what is refused and in which words."""

from __future__ import annotations

import base64
import dataclasses
from pathlib import Path

import pytest

from leveret import config
from leveret.config_values import parse_size, show_size
from leveret.errors import ConfigError


def load(toml: str = "", tmp_path: Path | None = None, **kwargs: object) -> config.Config:
    file = None
    if tmp_path is not None:
        file = tmp_path / "leveret.toml"
        file.write_text(toml)
    environ = kwargs.pop("environ", {})
    assert isinstance(environ, dict)
    return config.load(file, environ=environ, options=kwargs)


def test_defaults_pass_their_own_checks() -> None:
    found = load()
    for row in config.table():
        value = getattr(found, row.name)
        if row.name != "users":
            assert row.kind.parse(row.kind.show(value)) == value, row.name


def test_option_beats_variable_beats_file_beats_default(tmp_path: Path) -> None:
    toml = "amqp_port = 1\nheartbeat_s = 1\nchannel_max = 1"
    environ = {"LEVERET_AMQP_PORT": "2", "LEVERET_HEARTBEAT_S": "2"}
    found = load(toml, tmp_path, environ=environ, amqp_port="3")
    assert (found.amqp_port, found.heartbeat_s, found.channel_max, found.log_format) == (3, 2, 1, "text")
    sources = [found.sources[key] for key in ("amqp_port", "heartbeat_s", "channel_max", "log_format")]
    assert sources == ["--amqp-port", "LEVERET_HEARTBEAT_S", str(tmp_path / "leveret.toml"), "default"]


def test_an_option_that_was_not_given_counts_for_nothing() -> None:
    assert load(environ={"LEVERET_MEMORY": "yes"}, memory=None).memory is True


def test_the_file_can_be_named_by_a_variable(tmp_path: Path) -> None:
    file = tmp_path / "x.toml"
    file.write_text("heartbeat_s = 7")
    assert load(environ={"LEVERET_CONFIG": str(file)}).heartbeat_s == 7


@pytest.mark.parametrize(
    ("key", "value", "allowed"),
    [
        ("amqp_port", 65536, "from 0 to 65535"),
        ("amqp_port", "five", "from 0 to 65535"),
        ("amqp_port", -1, "from 0 to 65535"),
        ("amqp_port", True, "from 0 to 65535"),
        ("amqp_port", 1.5, "from 0 to 65535"),
        ("memory", "perhaps", "true or false"),
        ("log_format", "xml", "'text' or 'json'"),
        ("log_level", "INFO", "'debug' or 'info'"),
        ("handshake_timeout_s", "nan", "seconds from 0.1"),
        ("handshake_timeout_s", 0, "seconds from 0.1"),
        ("frame_max_bytes", 4096, "from 8KiB to 16MiB"),
        ("frame_max_bytes", "8 furlongs", "from 8KiB to 16MiB"),
        ("message_size_max_bytes", "1TB", "from 1 to 512MiB"),
        ("memory_high_watermark", 1.5, "share"),
        ("memory_high_watermark", 0.0, "share"),
        ("disk_free_low_watermark", "1.5", "share"),
        ("host", "", "host name"),
        ("data_dir", "", "a path"),
        ("vhosts", [], "a list"),
        ("vhosts", ["a", "a"], "a list"),
        ("vhosts", ["a", 1], "a list"),
    ],
)
def test_a_bad_value_is_named_with_its_key_and_what_is_allowed(key: str, value: object, allowed: str) -> None:
    with pytest.raises(ConfigError) as caught:
        config.load(environ={}, options={key: value})
    text = str(caught.value)
    assert key in text.replace("--", "").replace("-", "_").replace("data:", "data_dir:")
    assert repr(value) in text
    assert allowed in text


@pytest.mark.parametrize(
    ("toml", "expected"),
    [
        ("amqp_prot = 1", "unknown key 'amqp_prot'; did you mean 'amqp_port'?"),
        ("zzz = 1", "unknown key 'zzz'; known are: data_dir, memory"),
        ("amqp_port = ", "is not TOML"),
        ("[users.a]\npasword = 'secret-x'", "user 'a': unknown key 'pasword'"),
        ("[users.a]\ntags = []", "user 'a': one of password and password_hash"),
        ("[users.a]\npassword = 'x'\ntags = ['root']", "tags are of administrator"),
        ("[users.a]\npassword_hash = 'eHg='", "not the base64"),
    ],
)
def test_a_bad_file_is_named(toml: str, expected: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load(toml, tmp_path)
    assert expected in str(caught.value)
    assert str(tmp_path) in str(caught.value)
    assert "secret-x" not in str(caught.value)


def test_a_file_that_is_not_there() -> None:
    with pytest.raises(
        ConfigError, match=r"cannot read the configuration file /nowhere/x.toml: No such file"
    ):
        config.load(Path("/nowhere/x.toml"), environ={})


def test_an_unknown_variable_is_named() -> None:
    with pytest.raises(
        ConfigError, match="unknown variable LEVERET_AMPQ_PORT; did you mean 'LEVERET_AMQP_PORT'"
    ):
        load(environ={"LEVERET_AMPQ_PORT": "1"})


@pytest.mark.parametrize(
    "variable",
    ["LEVERET_PURE", "LEVERET_EXPECT", "LEVERET_URL", "LEVERET_PASSWORD",
     "LEVERET_PORT", "LEVERET_PORT_5672_TCP_ADDR", "LEVERET_SERVICE_HOST",
     "LEVERET_SERVICE_PORT_AMQP", "LEVERET_HEADLESS_SERVICE_HOST", "PATH"],
)  # fmt: skip
def test_variables_that_are_somebody_elses_are_left_alone(variable: str) -> None:
    assert load(environ={variable: "tcp://10.0.0.1:5672"}) == load()


@pytest.mark.parametrize(
    ("text", "size_bytes"),
    [
        ("0", 0), ("17", 17), ("17B", 17), ("64MiB", 64 << 20), ("64 MiB", 64 << 20), ("2GB", 2_000_000_000),
        ("50MB", 50_000_000), ("1k", 1024), ("1kB", 1000), ("3gi", 3 << 30), ("1TiB", 1 << 40), (12, 12),
    ],
)  # fmt: skip
def test_sizes(text: object, size_bytes: int) -> None:
    assert parse_size(text) == size_bytes
    assert parse_size(show_size(size_bytes)) == size_bytes


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1.5MiB", "1 MiB x", "1PB", True, None, 1.5])
def test_what_is_no_size(text: object) -> None:
    with pytest.raises(ValueError):
        parse_size(text)


def test_watermarks_are_shares_or_sizes() -> None:
    found = load(memory_high_watermark="0.4", disk_free_low_watermark="1GB")
    assert found.memory_high_watermark.bytes_of(1000) == 400
    assert found.disk_free_low_watermark.bytes_of(1000) == 1_000_000_000
    assert load(memory_high_watermark="2GB").memory_high_watermark.bytes_of(1000) == 2_000_000_000


def test_users_from_a_file_and_from_a_variable(tmp_path: Path) -> None:
    hashed = base64.b64encode(bytes(36)).decode()
    toml = f"[users.app]\npassword = 'p'\ntags = ['monitoring']\n[users.other]\npassword_hash = '{hashed}'"
    users = load(toml, tmp_path).users
    assert users["app"] == config.User("app", password="p", tags=("monitoring",))
    assert users["other"].password_hash == hashed
    assert load(environ={"LEVERET_USERS": '{"app": "p"}'}).users == {"app": config.User("app", password="p")}


def test_secrets_are_never_shown(tmp_path: Path) -> None:
    found = load("[users.app]\npassword = 'hunter2'", tmp_path)
    assert "hunter2" not in repr(found)
    assert "hunter2" not in repr(found.public())
    with pytest.raises(ConfigError) as caught:
        load(environ={"LEVERET_USERS": '{"app": "hunter2"'})
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "localhost", "::1", "[::1]"])
def test_guest_alone_may_listen_on_loopback(host: str) -> None:
    assert load(host=host).host == host


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.168.1.1", "broker.example"])
def test_guest_alone_may_not_listen_beyond(host: str) -> None:
    with pytest.raises(ConfigError, match="guest/guest is the only way in"):
        load(host=host)
    assert load(host=host, allow_remote_guest=True).host == host
    assert load(host=host, users={"app": "p", "guest": "guest"}).host == host
    assert load(host=host, users={"guest": "another"}).host == host


def test_a_message_must_fit_the_log() -> None:
    with pytest.raises(ConfigError, match="does not fit a log of 3 segments"):
        load(message_size_max_bytes="128MiB", segment_bytes="16MiB", log_segments=3)
    assert load(message_size_max_bytes="128MiB", segment_bytes="16MiB", log_segments=3, memory=True).memory


def test_every_field_but_sources_is_a_row_of_the_table() -> None:
    names = [each.name for each in dataclasses.fields(config.Config)]
    assert [*[row.name for row in config.table()], "sources"] == names


def test_the_data_directory_follows_xdg(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    monkeypatch.setenv("XDG_DATA_HOME", "/data")
    assert config.default_data_dir() == Path("/data/leveret")
    monkeypatch.setenv("XDG_DATA_HOME", "relative/is/ignored")
    monkeypatch.setenv("HOME", "/home/x")
    assert config.default_data_dir() == Path("/home/x/.local/share/leveret")
