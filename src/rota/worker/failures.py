"""Words for the ways a process ends."""

import signal

_EXITS = {
    126: "exit code 126: a command was found but could not be executed (is it executable?)",
    127: "exit code 127: a command was not found (jobs get PATH=/usr/bin:/bin unless `env:` says otherwise)",
}
_SIGNALS: dict[int, str] = {
    signal.SIGKILL: "killed by SIGKILL (9), not by Rota: often the machine ran out of memory",
    signal.SIGSEGV: "ended by SIGSEGV (11): the program crashed",
}


def describe_exit(code: int) -> str:
    """What an exit code other than 0 means."""
    if code in _EXITS:
        return _EXITS[code]
    if code > 128 and code - 128 in {item.value for item in signal.Signals}:
        return f"exit code {code}: as shells report that a command was ended by {signal.Signals(code - 128).name}"
    return f"exit code {code}"


def describe_signal(number: int) -> str:
    """What it means that a process was ended by a signal."""
    try:
        name = signal.Signals(number).name
    except ValueError:
        name = f"signal {number}"
    return _SIGNALS.get(number, f"ended by {name} ({number})")
