"""The configuration: where it is read from, what it refuses, what of the environment reaches whom."""

from dataclasses import FrozenInstanceError, fields
from pathlib import Path

import pytest

from runner.config import (
    TABLES,
    Config,
    JobWrapperConfig,
    describe,
    load,
    payload_environment,
    secrets_of,
)
from runner.errors import ConfigError


def read(text: str, tmp_path: Path, **environment: str) -> Config:
    path = tmp_path / "jobspan.toml"
    path.write_text(text)
    return load(folder=tmp_path, environment=environment)


def test_nothing_is_needed(tmp_path: Path) -> None:
    """Without file and environment every option has its default, and the folder is ~/.jobspan."""
    config = load(environment={"HOME": str(tmp_path)})
    assert config.folder == tmp_path / ".jobspan"
    assert config.source is None
    assert config.job_wrapper == JobWrapperConfig()


def test_folder_of_the_environment(tmp_path: Path) -> None:
    """JOBSPAN_FOLDER names the folder; an argument wins over it."""
    environment = {"HOME": "/nowhere", "JOBSPAN_FOLDER": str(tmp_path / "a")}
    assert load(environment=environment).folder == tmp_path / "a"
    assert load(folder=tmp_path / "b", environment=environment).folder == tmp_path / "b"


def test_file_order(tmp_path: Path) -> None:
    """The file is the argument, else JOBSPAN_CONFIG, else jobspan.toml in the folder."""
    for name, site in (("argument", "A"), ("variable", "B"), ("jobspan.toml", "C")):
        (tmp_path / name).write_text(f'[Site]\nSite = "{site}"\n')
    environment = {"JOBSPAN_CONFIG": str(tmp_path / "variable")}
    assert load(tmp_path / "argument", tmp_path, environment=environment).site.name == "A"
    assert load(None, tmp_path, environment=environment).site.name == "B"
    assert load(None, tmp_path, environment={}).site.name == "C"


def test_command_line_wins_over_the_file(tmp_path: Path) -> None:
    """An override replaces one option and leaves the others of its table as the file has them."""
    (tmp_path / "jobspan.toml").write_text("[JobAgent]\nSlots = 4\nPollingTime = 3\n")
    config = load(folder=tmp_path, environment={}, overrides={"JobAgent": {"Slots": 8}})
    assert (config.job_agent.slots, config.job_agent.polling_time_seconds) == (8, 3.0)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[JobWraper]\n", r"unknown table \[JobWraper\]; did you mean JobWrapper\?"),
        ("[JobWrapper]\nBuferLimit = 5\n", r"\[JobWrapper\] has no option BuferLimit; did you mean BufferLimit\?"),
        ("[JobAgent]\nSlots = 0\n", r"\[JobAgent\] Slots must be at least 1, not 0"),
        ('[JobAgent]\nSlots = "2"\n', r"\[JobAgent\] Slots must be int, not '2'"),
        ("[JobAgent]\nSlots = true\n", r"\[JobAgent\] Slots must be int, not True"),
        ("[WMS]\nTimeout = nan\n", r"\[WMS\] Timeout must be a finite number, not nan"),
        ("[WMS]\nTimeout = inf\n", r"\[WMS\] Timeout must be a finite number, not inf"),
        ("[JobAgent]\nWarmStart = 1\n", r"\[JobAgent\] WarmStart must be bool, not 1"),
        ("[Site]\nTag = [1]\n", r"\[Site\] Tag must be a list of strings"),
        ('[JobWrapper]\nCPUMethod = "guess"\n', r"CPUMethod must be one of auto, cgroup2, cgroup1, wait4, perf"),
        ('[JobWrapper]\nDiskSE = ["A"]\n', r"DiskSE needs several kinds of storage elements.*remove it"),
        ('[JobWrapper]\nTapeSE = ["A"]\n', r"TapeSE needs several kinds of storage elements.*remove it"),
        ('[JobWrapper]\nCheckCPULimitFlag = "maybe"\n', r"CheckCPULimitFlag must be True, False, off, warn or kill"),
        ('[JobWrapper]\nStopSigRegex = "("\n', r"StopSigRegex is no regular expression"),
        ("[JobWrapper]\nStopSigNumber = 65\n", r"StopSigNumber must be from 1 to 64"),
        ("Site = 1\n", r"\[Site\] must be a table"),
        ("[Site\n", r"not TOML"),
    ],
)
def test_refusals_say_where_and_what(text: str, message: str, tmp_path: Path) -> None:
    """A wrong file is refused with its name, the option, and what would be right."""
    with pytest.raises(ConfigError, match=message) as error:
        read(text, tmp_path)
    assert str(tmp_path / "jobspan.toml") in str(error.value)


