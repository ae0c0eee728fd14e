"""The commands, put together."""

from __future__ import annotations

import typer

from worker.cli import (
    cached,
    chaos,
    data,
    dead,
    demonstrate,
    jobs,
    lanes,
    operate,
    planned,
    serve,
    tokens,
    verify,
)

app = typer.Typer(
    name="stoker",
    help="Keeps a web app's Redis cache correct and warm from a background worker.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)

app.command()(serve.up)
app.command()(serve.run)
app.command()(serve.api)
app.command()(data.migrate)
app.command(name="sample-data")(data.sample_data)
app.command()(data.check)
app.command()(operate.status)
app.command()(operate.invalidate)
app.command()(operate.warm)
app.command(name="verify")(verify.verify)
app.command()(demonstrate.demo)
app.command()(chaos.chaos)
app.add_typer(jobs.app, name="jobs")
app.add_typer(dead.app, name="dead")
app.add_typer(planned.app, name="schedule")
app.add_typer(lanes.app, name="lanes")
app.add_typer(cached.app, name="cache")
app.add_typer(tokens.app, name="tokens")
