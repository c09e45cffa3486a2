"""`jobspan logout`: the end of a login."""

from runner.commands.context import Command, Context, no_arguments


def _run(context: Context) -> int:
    from runner.compose.clients import credentials_path, login_client
    from runner.errors import JobspanError
    from runner.wms.credentials import remove_credentials

    path = credentials_path(context.config)
    login = remove_credentials(path)
    told, why = False, "there is no login"
    if login is not None and login.refresh_token and login.url:
        try:
            client = login_client(context.config, login.url)
            client.revoke(login.refresh_token)
            client.revoke_access(login.access_token)
            told = True
        except JobspanError as error:
            why = f"the login is forgotten here, but {error}"
    context.terminal.line(f"logged out at {login.url}" if told and login else why)
    context.terminal.json({"url": login.url if login else None, "revoked": told})
    return 0 if told or login is None else 1


COMMAND = Command(
    description=(
        "End the login that `jobspan login` has made: the WMS is told, and the file is removed. "
        "At a DiracX server what was given out last counts for its short rest of life."
    ),
    examples=("jobspan logout",),
    configure=no_arguments,
    run=_run,
)
