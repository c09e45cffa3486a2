"""`jobspan doctor`: what this machine grants and what can be reached."""

from runner.commands.context import Command, Context, no_arguments


def _run(context: Context) -> int:
    from runner.commands.checkup import checkup

    terminal = context.terminal
    findings = checkup(context.config)
    for each in findings:
        mark = {"ok": "ok  ", "note": "note", "bad": "BAD "}[each.state]
        colour = {"ok": "green", "note": "yellow", "bad": "red"}[each.state]
        terminal.line(f"{terminal.paint(mark, colour)}  {each.what:12}  {each.words}")
    terminal.json([{"what": each.what, "state": each.state, "words": each.words} for each in findings])
    return 1 if any(each.state == "bad" for each in findings) else 0


COMMAND = Command(
    description=(
        "Check this machine for running jobs: which ways of measuring and killing it grants, the folder and its disk, "
        "the tokens, whether WMS and collector answer, and how far the clocks are apart. Exit code 1 when something "
        "is bad; a note is no failure."
    ),
    examples=("jobspan doctor", "jobspan --config site.toml doctor --json"),
    configure=no_arguments,
    run=_run,
)
