"""What a run shows: a progress bar on a terminal, plain lines anywhere else."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class RunConsole:
    """Lines of a run, and below them, on a terminal, a bar with loss, learning rate, tokens per second, time left."""

    def __init__(self, console: Console | None = None, quiet: bool = False) -> None:
        self.console = console or Console(highlight=False, soft_wrap=True, emoji=False, quiet=quiet)
        self._progress: Progress | None = None

    def __enter__(self) -> RunConsole:
        return self

    def start(self, total_steps: int, done: int) -> None:
        """Show the bar, if this is a terminal."""
        if not self.console.is_terminal or self.console.quiet:
            return
        self._progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(),
            TextColumn("{task.description}"),
            TimeRemainingColumn(),
            console=self.console,
            transient=True,
        )
        self._task = self._progress.add_task("", total=total_steps, completed=done)
        self._progress.start()

    def step(self, step: int, loss: float, learning_rate: float, tokens_per_second: float) -> None:
        if self._progress is not None:
            text = f"loss {loss:.4f}  lr {learning_rate:.2e}  {tokens_per_second:,.0f} tokens/s"
            self._progress.update(self._task, completed=step, description=text)

    def print(self, text: str = "") -> None:
        self.console.print(text, markup=False)

    def __exit__(self, *exception: object) -> None:
        if self._progress is not None:
            self._progress.stop()
            self._progress = None
