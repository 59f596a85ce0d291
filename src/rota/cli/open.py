"""The pages: `open` makes a new login link."""

import webbrowser

from rota.cli.common import Flag, Show
from rota.cli.connection import Server


def open_(*, no_browser: Flag = False, server: Server = Server(), show: Show = Show()) -> int:
    """Make a link that signs a browser in; it works once, for ten minutes.

    rota open · rota open --no-browser

    Parameters
    ----------
    no_browser:
        Only print the link.
    """
    with server.connect() as rota:
        link = rota.api.target.url + rota.run(rota.api.system.login_link())
    screen = show.screen()
    if show.is_data:
        show.emit(screen, {"url": link})
        return 0
    screen.line(link)
    screen.flush()
    if screen.is_terminal and not no_browser:
        webbrowser.open(link)
    screen.talk("it works once, for ten minutes", "dim")
    return 0
