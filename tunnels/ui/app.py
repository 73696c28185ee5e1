"""The full-screen view itself: puts what the feed tells on the screen, and has the keys do something."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

from rich.console import Group
from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical, VerticalScroll
from textual.css.query import NoMatches
from textual.widgets import Input, Static

from tunnels.cli.render import hanging
from tunnels.core.logline import printable
from tunnels.core.question import Question
from tunnels.core.standing import needs_answer, waits_in_vain
from tunnels.core.state import WORKING, TunnelState
from tunnels.core.status import TunnelStatus
from tunnels.errors import TunnelsError
from tunnels.ui import orders, text
from tunnels.ui.dialogs import Help, QuestionDialog
from tunnels.ui.feed import Feed, News
from tunnels.ui.rates import Rates
from tunnels.ui.rows import Row, rows
from tunnels.ui.tunnel_list import TunnelList

#: Seconds within which the second press of a key confirms the first.
_CONFIRM = 4.0

#: Seconds that a message stands where the keys are named otherwise.
_MESSAGE = 6.0

#: Seconds that who leaves waits at most for what was ordered last: it may have to start the daemon first.
_LAST_ORDERS = 3.0

_KEYS = "u up  d down  r restart  a answer  R reload  l log  / filter  ? help  q quit"


class View(App[None]):
    """``tunnels ui``."""

    TITLE = "tunnels"
    CSS_PATH = "view.tcss"
    ENABLE_COMMAND_PALETTE = False
    HORIZONTAL_BREAKPOINTS = [  # noqa: RUF012 - as textual declares it
        (0, "-narrow"),
        (110, "-wide"),
    ]
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("u", "order('up')", show=False),
        Binding("d", "order('down')", show=False),
        Binding("r", "order('restart')", show=False),
        Binding("R", "order('reload')", show=False),
        Binding("a", "answer", show=False),
        Binding("l", "large_log", show=False),
        Binding("slash", "filter", show=False, priority=True),  # what follows it may have come with it
        Binding("escape", "all", show=False),
        Binding("question_mark,f1", "help", show=False),
        Binding("q", "quit", show=False),
        Binding("ctrl+c", "quit", show=False, priority=True),
    ]

    def __init__(self, config: Path | None = None, *, clock: Callable[[], float] = time.time) -> None:
        super().__init__(ansi_color=True)
        self.theme = "ansi-dark"
        self.animation_level = "none"
        self._clock = clock
        self._news: News | None = None
        self._filter = ""
        self._drawn: dict[str, list[Text]] = {}
        self._rates = Rates()
        self._shown_log: tuple[str, ...] = ()
        self._settled: set[str] = set()  # questions that older snapshots may still show
        self._invited: set[str] = set()  # tunnels whose questions are shown as soon as they are asked
        self._message = Text()
        self._message_until = 0.0
        self._pressed: tuple[str, float] = ("", 0.0)
        self._feed = Feed(config, self._tell, self._fail)
        self._orders: list[threading.Thread] = []

    def compose(self) -> ComposeResult:
        """Lay it out."""
        yield Static(id="head")
        yield Static(id="notice")
        with Horizontal(id="body"):
            yield TunnelList(self._rates)
            with Vertical(id="lower"):
                with VerticalScroll(id="details"):
                    yield Static(id="about")
                with VerticalScroll(id="log"):
                    yield Static(id="lines")
        yield Input(placeholder="words of a name, a host, a state, a #tag", compact=True, id="filter")
        yield Static(id="keys")

    def on_mount(self) -> None:
        """Begin."""
        self.query_one("#log").border_title = "log"
        self.query_one(TunnelList).focus()
        self._show_all()
        self._feed.start()

    def on_unmount(self) -> None:
        """End."""
        self._feed.close()

    def _fatal_error(self) -> None:
        """End without textual's own report, which shows what variables hold; the command says what happened."""
        self._close_messages_no_wait()

    # --- what is shown ----------------------------------------------------------------------------

    def _tell(self, news: News) -> None:
        """Take news, in the thread of the feed."""
        self._from_thread(lambda: self._take(news))

    def _fail(self, exc: Exception) -> None:
        self._from_thread(lambda: self._handle_exception(exc))

    def _from_thread(self, do: Callable[[], None]) -> None:
        """Have something done by the screen's own thread, if the screen is still there."""
        try:
            self.call_from_thread(do)
        except RuntimeError:  # it has ended this very moment
            if self.is_running:
                raise

    def _take(self, news: News) -> None:
        self._news = news
        self._rates.add(news.snapshot.tunnels, time.monotonic())
        try:
            self._show_all()
        except NoMatches:  # the screen is being taken down
            return
        by_name = {tunnel.name: tunnel for tunnel in news.snapshot.tunnels}
        if isinstance(self.screen, QuestionDialog):
            self.screen.news(by_name.get(self.screen.tunnel))
        elif len(self.screen_stack) == 1:
            self._ask_the_invited(by_name)

    def _ask_the_invited(self, by_name: dict[str, TunnelStatus]) -> None:
        for name in sorted(self._invited):
            tunnel = by_name.get(name)
            if tunnel is None or tunnel.state in WORKING | {TunnelState.FAILED}:
                self._invited.discard(name)
            elif tunnel.question is not None and not self._is_over(tunnel.question):
                self._ask(tunnel)
                return

    def _is_over(self, question: Question) -> bool:
        return question.stale or question.id in self._settled

    def _show_all(self) -> None:
        main = self.screen_stack[0]
        now = self._clock()
        self._put("#head", [text.head(self._news, self._filter)])
        notice = text.notice(self._news)
        self._put("#notice", [notice])
        has_message = time.monotonic() < self._message_until
        self._put("#keys", [self._message if has_message else Text(_KEYS, "dim")])
        main.query_one("#notice").display = bool(notice.plain)
        if self._news is not None:
            shown = rows(self._news.profiles, self._news.snapshot, self._filter)
            main.query_one(TunnelList).show(shown, now)
        self._show_details()

    def _show_details(self) -> None:
        main = self.screen_stack[0]
        row = main.query_one(TunnelList).row
        news, box = self._news, main.query_one("#details")
        box.border_title = row.name if row is not None else ""
        if news is None:
            return
        if row is None:
            words = self._nothing(news)
        else:
            words = text.details(row, news, self._rates, self._clock(), width=box.content_size.width)
        self._put("#about", words)
        if news.log != self._shown_log:
            self._shown_log = news.log
            log = main.query_one("#log", VerticalScroll)
            at_end = log.is_vertical_scroll_end or not log.scroll_y
            self._put("#lines", [text.log_line(line) for line in news.log])
            if at_end:
                log.scroll_end(animate=False)

    def _nothing(self, news: News) -> list[Text]:
        if self._filter:
            return [Text("nothing is like that; Esc shows all again", "dim")]
        if news.file_problem:
            return [Text("the profile file cannot be read: `tunnels check` says why", "dim")]
        return [Text("no profile yet: `tunnels edit`, `tunnels add` or `tunnels import` make one", "dim")]

    def _put(self, where: str, lines: list[Text]) -> None:
        """Have other lines somewhere; the same ones again cost nothing."""
        if self._drawn.get(where) != lines:
            self._drawn[where] = lines
            self.screen_stack[0].query_one(where, Static).update(Group(*map(hanging, lines)))

    def on_tunnel_list_selected(self) -> None:
        """Tell more about another one."""
        self._feed.select(self.query_one(TunnelList).selected)
        self._show_details()

    # --- what keys do -----------------------------------------------------------------------------

    @property
    def _row(self) -> Row | None:
        return self.query_one(TunnelList).row

    def action_order(self, what: str) -> None:
        """Have the daemon do something, with the selected tunnel."""
        row, news = self._row, self._news
        if news is None or (row is None and what != "reload"):
            return
        name = row.name if row is not None else ""
        if what in {"down", "restart"} and row is not None and not self._confirmed(what, row):
            return
        if what in {"up", "restart"}:
            self._invited.add(name)
        elif what == "down":
            self._invited.discard(name)
        config = self._feed.config(news.snapshot)
        self._order(lambda: getattr(orders, what)(name, config))

    def _confirmed(self, what: str, row: Row) -> bool:
        """Whether nobody would be cut off, or the key was pressed twice."""
        assert row.tunnel is not None
        clients = sum(forward.clients for forward in row.tunnel.forwards)
        key, now = f"{what} {row.name}", time.monotonic()
        before, at = self._pressed
        self._pressed = ("", 0.0)
        if not clients or (before == key and now - at <= _CONFIRM):
            return True
        self._pressed = (key, now)
        cut = "1 client is" if clients == 1 else f"{clients} clients are"
        self._say(f"{row.name}: {cut} cut off by that; press {what[0]} again")
        return False

    def _order(self, do: Callable[[], str]) -> None:
        self._feed.hurry()

        def run() -> None:
            try:
                said, severe = do(), False
            except TunnelsError as error:
                said, severe = orders.spoken(error), True
            self._from_thread(lambda: self._say(said, severe=severe))
            self._feed.hurry()

        self._in_thread(run)

    def _in_thread(self, do: Callable[[], None]) -> None:
        """Have something done that blocks; not by a worker of textual's, for whose end leaving would wait."""

        def run() -> None:
            try:
                do()
            except Exception as exc:  # noqa: BLE001 - nobody else would hear of it
                self._fail(exc)

        thread = threading.Thread(target=run, name="order", daemon=True)
        self._orders = [*(it for it in self._orders if it.is_alive()), thread]
        thread.start()

    def finish(self) -> None:
        """Wait for what was ordered last, but not for a daemon that does not answer."""
        until = time.monotonic() + _LAST_ORDERS
        for thread in self._orders:
            thread.join(max(0.0, until - time.monotonic()))

    def _say(self, words: str, *, severe: bool = False) -> None:
        if words:
            self._message = Text(printable(words), "red" if severe else "yellow")
            self._message_until = time.monotonic() + _MESSAGE
            self._show_all()

    def action_answer(self) -> None:
        """Answer the question of the selected tunnel, or of the first that has one."""
        if self._news is None:
            return
        waiting = {it.name: it for it in self._news.snapshot.tunnels if needs_answer(it)}
        selected = self.query_one(TunnelList).selected
        tunnel = waiting.get(selected) or next(iter(waiting.values()), None)
        if tunnel is None:
            self._say("no tunnel waits for an answer")
            return
        self.query_one(TunnelList).select(tunnel.name)
        if tunnel.question is None or waits_in_vain(tunnel):
            self._ask_anew(tunnel.name)
        else:
            self._ask(tunnel)

    def _ask(self, tunnel: TunnelStatus) -> None:
        name = tunnel.name
        self._invited.discard(name)

        def submit(question_id: str, answer: str) -> None:
            self._invited.add(name)  # a code may follow a password
            self._submit(dialog, question_id, answer)

        dialog = QuestionDialog(tunnel, submit, lambda: self._ask_anew(name))
        self.push_screen(dialog)

    def _ask_anew(self, name: str) -> None:
        """Have the server ask again: whoever wants that is here."""
        assert self._news is not None
        self._invited.add(name)
        config = self._feed.config(self._news.snapshot)
        self._order(lambda: orders.up(name, config))

    def _submit(self, dialog: QuestionDialog, question_id: str, answer: str) -> None:
        def run() -> None:
            try:
                reply = orders.answer(dialog.tunnel, question_id, answer)
            except TunnelsError as error:
                reply = orders.Reply(orders.spoken(error))
            self._from_thread(lambda: self._replied(dialog, question_id, reply))
            self._feed.hurry()

        self._in_thread(run)

    def _replied(self, dialog: QuestionDialog, question_id: str, reply: orders.Reply) -> None:
        if self.screen is dialog and not reply.settled:
            dialog.say(reply.said)
            return
        self._settled.add(question_id)
        if self.screen is dialog:  # and not the next question, which may be there already
            dialog.leave()
        self._say(reply.said)
        if reply.anew:
            self._ask_anew(dialog.tunnel)

    def action_large_log(self) -> None:
        """Give the log more room, or what it had."""
        self.screen.toggle_class("-log")

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """Whether a key is ours: where text is typed, or in a dialog, a slash is a slash."""
        if action == "filter":
            return len(self.screen_stack) == 1 and not isinstance(self.focused, Input)
        return super().check_action(action, parameters)

    def action_filter(self) -> None:
        """Choose by words."""
        box = self.query_one("#filter", Input)
        box.display = True
        self.screen.set_focus(box)  # at once: what is typed next are no keys of ours

    def action_all(self) -> None:
        """Choose no longer."""
        box = self.query_one("#filter", Input)
        box.value = ""
        self._end_filter()

    def _end_filter(self) -> None:
        self.screen.set_focus(self.query_one(TunnelList))
        self.query_one("#filter", Input).display = False

    def on_input_changed(self, event: Input.Changed) -> None:
        """Show only what is like that."""
        if event.input.id == "filter":
            self._filter = event.value.strip()
            self._show_all()

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Go on in the list."""
        if event.input.id == "filter":
            self._end_filter()

    def action_help(self) -> None:
        """Show the keys."""
        self.push_screen(Help())


def run(config: Path | None) -> None:
    """Show it until the person leaves. Raises what went wrong with it."""
    view = View(config)
    view.run(mouse=False)  # the terminal's own selection copies text, also over ssh
    view.finish()
    if view._exception is not None:  # noqa: SLF001 - textual has no public way to ask
        raise view._exception  # noqa: SLF001