@pytest.mark.parametrize(
    ("value", "expected"),
    [("true", "kill"), ("false", "off"), ("1", "kill"), ("0", "off"), ('"warn"', "warn"), ('"kill"', "kill")],
)
def test_checks_take_diracs_flags_and_a_word(tmp_path: Path, value: str, expected: str) -> None:
    """True and False are kill and off, as in DIRAC; of the load average True only warns, as in DIRAC."""
    config = read(f"[JobWrapper]\nCheckMemoryLimitFlag = {value}\nCheckLoadAvgFlag = {value}\n", tmp_path)
    assert config.job_wrapper.check_memory_limit == expected
    assert config.job_wrapper.check_load_average == ("warn" if value in ("true", "1") else expected)


def test_diracs_variable_switches_the_ratio_off(tmp_path: Path) -> None:
    """DISABLE_WATCHDOG_CPU_WALLCLOCK_CHECK, whatever its value, and whatever the file says."""
    config = read("[JobWrapper]\nCheckCPUConsumedFlag = true\n", tmp_path, DISABLE_WATCHDOG_CPU_WALLCLOCK_CHECK="1")
    assert config.job_wrapper.check_cpu_consumed == "off"
    assert read("", tmp_path).job_wrapper.check_cpu_consumed == "kill"


def test_a_missing_file_is_no_default(tmp_path: Path) -> None:
    """A file that was named and cannot be read is an error that says how to name another."""
    with pytest.raises(ConfigError, match=r"cannot be read.*--config"):
        load(tmp_path / "absent.toml", tmp_path, environment={})


def test_every_option_takes_its_own_default(tmp_path: Path) -> None:
    """Written into a file, each option's default is accepted by its own checks."""
    for table, (attribute, kind) in TABLES.items():
        for each in fields(kind):
            if "name" not in each.metadata:
                continue
            config = load(folder=tmp_path, environment={}, overrides={table: {each.metadata["name"]: each.default}})
            assert getattr(getattr(config, attribute), each.name) == each.default


def test_values_are_frozen(tmp_path: Path) -> None:
    """Nobody changes the configuration once it is read."""
    with pytest.raises(FrozenInstanceError):
        load(folder=tmp_path, environment={}).job_wrapper.buffer_limit_bytes = 1  # type: ignore[misc]


def test_describe_masks_secrets(tmp_path: Path) -> None:
    """`jobspan config show` names the OTLP headers and hides their values."""
    config = read('[Telemetry]\nOTLPHeaders = ["authorization=Bearer verysecret"]\n', tmp_path)
    shown = {name: value for _, name, value, _, _ in describe(config)}
    assert shown["OTLPHeaders"] == ("authorization=***",)
    assert "verysecret" not in str(list(describe(config)))


def test_representation_shows_no_environment(tmp_path: Path) -> None:
    """A configuration in a log line does not carry the environment with it."""
    config = load(folder=tmp_path, environment={"MY_TOKEN": "0123456789abcdef"})
    assert "0123456789abcdef" not in repr(config)


def test_proxies_and_authorities_come_from_the_environment(tmp_path: Path) -> None:
    """Sessions do not read the environment, so its proxies and authorities are read here."""
    config = load(
        folder=tmp_path,
        environment={"HTTPS_PROXY": "http://proxy:1", "no_proxy": "localhost", "SSL_CERT_FILE": "/etc/ca.pem"},
    )
    assert config.http.proxies == {"https": "http://proxy:1", "no_proxy": "localhost"}
    assert config.http.ca_bundle == "/etc/ca.pem"


def test_payload_inherits_nothing_secret_and_nothing_of_ours() -> None:
    """A payload gets neither secrets nor our OTEL_*, JOBSPAN_* and trace context; the rest it gets."""
    environment = {
        "PATH": "/bin",
        "SITE_TOKEN": "0123456789",
        "db_password": "correct horse",
        "AWS_SECRET_ACCESS_KEY": "0123456789",
        "OTEL_EXPORTER_OTLP_HEADERS": "authorization=x",
        "JOBSPAN_FOLDER": "/var/jobspan",
        "TRACEPARENT": "00-0-0-01",
        "NOTIFY_SOCKET": "/run/systemd/notify",
        "KEYBOARD": "us",
    }
    assert payload_environment(environment) == {"PATH": "/bin", "KEYBOARD": "us"}


def test_payload_keeps_what_its_job_names() -> None:
    """A variable that the job names reaches the payload even when its name looks secret; others stay away."""
    environment = {"DATA_TOKEN": "0123456789", "OTHER_TOKEN": "0123456789"}
    assert payload_environment(environment, frozenset({"DATA_TOKEN"})) == {"DATA_TOKEN": "0123456789"}


def test_secrets_are_values_of_eight_characters() -> None:
    """Values worth hiding: eight characters or more under a secret name; `AUTH=no` would hide half of a log."""
    assert secrets_of({"A_TOKEN": "0123456789", "AUTH": "no", "PATH": "/usr/local/bin"}) == {"0123456789"}
