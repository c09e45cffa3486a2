"""What must appear nowhere: secrets are masked in every text that leaves the job or reaches a log.

Secret are the contents of token files, the values of environment names that say so
(`config.SECRET_NAME`), of ours and in a wrapper of the job's, values of collector headers, and the userinfo of URLs.
"""

import logging
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import unquote

from runner.config import ADDRESS_USERINFO, SECRET_LEAST_LENGTH, USERINFO, Config, secrets_of

MASK = "***"


class Redactor:
    """Masks secrets in texts. Cheap to call; safe from several threads."""

    def __init__(self, secrets: Iterable[str] = (), *, token_files: Iterable[Path] = ()) -> None:
        #: Longest first: one may be the beginning of another. (To compile them to a pattern costs 1 ms each.)
        self.secrets: tuple[str, ...] = ()
        for secret in secrets:
            self.add(secret)
        for path in token_files:
            self.add(_content(path))

    @classmethod
    def of(cls, config: Config) -> "Redactor":
        """All that *config* knows to be secret: environment, collector headers, token files."""
        headers = [item.partition("=")[2] for item in config.telemetry.otlp_headers]
        signals = [each for each in (config.telemetry.traces, config.telemetry.logs) if each]
        headers += [word for each in signals for _, value in each.headers for word in (value, *value.split())]
        addresses = (config.wms.database, config.wms.parameters_url)
        found = (part for each in addresses for part in ADDRESS_USERINFO.findall(each))
        written = {part[:-1].partition(":")[2] for part in found}
        passwords = written | {unquote(each) for each in written}
        tokens = {config.tokens_folder / f"{name}.token" for name in ("user", "pilot", "admin")}
        tokens |= {
            Path(name)
            for name in (
                config.wms.token_file,
                config.wms.pilot_token_file,
                config.wms.database_password_file,
                config.job_agent.metrics_token_file,
                config.telemetry.otlp_token_file,
            )
            if name
        }
        return cls([*secrets_of(config.environment), *headers, *passwords], token_files=tokens)

    def add(self, secret: str) -> None:
        """Mask *secret* too, from now on; shorter ones than 8 characters would mask ordinary words.

        Of one with several lines (a key) each line is masked by itself, too: output is shown line by line.
        """
        parts = {secret.strip(), *(line.strip() for line in secret.splitlines())}
        new = {part for part in parts if len(part) >= SECRET_LEAST_LENGTH}.difference(self.secrets)
        if not new:
            return
        self.secrets = tuple(sorted((*self.secrets, *new), key=len, reverse=True))

    def __call__(self, text: str) -> str:
        """*text* without secrets."""
        for secret in self.secrets:
            text = text.replace(secret, MASK)
        return USERINFO.sub(f"{MASK}@", text) if "://" in text else text


class RedactingFilter(logging.Filter):
    """Masks secrets in log records, in the traceback too."""

    def __init__(self, redact: Callable[[str], str]) -> None:
        super().__init__()
        self._redact = redact

    def filter(self, record: logging.LogRecord) -> bool:
        """Rewrite *record*; it is never dropped."""
        record.msg, record.args = self._redact(record.getMessage()), None
        if record.exc_info and not record.exc_text:
            record.exc_text = logging.Formatter().formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = self._redact(record.exc_text)
        return True


def _content(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, UnicodeDecodeError):  # no such token here, so nothing to hide
        return ""
