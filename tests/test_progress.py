"""What a reporter prints is what it was told."""

from flows.progress import Reporter


def test_brackets_are_text(capsys):
    """Units, intervals and errors of other libraries have them; they are no markup."""
    reporter = Reporter()
    with reporter.stage("train", "2 m temperature [K], 90 % [1, 2]"):
        reporter.say("failed: '[/usr/lib/gloo]' :smile: [bold]x[/bold]")
        reporter.update("network [tiny]", 1, 1, loss=0.5)
    shown = capsys.readouterr().err
    for text in ("temperature [K], 90 % [1, 2]", "'[/usr/lib/gloo]' :smile: [bold]x[/bold]", "network [tiny]: 1/1"):
        assert text in shown
